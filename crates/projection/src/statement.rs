//! One SQL statement out of a YAML file: its named parameters made into numbered ones, and refused where it is more
//! than one statement or none that belongs there.

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's: quotes with brackets and backticks.
    Sqlite,
    /// PostgreSQL's: casts by `::`, operators with `?` and `@`.
    #[cfg(feature = "postgres")]
    Postgres,
}

impl Dialect {
    const fn is_sqlite(self) -> bool {
        matches!(self, Self::Sqlite)
    }
}

/// A statement that is ready to be prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The text around the parameters; a number is one of them, counted from 1.
    pieces: Vec<Piece>,
    /// The names, in the order of the numbers.
    pub(crate) names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Parameter(usize),
}

impl Statement {
    /// The statement with its parameters written this way.
    pub(crate) fn render(&self, parameter: impl Fn(usize) -> String) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Parameter(number) => parameter(*number),
        });
        pieces.collect::<String>().trim_end().to_owned()
    }

    fn text(&mut self, text: &str) {
        if let Some(Piece::Text(last)) = self.pieces.last_mut() {
            last.push_str(text);
        } else {
            self.pieces.push(Piece::Text(text.to_owned()));
        }
    }
}

/// What is wrong, and the way out.
pub(crate) type StatementFault = (String, String);

/// Reads a statement that begins with one of these words.
pub(crate) fn read(text: &str, allowed: &[&str], dialect: Dialect) -> Result<Statement, StatementFault> {
    let mut statement = Statement { pieces: Vec::new(), names: Vec::new() };
    let mut rest = text;
    let mut first_word = None;
    let mut ended = false;
    while let Some(c) = rest.chars().next() {
        let taken = skipped_length(rest, dialect);
        if let Some(length) = taken {
            let comment = rest.starts_with("--") || rest.starts_with("/*");
            if ended && !comment {
                return Err(two_statements());
            }
            // Comments are left out: at the end of a statement they would swallow what is put around it.
            statement.text(if comment { " " } else { &rest[..length] });
            rest = &rest[length..];
            continue;
        }
        let length = c.len_utf8();
        if ended && !c.is_whitespace() && c != ';' {
            return Err(two_statements());
        }
        match c {
            ';' => ended = true,
            ':' if !dialect.is_sqlite() && rest.starts_with("::") => {
                statement.text("::");
                rest = &rest[2..];
                continue;
            }
            ':' => {
                let name = word(&rest[1..]);
                if name.is_empty() {
                    return Err(("a : without a name".to_owned(), "name the parameter, such as :order_id".to_owned()));
                }
                let number = number_of(&mut statement.names, name);
                statement.pieces.push(Piece::Parameter(number));
                rest = &rest[1 + name.len()..];
                continue;
            }
            '?' | '@' | '$' if dialect.is_sqlite() || c == '$' => {
                let way_out = "give each parameter a name, such as :order_id, and its path under params".to_owned();
                return Err((format!("{c} is not a named parameter"), way_out));
            }
            _ if is_word(c) => {
                let text = word(rest);
                first_word.get_or_insert_with(|| text.to_ascii_lowercase());
                statement.text(text);
                rest = &rest[text.len()..];
                continue;
            }
            _ => statement.text(&rest[..length]),
        }
        rest = &rest[length..];
    }
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
fn skipped_length(text: &str, dialect: Dialect) -> Option<usize> {
    let until = |open: usize, close: &str| text[open..].find(close).map_or(text.len(), |end| open + end + close.len());
    match text.as_bytes()[0] {
        quote @ (b'\'' | b'"') => Some(quoted_length(text, quote)),
        b'`' if dialect.is_sqlite() => Some(quoted_length(text, b'`')),
        b'[' if dialect.is_sqlite() => Some(until(1, "]")),
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
        let sql = "insert into t (a, b, c) values (:a, :b, :a || ':b' || \":c\"); -- :d";
        let read = read(sql, WRITE, Dialect::Sqlite).unwrap();
        assert_eq!(read.render(|n| format!("?{n}")), "insert into t (a, b, c) values (?1, ?2, ?1 || ':b' || \":c\")");
        assert_eq!(read.names, ["a", "b"]);
    }

    #[test]
    fn quotes_and_comments_hide_what_is_in_them() {
        let sql = "/* :x ; */ update [a;b] set x = 'it''s; :y' where `q;` = :z -- drop; it\n and 1";
        let read = read(sql, WRITE, Dialect::Sqlite).unwrap();
        assert_eq!(read.render(|n| format!("?{n}")), "  update [a;b] set x = 'it''s; :y' where `q;` = ?1   and 1");
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
            assert_eq!(read(sql, WRITE, Dialect::Sqlite).unwrap_err().0, fault, "{sql}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn casts_and_operators_of_postgresql_pass() {
        let sql = "update t set a[:i] = :a::jsonb where b @> '{}' and c ? 'x' and d = :a";
        let read = read(sql, WRITE, Dialect::Postgres).unwrap();
        let expected = "update t set a[$1] = $2::jsonb where b @> '{}' and c ? 'x' and d = $2";
        assert_eq!(read.render(|n| format!("${n}")), expected);
        assert_eq!(
            super::read("update t set a = $1", WRITE, Dialect::Postgres).unwrap_err().0,
            "$ is not a named parameter"
        );
    }
}
