//! A record as a row.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::{PgExecutor, Row as _};
use steadfast_core::Timestamp;

use crate::decision::Change;
use crate::record::{Owner, Phase, Record, RecordId, State};
use crate::store::headers;
use crate::{Answer, Error, Fingerprint};

const PENDING: i16 = 0;
const UNKNOWN: i16 = 1;
const DONE: i16 = 2;
const TOMBSTONE: i16 = 3;

/// The column behind those of a record.
pub(super) const BEHIND: usize = 16;

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// Compare and set: whether the record was still the one that was seen, and is now what was decided.
pub(crate) async fn write<'e>(executor: impl PgExecutor<'e>, id: RecordId, change: &Change) -> Result<bool, Error> {
    let query = match (&change.seen, &change.then) {
        (None, None) => return Ok(true),
        (None, Some(record)) => bind(sqlx::query(include_str!("insert_record.sql")), id, record),
        (Some(_), Some(record)) => bind(sqlx::query(include_str!("replace_record.sql")), id, record),
        (Some(_), None) => sqlx::query(include_str!("delete_record.sql")).bind(id.as_bytes().to_vec()),
    };
    let query = match &change.seen {
        None => query,
        Some(seen) => {
            let (state, lease) = match seen.phase {
                Phase::Pending(lease) => (PENDING, Some(lease.as_millis())),
                Phase::Unknown => (UNKNOWN, None),
                Phase::Done => (DONE, None),
                Phase::Tombstone => (TOMBSTONE, None),
            };
            query.bind(seen.owner.as_bytes().to_vec()).bind(state).bind(lease).bind(seen.forgotten)
        }
    };
    Ok(query.execute(executor).await.map_err(Error::sql)?.rows_affected() == 1)
}

/// Binds an answer: status, headers, body.
pub(super) fn bind_answer<'q>(query: Query<'q>, answer: Option<&'q Answer>) -> Query<'q> {
    query
        .bind(answer.map(|answer| answer.status.as_u16().cast_signed()))
        .bind(answer.map(headers::encode))
        .bind(answer.and_then(|answer| answer.body.as_deref()))
}

/// The state of a record that was executed.
pub(super) fn state_of(answer: &Answer) -> i16 {
    if answer.body.is_some() { DONE } else { TOMBSTONE }
}

fn bind<'q>(query: Query<'q>, id: RecordId, record: &'q Record) -> Query<'q> {
    let (state, since, answer) = match &record.state {
        State::Pending { lease_until } => (PENDING, *lease_until, None),
        State::Unknown { since } => (UNKNOWN, *since, None),
        State::Done(answer) => (state_of(answer), record.claimed_at, Some(&**answer)),
    };
    let query = query
        .bind(id.as_bytes().to_vec())
        .bind(record.owner.as_bytes().to_vec())
        .bind(state)
        .bind(since.as_millis())
        .bind(record.expires_at.map(Timestamp::as_millis))
        .bind(record.fingerprint.to_bytes())
        .bind(&*record.scope)
        .bind(&*record.subject)
        .bind(record.login.as_deref())
        .bind(record.forgotten)
        .bind(i32::try_from(record.attempt).unwrap_or(i32::MAX))
        .bind(record.unsure)
        .bind(record.claimed_at.as_millis());
    bind_answer(query, answer)
}

/// The record in a row that has one.
pub(super) fn decode_if_any(row: &PgRow) -> Result<Option<Record>, Error> {
    match get::<Option<&[u8]>>(row, 0)? {
        None => Ok(None),
        Some(_) => decode(row).map(|(_, record)| Some(record)),
    }
}

/// A record and its name from a row of all columns.
pub(super) fn decode(row: &PgRow) -> Result<(RecordId, Record), Error> {
    let id = RecordId::from_slice(get::<&[u8]>(row, 0)?);
    let corrupt =
        |fault| Error::Corrupt { id: id.map_or_else(|| "without a name".to_owned(), |id| id.to_string()), fault };
    let since = Timestamp::from_millis(get(row, 3)?);
    let state = match get::<i16>(row, 2)? {
        PENDING => State::Pending { lease_until: since },
        UNKNOWN => State::Unknown { since },
        DONE | TOMBSTONE => {
            let status =
                get::<Option<i16>>(row, 13)?.and_then(|status| StatusCode::from_u16(status.cast_unsigned()).ok());
            let block = headers::decode(get::<Option<&[u8]>>(row, 14)?.unwrap_or_default());
            State::Done(Arc::new(Answer {
                headers: block.ok_or_else(|| corrupt("its headers are none"))?,
                body: get::<Option<&[u8]>>(row, 15)?.map(Bytes::copy_from_slice),
                ..Answer::new(status.ok_or_else(|| corrupt("its status is none"))?)
            }))
        }
        _ => return Err(corrupt("its state is none")),
    };
    let record = Record {
        owner: Owner::from_slice(get::<&[u8]>(row, 1)?).ok_or_else(|| corrupt("its owner is none"))?,
        expires_at: get::<Option<i64>>(row, 4)?.map(Timestamp::from_millis),
        fingerprint: Fingerprint::from_bytes(get::<&[u8]>(row, 5)?)
            .ok_or_else(|| corrupt("its fingerprint is none, or was written by a newer version"))?,
        scope: get::<&str>(row, 6)?.into(),
        subject: get::<&str>(row, 7)?.into(),
        login: get::<Option<&str>>(row, 8)?.map(Into::into),
        forgotten: get(row, 9)?,
        attempt: u32::try_from(get::<i32>(row, 10)?).map_err(|_| corrupt("its attempt is none"))?,
        unsure: get(row, 11)?,
        claimed_at: Timestamp::from_millis(get(row, 12)?),
        state,
    };
    Ok((id.ok_or_else(|| corrupt("its name is none"))?, record))
}

pub(super) fn get<'r, T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>>(
    row: &'r PgRow,
    column: usize,
) -> Result<T, Error> {
    row.try_get(column).map_err(Error::sql)
}
