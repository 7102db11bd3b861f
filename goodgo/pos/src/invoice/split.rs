//! One line of CSV (RFC 4180) into its fields. A record is one line: a quote that is not closed spoils its own line and not
//! the rest of the file.

use std::borrow::Cow;

/// The fields, or the index of the field at fault and the fault.
pub(super) fn split(line: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, (usize, &'static str)> {
    let mut fields = Vec::with_capacity(8);
    let mut rest = line;
    loop {
        let after;
        if let Some(open) = rest.strip_prefix(b"\"") {
            let (field, behind) = quoted(open).ok_or((fields.len(), "has a quote that is not closed on this line"))?;
            fields.push(field);
            after = behind;
        } else {
            let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
            fields.push(Cow::Borrowed(&rest[..end]));
            after = &rest[end..];
        }
        match after {
            [] => return Ok(fields),
            [b',', next @ ..] => rest = next,
            _ => return Err((fields.len() - 1, "has text after its closing quote")),
        }
    }
}

/// The content up to the closing quote, and what follows it. A doubled quote stands for one.
fn quoted(open: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut content = Cow::Borrowed(&open[..0]);
    let mut from = 0;
    loop {
        let end = from + open[from..].iter().position(|byte| *byte == b'"')?;
        if open.get(end + 1) != Some(&b'"') {
            if let Cow::Owned(content) = &mut content {
                content.extend_from_slice(&open[from..end]);
                return Some((Cow::Owned(std::mem::take(content)), &open[end + 1..]));
            }
            return Some((Cow::Borrowed(&open[..end]), &open[end + 1..]));
        }
        content.to_mut().extend_from_slice(&open[from..=end]);
        from = end + 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(line: &str) -> Result<Vec<String>, (usize, &'static str)> {
        let text = |field: Cow<'_, [u8]>| String::from_utf8(field.into_owned()).unwrap();
        split(line.as_bytes()).map(|fields| fields.into_iter().map(text).collect())
    }

    #[test]
    fn fields_are_taken_apart() {
        assert_eq!(texts("a,b,,").unwrap(), ["a", "b", "", ""]);
        assert_eq!(texts("").unwrap(), [""]);
        assert_eq!(texts("\"a,b\",\"say \"\"hi\"\"\",\"\",\"\"\"\"").unwrap(), ["a,b", "say \"hi\"", "", "\""]);
        assert_eq!(texts("3 1/2\" tin,b").unwrap(), ["3 1/2\" tin", "b"], "a quote within a plain field is itself");
    }

    #[test]
    fn broken_quotes_are_located() {
        assert_eq!(texts("a,\"b,c").unwrap_err().0, 1);
        assert_eq!(texts("\"a\"b,c").unwrap_err().0, 0);
        assert_eq!(texts("\"a\"\"").unwrap_err().0, 0);
    }

    proptest! {
        #[test]
        fn what_was_quoted_comes_back(fields in proptest::collection::vec("[a,\" é]{0,6}", 1..6)) {
            let line = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect::<Vec<_>>().join(",");
            prop_assert_eq!(texts(&line).unwrap(), fields);
        }

        #[test]
        fn no_line_is_too_strange(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(fields) = split(&line) {
                prop_assert!(!fields.is_empty());
            }
        }
    }
}
