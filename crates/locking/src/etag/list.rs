//! `If-Match` and `If-None-Match` (RFC 9110, 13.1): `*`, or entity tags with commas between.

/// More tags than any client has a reason to send.
const MOST_TAGS: usize = 32;
/// More text than so many tags of ours.
const MOST_BYTES: usize = 8_192;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum List {
    Star,
    Tags(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) weak: bool,
    pub(super) text: String,
}

/// The list, or what is wrong with it.
pub(super) fn parse(text: &str) -> Result<List, &'static str> {
    const FORM: &str = "must be * or entity tags in double quotes, such as \"abc\", with commas between";
    let blank = |c: char| c == ' ' || c == '\t';
    if text.len() > MOST_BYTES {
        return Err("is longer than 8192 bytes");
    }
    let mut rest = text.trim_matches(blank);
    if rest == "*" {
        return Ok(List::Star);
    }
    let mut tags = Vec::new();
    loop {
        // Empty elements of a list are ignored (RFC 9110, 5.6.1).
        rest = rest.trim_start_matches(|c| blank(c) || c == ',');
        if rest.is_empty() {
            break;
        }
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (tag, after) = quoted.strip_prefix('"').and_then(|open| open.split_once('"')).ok_or(FORM)?;
        if tag.contains(|c: char| !('\u{21}'..='\u{7e}').contains(&c)) {
            return Err(FORM);
        }
        if tags.len() == MOST_TAGS {
            return Err("lists more than 32 entity tags");
        }
        tags.push(Tag { weak, text: tag.to_owned() });
        rest = after.trim_start_matches(blank);
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(FORM);
        }
    }
    if tags.is_empty() { Err(FORM) } else { Ok(List::Tags(tags)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags(list: &[(&str, bool)]) -> List {
        List::Tags(list.iter().map(|(text, weak)| Tag { weak: *weak, text: (*text).to_owned() }).collect())
    }

    #[test]
    fn lists_are_read_as_the_rfc_says() {
        assert_eq!(parse(" * "), Ok(List::Star));
        assert_eq!(parse("\"a\""), Ok(tags(&[("a", false)])));
        assert_eq!(parse("\"\""), Ok(tags(&[("", false)])));
        assert_eq!(parse(",\"a\" ,, W/\"b,c\"\t, \"*\","), Ok(tags(&[("a", false), ("b,c", true), ("*", false)])));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            " ",
            ",",
            "a",
            "\"a",
            "a\"",
            "*, \"a\"",
            "\"a\", *",
            "w/\"a\"",
            "W/ \"a\"",
            "\"a\"\"b\"",
            "\"a b\"",
            "\"a\" \"b\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"\"a\",".repeat(32)).is_ok());
        assert!(parse(&"\"a\",".repeat(33)).is_err());
        assert!(parse(&format!("\"{}\"", "a".repeat(8_192))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,60}") {
            prop_assert!(parse(&text) != Ok(List::Tags(Vec::new())));
        }
    }
}
