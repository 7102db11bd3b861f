//! The text of the statements: pure. Identifiers are checked, SQL text comes from the program, values are bound.
//! Placeholders are written `$1`, which every backend reads.

use crate::expected::Row;
use crate::{Entity, Error};

/// The placeholder of the amount in an adjustment.
const AMOUNT: &str = ":n";
/// The rows of a bulk adjustment, as a table in its statement.
pub(crate) const BULK: &str = "_change";
/// The rows of a bulk adjustment as they are under its locks.
const LOCKED: &str = "_locked";

/// Refuses what is not a plain identifier, so that a name can stand in a statement unquoted.
pub(crate) fn check_identifier(entity: &'static str, name: &str) -> Result<(), Error> {
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if starts && name.len() <= 63 && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    let fault = format!("{name:?} is not an identifier: use letters, digits and _, at most 63, not a digit first");
    Err(Error::Declaration { entity, fault })
}

/// Refuses text that ends the statement, or that touches `version`, which only this crate counts.
pub(crate) fn check_text(entity: &'static str, what: &str, text: &'static str) -> Result<(), Error> {
    let fault = |fault: &str| Err(Error::Declaration { entity, fault: format!("{what} {text:?} {fault}") });
    if text.trim().is_empty() {
        return fault("is empty");
    }
    if text.contains(';') || text.contains("--") || text.contains("/*") {
        return fault("must be one expression without comments");
    }
    if words(text).any(|word| word.eq_ignore_ascii_case("version")) {
        return fault("must not name version: it is counted for you");
    }
    if text.contains(['?', '$']) {
        return fault("must have no placeholder of its own");
    }
    Ok(())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// Whether the text speaks of the amount.
pub(crate) fn has_amount(text: &str) -> bool {
    with_amount(text, "") != text
}

/// The text with another word for `:n`. What stands in quotes stays.
pub(crate) fn with_amount(text: &str, word: &str) -> String {
    let mut out = String::with_capacity(text.len() + word.len());
    let mut rest = text;
    let mut quote = None;
    while let Some(c) = rest.chars().next() {
        let ends = |after: &str| !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        match (quote, rest.strip_prefix(AMOUNT)) {
            (None, Some(after)) if ends(after) => {
                out.push_str(word);
                rest = after;
                continue;
            }
            (None, _) if c == '\'' || c == '"' => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            _ => {}
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// `a = $n and b = $n+1`.
fn key_matches(entity: &Entity, first: usize) -> String {
    let columns = entity.key_columns().iter().zip(first..);
    columns.map(|(column, n)| format!("{column} = ${n}")).collect::<Vec<_>>().join(" and ")
}

fn more(returning: Option<&'static str>) -> String {
    returning.map_or_else(String::new, |columns| format!(", {columns}"))
}

/// The parts of a replace that shape its text. Values are bound in the order: columns, key, expected.
#[derive(Debug)]
pub(crate) struct ReplaceShape<'a> {
    pub(crate) entity: &'a Entity,
    pub(crate) columns: &'a [&'static str],
    pub(crate) expected: &'a Row,
    pub(crate) guard: Option<&'static str>,
    pub(crate) keep_if_equal: bool,
    pub(crate) returning: Option<&'static str>,
}

/// `update t set a = $1, version = version + 1 where id = $2 and version = $3 returning version`.
pub(crate) fn replace(shape: &ReplaceShape<'_>) -> String {
    let ReplaceShape { entity, columns, expected, guard, keep_if_equal, returning } = shape;
    let set: Vec<_> = columns.iter().zip(1..).map(|(column, n)| format!("{column} = ${n}, ")).collect();
    let set = set.concat();
    let first = columns.len() + 1;
    let mut next = first + entity.key_columns().len();
    let mut conditions = vec![key_matches(entity, first)];
    match expected {
        Row::Any => {}
        Row::Version(_) => conditions.push(format!("version = ${next}")),
        Row::OneOf(stamps) => {
            let one = |_| {
                let condition = match entity.epoch_column() {
                    Some(epoch) => format!("(version = ${next} and {epoch} = ${})", next + 1),
                    None => format!("version = ${next}"),
                };
                next += 1 + usize::from(entity.epoch_column().is_some());
                condition
            };
            conditions.push(format!("({})", stamps.iter().map(one).collect::<Vec<_>>().join(" or ")));
        }
    }
    conditions.extend(guard.map(|guard| format!("({guard})")));
    if *keep_if_equal {
        let differs = columns.iter().zip(1..).map(|(column, n)| format!("{column} is distinct from ${n}"));
        // With no column nothing can differ.
        let differs: Vec<_> = differs.chain(columns.is_empty().then(|| "1 = 0".to_owned())).collect();
        conditions.push(format!("({})", differs.join(" or ")));
    }
    format!(
        "update {} set {set}version = version + 1 where {} returning version{}",
        entity.name(),
        conditions.join(" and "),
        more(*returning)
    )
}

/// The second read, after no row: what the row is at, and whether the guard holds.
pub(crate) fn look(entity: &Entity, guard: Option<&str>) -> String {
    format!(
        "select version, {}, {} from {} where {}",
        entity.epoch_column().unwrap_or("0"),
        guard.map_or_else(|| "1".to_owned(), |guard| format!("case when {guard} then 1 else 0 end")),
        entity.name(),
        key_matches(entity, 1),
    )
}

/// The row as a change would have returned it.
pub(crate) fn read(entity: &Entity, returning: Option<&'static str>) -> String {
    format!("select version{} from {} where {}", more(returning), entity.name(), key_matches(entity, 1))
}

/// An adjustment of one row: `$1` the amount, then the key.
pub(crate) fn adjust(entity: &Entity, set: &str, guard: &str, returning: Option<&'static str>) -> String {
    format!(
        "update {} set {}, version = version + 1 where {} and ({}) returning version{}",
        entity.name(),
        with_amount(set, "$1"),
        key_matches(entity, 2),
        with_amount(guard, "$1"),
        more(returning),
    )
}

/// The second read of an adjustment: the key, then the amount.
pub(crate) fn look_at_guard(entity: &Entity, guard: &str) -> String {
    look(entity, Some(&with_amount(guard, &format!("${}", entity.key_columns().len() + 1))))
}

/// `table.key = _change._k0 and …`.
fn joined(entity: &Entity) -> String {
    let (table, keys) = (entity.name(), entity.key_columns());
    keys.iter().zip(0..).map(|(key, n)| format!("{table}.{key} = {BULK}._k{n}")).collect::<Vec<_>>().join(" and ")
}

/// An adjustment of several rows: `$1` the rows as JSON, `$2` their number; nothing unless all of them pass. `rows` is the
/// backend's way to read the JSON as a table with the columns `_k0 …` and `_n`. Where rows `move`, they are locked first, in
/// the order of their keys, and counted as they are under the lock.
pub(crate) fn adjust_all(
    entity: &Entity,
    set: &str,
    guard: &str,
    returning: Option<&'static str>,
    rows: &str,
    moving: bool,
) -> String {
    let amount = format!("{BULK}._n");
    let (table, on) = (entity.name(), joined(entity));
    let set = with_amount(set, &amount);
    let keys = entity.key_columns().join(", ");
    let (locked, passing) = if moving {
        let order: Vec<_> = (1..=entity.key_columns().len()).map(|n| format!("_k{}", n - 1)).collect();
        let locked = format!(
            ", {LOCKED} as materialized (select {table}.*, {amount} from {BULK} join {table} on {on} order by {} \
             for no key update of {table})",
            order.join(", ")
        );
        // Under the table's own name, by which the guard may call it.
        (locked, format!("{LOCKED} as {table} where ({})", with_amount(guard, &format!("{table}._n"))))
    } else {
        (String::new(), format!("{BULK} join {table} on {on} where ({})", with_amount(guard, &amount)))
    };
    let guard = with_amount(guard, &amount);
    format!(
        "with {rows}{locked} update {table} set {set}, version = version + 1 from {BULK} where {on} and ({guard}) \
         and $2 = (select count(*) from {passing}) returning version, {keys}{}",
        more(returning),
    )
}

/// The second read of several: `$1` as above; whether there is such a row, whether the guard holds, the key.
pub(crate) fn losers(entity: &Entity, guard: &str, rows: &str) -> String {
    let table = entity.name();
    let guard = with_amount(guard, &format!("{BULK}._n"));
    let keys: Vec<_> = (0..entity.key_columns().len()).map(|n| format!("{BULK}._k{n}")).collect();
    let keys = keys.join(", ");
    format!(
        "with {rows} select {table}.version is not null, case when {guard} then 1 else 0 end, {keys} \
         from {BULK} left join {table} on {}",
        joined(entity),
    )
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::{Stamp, Version};

    fn check_replace(entity: &Entity, expected: &Row, guard: Option<&'static str>, keep: bool, want: &Expect) {
        let shape = ReplaceShape {
            entity,
            columns: &["name", "price"],
            expected,
            guard,
            keep_if_equal: keep,
            returning: guard.map(|_| "name"),
        };
        want.assert_eq(&replace(&shape));
    }

    #[test]
    fn a_replace_is_one_statement() {
        let plain = Entity::new("product", &["sku"]).unwrap();
        check_replace(
            &plain,
            &Row::Version(Version::FIRST),
            None,
            false,
            &expect![
                "update product set name = $1, price = $2, version = version + 1 where sku = $3 and version = $4 returning version"
            ],
        );
        check_replace(
            &plain,
            &Row::Any,
            Some("state = 'open'"),
            true,
            &expect![
                "update product set name = $1, price = $2, version = version + 1 where sku = $3 and (state = 'open') and (name is distinct from $1 or price is distinct from $2) returning version, name"
            ],
        );
        let two = Row::OneOf(vec![Stamp::from(Version::FIRST), Stamp::from(Version::FIRST.next())]);
        check_replace(
            &Entity::with_epoch("product", &["place", "sku"], "life").unwrap(),
            &two,
            None,
            false,
            &expect![
                "update product set name = $1, price = $2, version = version + 1 where place = $3 and sku = $4 and ((version = $5 and life = $6) or (version = $7 and life = $8)) returning version"
            ],
        );
    }

    #[test]
    fn an_adjustment_is_one_statement_for_one_row_and_for_many() {
        let stock = Entity::new("stock", &["sku"]).unwrap();
        let (set, guard) = ("reserved = reserved + :n", "on_hand - reserved >= :n");
        expect![
            "update stock set reserved = reserved + $1, version = version + 1 where sku = $2 and (on_hand - reserved >= $1) returning version, on_hand"
        ]
        .assert_eq(&adjust(&stock, set, guard, Some("on_hand")));
        expect!["select version, 0, case when on_hand - reserved >= $2 then 1 else 0 end from stock where sku = $1"]
            .assert_eq(&look_at_guard(&stock, guard));
        expect![
            "with ROWS update stock set reserved = reserved + _change._n, version = version + 1 from _change where stock.sku = _change._k0 and (on_hand - reserved >= _change._n) and $2 = (select count(*) from _change join stock on stock.sku = _change._k0 where (on_hand - reserved >= _change._n)) returning version, sku"
        ]
        .assert_eq(&adjust_all(&stock, set, guard, None, "ROWS", false));
        expect![
            "with ROWS, _locked as materialized (select stock.*, _change._n from _change join stock on stock.sku = _change._k0 order by _k0 for no key update of stock) update stock set reserved = reserved + _change._n, version = version + 1 from _change where stock.sku = _change._k0 and (on_hand - reserved >= _change._n) and $2 = (select count(*) from _locked as stock where (on_hand - reserved >= stock._n)) returning version, sku"
        ]
        .assert_eq(&adjust_all(&stock, set, guard, None, "ROWS", true));
        expect![
            "with ROWS select stock.version is not null, case when on_hand - reserved >= _change._n then 1 else 0 end, _change._k0 from _change left join stock on stock.sku = _change._k0"
        ]
        .assert_eq(&losers(&stock, guard, "ROWS"));
    }

    #[test]
    fn the_amount_is_replaced_as_a_word_and_outside_quotes() {
        for (text, want) in [
            ("a = a + :n", "a = a + $1"),
            ("a = a+:n, b = b-:n", "a = a+$1, b = b-$1"),
            ("a >= :name", "a >= :name"),
            ("a = ':n' and b > :n", "a = ':n' and b > $1"),
            ("ä > :n", "ä > $1"),
        ] {
            assert_eq!(with_amount(text, "$1"), want);
            assert_eq!(has_amount(text), text != want);
        }
    }

    #[test]
    fn names_and_texts_that_are_none_are_refused() {
        for name in ["", "a b", "1a", "a;drop", "a\"", "ä", &"a".repeat(64)] {
            assert!(check_identifier("t", name).is_err(), "{name}");
        }
        for text in [
            "",
            " ",
            "a = 1; drop table t",
            "a = 1 -- x",
            "a = 1 /* x */",
            "version = 7",
            "Version = 1",
            "a = ?",
            "a = $1",
        ] {
            assert!(check_text("t", "guard", text).is_err(), "{text}");
        }
        assert!(check_text("t", "guard", "conversion = 1 and version_note = 'x'").is_ok());
    }
}
