//! A record as a row.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Executor, Row as _};
use steadfast_core::Timestamp;
use steadfast_db::tx::Tx;

use crate::decision::Change;
use crate::record::{Owner, Phase, Record, RecordId, State};
use crate::store::headers;
use crate::{Answer, Error, Fingerprint};

const PENDING: i64 = 0;
const UNKNOWN: i64 = 1;
const DONE: i64 = 2;
const TOMBSTONE: i64 = 3;

/// Reads one record, also one that has expired.
pub(crate) async fn read<'e>(
    executor: impl Executor<'e, Database = Sqlite>,
    id: RecordId,
) -> Result<Option<Record>, Error> {
    sqlx::query(include_str!("read_record.sql"))
        .bind(&id.as_bytes()[..])
        .fetch_optional(executor)
        .await
        .map_err(Error::sql)?
        .map(|row| decode(&row).map(|(_, record)| record))
        .transpose()
}

/// Compare and set: whether the record was still the one that was seen, and is now what was decided.
pub(crate) async fn write(tx: &mut Tx, id: RecordId, change: &Change) -> Result<bool, Error> {
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
    let result = query.execute(&mut **tx).await.map_err(Error::sql)?;
    Ok(result.rows_affected() == 1)
}

/// The owner's answer to a pending claim, without reading the record first; says whether it was one.
pub(super) async fn complete(
    tx: &mut Tx,
    id: RecordId,
    owner: Owner,
    answer: &Answer,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<bool, Error> {
    let result = sqlx::query(include_str!("complete_record.sql"))
        .bind(&id.as_bytes()[..])
        .bind(&owner.as_bytes()[..])
        .bind(if answer.body.is_some() { DONE } else { TOMBSTONE })
        .bind(now.as_millis())
        .bind(expires_at.as_millis())
        .bind(answer.status.as_u16())
        .bind(headers::encode(answer))
        .bind(answer.body.as_deref())
        .execute(&mut **tx)
        .await
        .map_err(Error::sql)?;
    Ok(result.rows_affected() == 1)
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

fn bind<'q>(query: Query<'q>, id: RecordId, record: &'q Record) -> Query<'q> {
    let (state, since, answer) = match &record.state {
        State::Pending { lease_until } => (PENDING, *lease_until, None),
        State::Unknown { since } => (UNKNOWN, *since, None),
        State::Done(answer) if answer.body.is_none() => (TOMBSTONE, record.claimed_at, Some(answer)),
        State::Done(answer) => (DONE, record.claimed_at, Some(answer)),
    };
    query
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
        .bind(record.attempt)
        .bind(record.unsure)
        .bind(record.claimed_at.as_millis())
        .bind(answer.map(|answer| answer.status.as_u16()))
        .bind(answer.map(|answer| headers::encode(answer)))
        .bind(answer.and_then(|answer| answer.body.as_deref()))
}

/// A record and its name from a row of all columns.
pub(super) fn decode(row: &SqliteRow) -> Result<(RecordId, Record), Error> {
    let id = RecordId::from_slice(get::<&[u8]>(row, 0)?);
    let corrupt =
        |fault| Error::Corrupt { id: id.map_or_else(|| "without a name".to_owned(), |id| id.to_string()), fault };
    let since = Timestamp::from_millis(get(row, 3)?);
    let state = match get::<i64>(row, 2)? {
        PENDING => State::Pending { lease_until: since },
        UNKNOWN => State::Unknown { since },
        DONE | TOMBSTONE => {
            let status = get::<Option<u16>>(row, 13)?.and_then(|status| StatusCode::from_u16(status).ok());
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
        attempt: get(row, 10)?,
        unsure: get(row, 11)?,
        claimed_at: Timestamp::from_millis(get(row, 12)?),
        state,
    };
    Ok((id.ok_or_else(|| corrupt("its name is none"))?, record))
}

fn get<'r, T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>>(row: &'r SqliteRow, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(Error::sql)
}
