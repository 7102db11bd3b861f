//! Rows of the table `saga`, and rows as JSON for `json_each`.

use std::fmt::Write as _;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use steadfast_core::{SagaId, Timestamp};

use crate::Error;
use crate::journal::{Head, Row, status_from};

pub(super) fn saga(row: &SqliteRow) -> Result<Row, Error> {
    let id: &[u8] = row.try_get("id")?;
    let no = row.try_get("no")?;
    let corrupt = |what: &str| Error::Corrupt(format!("saga number {no}: its {what}"));
    Ok(Row {
        no,
        id: SagaId::from_slice(id).ok_or_else(|| corrupt("id"))?,
        definition: row.try_get("definition")?,
        version: row.try_get("version")?,
        business_key: row.try_get("business_key")?,
        principal: row.try_get("principal")?,
        started_at: Timestamp::from_millis(row.try_get("started_at")?),
        head: head(row)?,
    })
}

/// What a row says of where the saga stands.
pub(super) fn head(row: &SqliteRow) -> Result<Head, Error> {
    let millis = |at: Option<i64>| at.map(Timestamp::from_millis);
    let status: &str = row.try_get("status")?;
    Ok(Head {
        status: status_from(status).ok_or_else(|| Error::Corrupt(format!("a saga's status is {status:?}")))?,
        held: row.try_get("held")?,
        overdue: row.try_get("overdue")?,
        wake_at: millis(row.try_get("wake_at")?),
        ended_at: millis(row.try_get("ended_at")?),
        cause: row.try_get("cause")?,
    })
}

/// `[[…],[…]]`
pub(super) fn json_rows<T>(rows: &[T], mut write: impl FnMut(&mut String, &T)) -> String {
    let mut out = String::with_capacity(2 + rows.len() * 192);
    out.push('[');
    for (index, row) in rows.iter().enumerate() {
        out.push_str(if index == 0 { "[" } else { ",[" });
        write(&mut out, row);
        out.push(']');
    }
    out.push(']');
    out
}

pub(super) fn text(out: &mut String, text: &str) {
    // A string always has a form in JSON.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

pub(super) fn optional(out: &mut String, value: Option<&str>) {
    match value {
        Some(value) => text(out, value),
        None => out.push_str("null"),
    }
}

pub(super) fn number(out: &mut String, at: Option<Timestamp>) {
    let _ = match at {
        Some(at) => write!(out, "{}", at.as_millis()),
        None => write!(out, "null"),
    };
}
