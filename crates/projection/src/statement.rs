//! One SQL statement out of a YAML file: its named parameters made into numbered ones, and refused where it is more
//! than one statement or none that belongs there.

/// A statement that is ready to be prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// With `?1`, `?2` … in place of names, without a semicolon at the end.
    pub(crate) sql: String,
    /// The names, in the order of the numbers.
    pub(crate) names: Vec<String>,
}

/// What is wrong, and the way out.
pub(crate) type StatementFault = (String, String);

/// Reads a statement that begins with one of these words.
pub(crate) fn read(text: &str, allowed: &[&str]) -> Result<Statement, StatementFault> {
    let mut statement = Statement { sql: String::with_capacity(text.len()), names: Vec::new() };
    let mut rest = text;
    let mut first_word = None;
    let mut ended = false;
    while let Some(c) = rest.chars().next() {
        let taken = skipped_length(rest);
        if let Some(length) = taken {
            let comment = rest.starts_with("--") || rest.starts_with("/*");
            if ended && !comment {
                return Err(two_statements());
            }
            // Comments are left out: at the end of a statement they would swallow what is put around it.
            statement.sql.push_str(if comment { " " } else { &rest[..length] });
            rest = &rest[length..];
            continue;
        }
        let length = c.len_utf8();
        if ended && !c.is_whitespace() && c != ';' {
            return Err(two_statements());
        }
        match c {
            ';' => ended = true,
            ':' => {
                let name = word(&rest[1..]);
                if name.is_empty() {
                    return Err(("a : without a name".to_owned(), "name the parameter, such as :order_id".to_owned()));
                }
                let number = number_of(&mut statement.names, name);
                statement.sql.push('?');
                statement.sql.push_str(&number.to_string());
                rest = &rest[1 + name.len()..];
                continue;
            }
            '?' | '@' | '$' => {
                let way_out = "give each parameter a name, such as :order_id, and its path under params".to_owned();
                return Err((format!("{c} is not a named parameter"), way_out));
            }
            _ if is_word(c) => {
                let text = word(rest);
                first_word.get_or_insert_with(|| text.to_ascii_lowercase());
                statement.sql.push_str(text);
                rest = &rest[text.len()..];
                continue;
            }
            _ => statement.sql.push(c),
        }
        rest = &rest[length..];
    }
    statement.sql.truncate(statement.sql.trim_end().len());
    match first_word {
        Some(word) if allowed.contains(&word.as_str()) => Ok(statement),
        Some(word) => {
            Err((format!("{word} is not allowed here"), format!("begin with one of: {}", allowed.join(", "))))
        }
        None => Err(("there is no statement".to_owned(), format!("begin with one of: {}", allowed.join(", ")))),
    }
}

fn two_statements() -> StatementFault {
    let way_out = "write one statement; several tables need several projections, or a trigger".to_owned();
    ("there is more than one statement".to_owned(), way_out)
}

fn number_of(names: &mut Vec<String>, name: &str) -> usize {
    let place = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    place + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// The length of a string, a quoted name or a comment at the beginning of the text.
fn skipped_length(text: &str) -> Option<usize> {
    let until = |open: usize, close: &str| text[open..].find(close).map_or(text.len(), |end| open + end + close.len());
    match text.as_bytes()[0] {
        quote @ (b'\'' | b'"' | b'`') => Some(quoted_length(text, quote)),
        b'[' => Some(until(1, "]")),
        b'-' if text.starts_with("--") => Some(until(2, "\n")),
        b'/' if text.starts_with("/*") => Some(until(2, "*/")),
        _ => None,
    }
}

/// The length of a quoted text in which a doubled quote stands for one.
fn quoted_length(text: &str, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: &[&str] = &["insert", "update"];

    #[test]
    fn names_become_numbers() {
        let read = read("insert into t (a, b, c) values (:a, :b, :a || ':b' || \":c\"); -- :d", WRITE).unwrap();
        assert_eq!(read.sql, "insert into t (a, b, c) values (?1, ?2, ?1 || ':b' || \":c\")");
        assert_eq!(read.names, ["a", "b"]);
    }

    #[test]
    fn quotes_and_comments_hide_what_is_in_them() {
        let read =
            read("/* :x ; */ update [a;b] set x = 'it''s; :y' where `q;` = :z -- drop; it\n and 1", WRITE).unwrap();
        assert_eq!(read.sql, "  update [a;b] set x = 'it''s; :y' where `q;` = ?1   and 1");
        assert_eq!(read.names, ["z"]);
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        for (sql, fault) in [
            ("", "there is no statement"),
            ("-- insert", "there is no statement"),
            ("drop table t", "drop is not allowed here"),
            ("begin", "begin is not allowed here"),
            ("update t set a = 1; delete from t", "there is more than one statement"),
            ("update t set a = 1;'x'", "there is more than one statement"),
            ("update t set a = ?1", "? is not a named parameter"),
            ("update t set a = $a", "$ is not a named parameter"),
            ("update t set a = : a", "a : without a name"),
        ] {
            assert_eq!(read(sql, WRITE).unwrap_err().0, fault, "{sql}");
        }
    }
}
