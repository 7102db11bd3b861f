//! JSON (RFC 8259) in one canonical form: members sorted by name, no white space, one way of escaping, and every number
//! as it was written. Whatever readers may read differently has no canonical form.

use std::ops::Range;

/// The deepest nesting.
const DEEPEST: usize = 64;

/// The canonical form; `None` for what is not JSON, holds a name twice in one object, a lone surrogate, or nests deeper
/// than 64.
pub(super) fn canonical(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let mut reader = Reader { text, at: 0, out: String::with_capacity(text.len()) };
    reader.value(0)?;
    reader.space();
    (reader.at == text.len()).then_some(reader.out)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        self.space();
        match self.peek()? {
            b'{' if depth < DEEPEST => self.object(depth + 1),
            b'[' if depth < DEEPEST => self.array(depth + 1),
            b'"' => {
                let text = self.string()?;
                write(&mut self.out, &text);
                Some(())
            }
            b'-' | b'0'..=b'9' => self.number(),
            _ => ["true", "false", "null"].into_iter().find_map(|word| self.word(word)),
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            self.out.push_str(word);
        })
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// `1`, `1.0` and `1e0` are three numbers here: what they are worth is for the handler to say.
    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        // A digit here would follow a leading zero, and what else may not follow is found by whoever reads on.
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return None;
        }
        self.out.push_str(&self.text[start..self.at]);
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push('[');
        self.space();
        if !self.take(b']') {
            loop {
                self.value(depth)?;
                self.space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return None;
                }
                self.out.push(',');
            }
        }
        self.out.push(']');
        Some(())
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push('{');
        let start = self.out.len();
        let mut members: Vec<(String, Range<usize>)> = Vec::new();
        self.space();
        if !self.take(b'}') {
            loop {
                self.space();
                let name = self.string()?;
                let from = self.out.len();
                write(&mut self.out, &name);
                self.space();
                if !self.take(b':') {
                    return None;
                }
                self.out.push(':');
                self.value(depth)?;
                members.push((name, from..self.out.len()));
                self.space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return None;
                }
            }
        }
        members.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        let mut sorted = String::with_capacity(self.out.len() - start + members.len());
        for (index, (_, range)) in members.into_iter().enumerate() {
            if index > 0 {
                sorted.push(',');
            }
            sorted.push_str(&self.out[range]);
        }
        self.out.truncate(start);
        self.out.push_str(&sorted);
        self.out.push('}');
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        if !self.take(b'"') {
            return None;
        }
        let mut text = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek()?, b'"' | b'\\' | 0..=0x1f) {
                self.at += 1;
            }
            text.push_str(&self.text[start..self.at]);
            let stop = self.peek()?;
            self.at += 1;
            match stop {
                b'"' => return Some(text),
                b'\\' => text.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let kind = self.peek()?;
        self.at += 1;
        Some(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit()?;
                match unit {
                    0xd800..=0xdbff => {
                        let low = (self.take(b'\\') && self.take(b'u')).then(|| self.unit()).flatten()?;
                        char::decode_utf16([unit, low]).next()?.ok()?
                    }
                    _ => char::from_u32(u32::from(unit))?,
                }
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0_u16, |unit, digit| {
            let value = char::from(*digit).to_digit(16)?;
            Some(unit << 4 | u16::try_from(value).ok()?)
        })
    }
}

/// Writes a string in the one way of escaping.
fn write(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0'..='\x1f' => {
                out.push_str("\\u00");
                out.push(char::from(b'0' + u8::from(u32::from(character) >= 0x10)));
                out.push(char::from_digit(u32::from(character) & 15, 16).unwrap_or('0'));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(canonical(text.as_bytes()).as_deref(), expected, "{text}");
    }

    #[test]
    fn one_form_for_all_ways_of_writing() {
        check(
            r#" { "b" : [ 1 , true , null ] , "a" : "\u0041\n" } "#,
            Some("{\"a\":\"A\\u000a\",\"b\":[1,true,null]}"),
        );
        check(r#""\ud83d\ude00""#, Some("\"\u{1f600}\""));
        check(r#"{"a":{"d":1,"c":2},"A":0}"#, Some(r#"{"A":0,"a":{"c":2,"d":1}}"#));
        check("\"\\u001f\"", Some("\"\\u001f\""));
        check("[]", Some("[]"));
        check("{}", Some("{}"));
    }

    #[test]
    fn numbers_stay_as_they_were_written() {
        for number in ["0", "-0", "1", "1.0", "1.00", "1e2", "1E+2", "-12.5e-3", "9007199254740993"] {
            check(number, Some(number));
        }
        for fault in ["01", "-", "1.", ".5", "1e", "+1", "0x1", "NaN", "1 2", "00"] {
            check(fault, None);
        }
    }

    #[test]
    fn what_readers_may_read_differently_has_no_form() {
        for fault in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "'a'",
            "tru",
            "[1]]",
            "\u{feff}[]",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[{"y":1,"y":2}]}"#,
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\u0041""#,
            r#""\ud800x""#,
            r#""\u12""#,
            r#""\x""#,
            "\"\n\"",
            "\"a",
        ] {
            check(fault, None);
        }
        assert_eq!(canonical(b"\"\xff\""), None);
    }

    #[test]
    fn nesting_ends_at_64() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(64), Some(&nested(64)));
        check(&nested(65), None);
        check(&"[".repeat(100_000), None);
    }
}
