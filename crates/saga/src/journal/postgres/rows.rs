//! Rows of the table `saga`, and values as the database takes them.

use std::borrow::Cow;

use sqlx::Row as _;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use steadfast_core::{SagaId, Timestamp};

use crate::Error;
use crate::journal::{Head, Row, status_from};

/// The server has ended a transaction of ours that stood idle, as that of a process that was stopped.
const IDLE_TRANSACTION_ENDED: &str = "25P03";

/// With the kind that the database's own error has.
pub(super) fn sql(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(DatabaseError::code);
    Error::Db(if code.is_some_and(|code| code == IDLE_TRANSACTION_ENDED) {
        steadfast_db::Error::CommitUnknown(error)
    } else {
        error.into()
    })
}

pub(super) fn saga(row: &PgRow) -> Result<Row, Error> {
    let id: &[u8] = row.try_get("id")?;
    let no = row.try_get("no")?;
    Ok(Row {
        no,
        id: SagaId::from_slice(id).ok_or_else(|| Error::Corrupt(format!("saga number {no}: its id")))?,
        definition: row.try_get("definition")?,
        version: version(row)?,
        business_key: row.try_get("business_key")?,
        principal: row.try_get("principal")?,
        started_at: Timestamp::from_millis(row.try_get("started_at")?),
        head: head(row)?,
    })
}

/// What a row says of where the saga stands.
pub(super) fn head(row: &PgRow) -> Result<Head, Error> {
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

pub(super) fn version(row: &PgRow) -> Result<u32, Error> {
    let version: i32 = row.try_get("version")?;
    u32::try_from(version).map_err(|_| Error::Corrupt(format!("a definition's version is {version}")))
}

/// As an `integer` of the database, which none of these comes near.
pub(super) fn int(value: impl TryInto<i32>) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

/// The text as PostgreSQL can keep it: a character that it has no place for must not cost a saga.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}
