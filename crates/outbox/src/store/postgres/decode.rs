//! Rows as sqlx hands them over, without a type for times and UUIDs between.

use sqlx::postgres::{PgRow, PgValueRef};
use sqlx::{Row as _, ValueRef};
use steadfast_core::{EventId, Timestamp};

use crate::Error;
use crate::lanes::Spot;
use crate::store::{Parked, Row};

/// 2000-01-01, from which PostgreSQL counts, in milliseconds since 1970.
const EPOCH: i64 = 946_684_800_000;

fn bytes(row: &PgRow, column: usize) -> Result<Option<PgValueRef<'_>>, Error> {
    let value = row.try_get_raw(column)?;
    Ok((!value.is_null()).then_some(value))
}

fn fixed<const N: usize>(row: &PgRow, column: usize, id: i64, fault: &'static str) -> Result<Option<[u8; N]>, Error> {
    let Some(value) = bytes(row, column)? else { return Ok(None) };
    let array = value.as_bytes().ok().and_then(|bytes| bytes.try_into().ok());
    array.map(Some).ok_or(Error::Corrupt { id, fault })
}

/// A time; none where there is none.
pub(super) fn time(row: &PgRow, column: usize, id: i64) -> Result<Option<Timestamp>, Error> {
    let micros = fixed(row, column, id, "a time of it has not 8 bytes")?.map(i64::from_be_bytes);
    Ok(micros.map(|micros| Timestamp::from_millis(micros.div_euclid(1000).saturating_add(EPOCH))))
}

/// A time that is always there.
pub(super) fn some_time(row: &PgRow, column: usize, id: i64) -> Result<Timestamp, Error> {
    time(row, column, id)?.ok_or(Error::Corrupt { id, fault: "a time of it is missing" })
}

fn text(row: &PgRow, column: usize, id: i64) -> Result<Option<String>, Error> {
    let Some(value) = bytes(row, column)? else { return Ok(None) };
    let text = value.as_bytes().ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    text.map(Some).ok_or(Error::Corrupt { id, fault: "its JSON is not UTF-8: the database must have that encoding" })
}

fn event_id(row: &PgRow, column: usize, id: i64) -> Result<EventId, Error> {
    const FAULT: &str = "its event id has not 16 bytes";
    let bytes: Option<[u8; 16]> = fixed(row, column, id, FAULT)?;
    bytes.and_then(|bytes| EventId::from_slice(&bytes)).ok_or(Error::Corrupt { id, fault: FAULT })
}

/// An event, and the id of the one before it.
pub(super) fn event(row: &PgRow) -> Result<(Row, i64), Error> {
    let id = row.try_get(0)?;
    let day = fixed(row, 2, id, "its day has not 4 bytes")?.map_or(0, i32::from_be_bytes);
    let read = Row {
        id,
        spot: Spot { bucket: row.try_get(1)?, day },
        event_id: event_id(row, 4, id)?,
        aggregate_type: row.try_get(5)?,
        aggregate_id: row.try_get(6)?,
        event_type: row.try_get(7)?,
        sequence: row.try_get(8)?,
        payload: text(row, 9, id)?.ok_or(Error::Corrupt { id, fault: "its payload is missing" })?,
        headers: text(row, 10, id)?,
        created_at: some_time(row, 11, id)?,
    };
    Ok((read, row.try_get(3)?))
}

pub(super) fn parked(row: &PgRow) -> Result<Parked, Error> {
    let event = row.try_get(0)?;
    Ok(Parked {
        event,
        event_id: event_id(row, 1, event)?,
        aggregate_type: row.try_get(2)?,
        aggregate_id: row.try_get(3)?,
        event_type: row.try_get(4)?,
        sequence: row.try_get(5)?,
        attempts: u32::try_from(row.try_get::<i32, _>(6)?).unwrap_or(0),
        last_error: row.try_get(7)?,
        parked_at: some_time(row, 8, event)?,
        next_attempt_at: some_time(row, 9, event)?,
        dead_at: time(row, 10, event)?,
    })
}
