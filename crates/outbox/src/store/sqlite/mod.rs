//! The outbox in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, Transaction};
use steadfast_bus::{headers, murmur2};
use steadfast_core::{Classified, ErrorKind, EventId, NewEvent, Timestamp, hex};
use steadfast_db::Db;

use super::{Claim, Parked, Row, Status, Store};
use crate::lanes::Marks;
use crate::numbering::{self, Way};
use crate::{Error, check};

/// A batch ends early at so many bytes of payload: bounds what the relay holds in memory.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Held aggregates that the relay tracks one by one; the statements exclude all of them.
const PARKED: i64 = 10_000;

/// Appends events in the caller's transaction: one statement for their numbers, one for their rows.
pub(crate) async fn append_events(
    tx: &mut Transaction<'_, Sqlite>,
    events: &[NewEvent],
    now: Timestamp,
    random: impl Fn() -> [u8; 10],
) -> Result<Vec<EventId>, Error> {
    if events.is_empty() {
        return Ok(vec![]);
    }
    for event in events {
        check::names(event)?;
    }
    let payloads = events.iter().map(payload).collect::<Result<Vec<_>, _>>()?;
    let (mut claims, places) = numbering::claims(events)?;
    for way in [Way::Given, Way::Drawn] {
        claim(tx, &mut claims, way).await?;
    }
    let ids: Vec<_> = events.iter().map(|_| EventId::from_parts(now, random())).collect();
    let rows: Vec<Value> = events
        .iter()
        .zip(&payloads)
        .zip(places.iter().zip(&ids))
        .map(|((event, payload), ((claim, place), id))| {
            json!([
                event.aggregate_id,
                event.aggregate_type,
                event.event_type,
                payload,
                hex(id.as_bytes()),
                claims[*claim].first + place,
                bucket(event),
                extra_headers(event),
            ])
        })
        .collect();
    sqlx::query(include_str!("sqlite/insert_events.sql"))
        .bind(Value::from(rows).to_string())
        .bind(now.as_millis())
        .execute(&mut **tx)
        .await?;
    Ok(ids)
}

fn payload(event: &NewEvent) -> Result<String, Error> {
    let json = event.payload.to_string();
    check::payload(event, &json)?;
    Ok(json)
}

/// A stable hash of the aggregate, 0 to 255.
fn bucket(event: &NewEvent) -> u32 {
    murmur2(format!("{}\n{}", event.aggregate_type, event.aggregate_id).as_bytes()) & 0xff
}

/// What travels beside the envelope, as a JSON object in text; none where there is nothing.
fn extra_headers(event: &NewEvent) -> Option<String> {
    let saga = event.saga.map(|saga| (headers::SAGA_ID.to_owned(), Value::from(saga.to_string())));
    let trace = check::trace(event).map(|trace| (headers::TRACEPARENT.to_owned(), Value::from(trace)));
    let object: serde_json::Map<_, _> = saga.into_iter().chain(trace).collect();
    (!object.is_empty()).then(|| Value::from(object).to_string())
}

/// Claims the numbers of one way. The statement fails as a whole when a number does not fit; the reason is looked up
/// then, and a type that is new is made known.
async fn claim(tx: &mut Transaction<'_, Sqlite>, claims: &mut [numbering::Claim<'_>], way: Way) -> Result<(), Error> {
    if !claims.iter().any(|claim| claim.way == way) {
        return Ok(());
    }
    let first_try = run_claim(tx, claims, way).await;
    let Err(error) = first_try else { return Ok(()) };
    if !is_constraint(&error) {
        return Err(error);
    }
    let mut made = false;
    for claim in claims.iter().filter(|claim| claim.way == way) {
        made |= know_type(tx, claim.aggregate_type, way).await?;
    }
    let outcome = if made { run_claim(tx, claims, way).await } else { Err(error) };
    let Err(error) = outcome else { return Ok(()) };
    for claim in claims.iter().filter(|claim| claim.way == way && way == Way::Given) {
        let last: Option<i64> = sqlx::query_scalar(include_str!("sqlite/read_last.sql"))
            .bind(claim.aggregate_type)
            .bind(claim.aggregate_id)
            .fetch_optional(&mut **tx)
            .await?;
        if last.unwrap_or(0) + 1 != claim.first {
            return Err(Error::Sequence {
                aggregate_type: claim.aggregate_type.to_owned(),
                aggregate_id: claim.aggregate_id.to_owned(),
                given: claim.first,
                last: last.unwrap_or(0),
            });
        }
    }
    Err(error)
}

async fn run_claim(
    tx: &mut Transaction<'_, Sqlite>,
    claims: &mut [numbering::Claim<'_>],
    way: Way,
) -> Result<(), Error> {
    let wanted: Vec<Value> = claims
        .iter()
        .filter(|claim| claim.way == way)
        .map(|claim| json!([claim.aggregate_type, claim.aggregate_id, claim.first, claim.last]))
        .collect();
    let wanted = Value::from(wanted).to_string();
    if way == Way::Given {
        sqlx::query(include_str!("sqlite/claim_given.sql")).bind(wanted).execute(&mut **tx).await?;
        return Ok(());
    }
    let drawn: Vec<(String, String, i64)> =
        sqlx::query_as(include_str!("sqlite/claim_drawn.sql")).bind(wanted).fetch_all(&mut **tx).await?;
    let lasts: std::collections::HashMap<_, _> =
        drawn.iter().map(|(kind, id, last)| ((kind.as_str(), id.as_str()), *last)).collect();
    for claim in claims.iter_mut().filter(|claim| claim.way == way) {
        let last = lasts.get(&(claim.aggregate_type, claim.aggregate_id)).copied();
        let last = last.ok_or(Error::Corrupt { id: 0, fault: "no number was drawn for an aggregate" })?;
        claim.first = last - (claim.last - claim.first);
        claim.last = last;
    }
    Ok(())
}

/// Makes sure that the type is numbered this way; answers whether that was news.
async fn know_type(tx: &mut Transaction<'_, Sqlite>, name: &str, way: Way) -> Result<bool, Error> {
    let known: Option<String> =
        sqlx::query_scalar(include_str!("sqlite/read_way.sql")).bind(name).fetch_optional(&mut **tx).await?;
    match known.as_deref() {
        Some(known) if known == way.as_str() => Ok(false),
        Some(_) => Err(if way == Way::Given { Way::Drawn } else { Way::Given }.mixed(name)),
        None => {
            sqlx::query(include_str!("sqlite/make_type.sql")).bind(name).bind(way.as_str()).execute(&mut **tx).await?;
            Ok(true)
        }
    }
}

fn is_constraint(error: &Error) -> bool {
    matches!(error, Error::Store(error) if error.kind() == ErrorKind::Conflict)
}

/// An outbox's tables in one database.
#[derive(Debug)]
pub(crate) struct Outbox {
    db: Db,
}

impl Outbox {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl Store for Outbox {
    async fn claim(&self, node: &str, now: Timestamp, lease: Duration, again: bool) -> Result<Claim, Error> {
        let mut tx = self.db.begin().await?;
        let epoch: Option<i64> = sqlx::query_scalar(include_str!("sqlite/claim_lane.sql"))
            .bind(node)
            .bind(now.as_millis())
            .bind((now + lease).as_millis())
            .bind(again)
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(epoch) = epoch {
            tx.commit().await?;
            return Ok(Claim::Granted(epoch));
        }
        let (node, until): (String, i64) =
            sqlx::query_as(include_str!("sqlite/read_lane.sql")).fetch_one(&mut *tx).await?;
        Ok(Claim::Taken { node, until: Timestamp::from_millis(until) })
    }

    async fn renew(&self, epoch: i64, until: Timestamp) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        fence(&mut tx, epoch, until).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn read(&self, position: i64, limit: usize) -> Result<Vec<Row>, Error> {
        let mut stream = sqlx::query(include_str!("sqlite/read_batch.sql"))
            .bind(position)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch(self.db.readers());
        let mut rows = Vec::with_capacity(limit.min(1024));
        let mut bytes = 0;
        while let Some(row) = stream.try_next().await? {
            let row = waiting(&row)?;
            bytes += row.payload.len();
            rows.push(row);
            if bytes > BATCH_BYTES {
                break;
            }
        }
        Ok(rows)
    }

    async fn read_events(&self, ids: &[i64]) -> Result<Vec<Row>, Error> {
        let rows = sqlx::query(include_str!("sqlite/read_events.sql"))
            .bind(json!(ids).to_string())
            .fetch_all(self.db.readers())
            .await?;
        rows.iter().map(waiting).collect()
    }

    async fn mark(&self, epoch: i64, until: Timestamp, marks: &Marks, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        fence(&mut tx, epoch, until).await?;
        if !marks.published.is_empty() {
            sqlx::query(include_str!("sqlite/mark_published.sql"))
                .bind(now.as_millis())
                .bind(json!(marks.published).to_string())
                .execute(&mut *tx)
                .await?;
        }
        if !marks.released.is_empty() {
            sqlx::query(include_str!("sqlite/release_parked.sql"))
                .bind(json!(marks.released).to_string())
                .execute(&mut *tx)
                .await?;
        }
        if !marks.parked.is_empty() {
            let parked: Vec<Value> = marks
                .parked
                .iter()
                .map(|park| json!([park.event, park.attempts, park.error, park.next_attempt_at.as_millis(), park.dead]))
                .collect();
            sqlx::query(include_str!("sqlite/park_events.sql"))
                .bind(now.as_millis())
                .bind(Value::from(parked).to_string())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn parked(&self) -> Result<Vec<Parked>, Error> {
        read_parked(&self.db, PARKED).await
    }

    async fn status(&self, waiting: u32) -> Result<Status, Error> {
        let waiting: Vec<i64> = sqlx::query_scalar(include_str!("sqlite/read_waiting.sql"))
            .bind(waiting)
            .fetch_all(self.db.readers())
            .await?;
        let (size, parked) = sqlx::query_as(include_str!("sqlite/read_size.sql")).fetch_one(self.db.readers()).await?;
        let waiting = waiting.into_iter().map(Timestamp::from_millis).collect();
        Ok(Status { waiting, size, parked })
    }
}

/// Extends the lease in this transaction, which thereby is this epoch's or fails.
async fn fence(tx: &mut Transaction<'static, Sqlite>, epoch: i64, until: Timestamp) -> Result<(), Error> {
    let held = sqlx::query(include_str!("sqlite/renew_lane.sql"))
        .bind(until.as_millis())
        .bind(epoch)
        .execute(&mut **tx)
        .await?;
    if held.rows_affected() == 0 { Err(Error::Fenced { epoch }) } else { Ok(()) }
}

/// What is held back, up to `limit`.
pub(crate) async fn read_parked(db: &Db, limit: i64) -> Result<Vec<Parked>, Error> {
    let rows = sqlx::query(include_str!("sqlite/read_parked.sql")).bind(limit).fetch_all(db.readers()).await?;
    rows.iter().map(parked).collect()
}

pub(crate) fn event_id(row: &SqliteRow, column: usize, id: i64) -> Result<EventId, Error> {
    EventId::from_slice(row.try_get(column)?).ok_or(Error::Corrupt { id, fault: "its event id has not 16 bytes" })
}

pub(crate) fn waiting(row: &SqliteRow) -> Result<Row, Error> {
    let id = row.try_get(0)?;
    Ok(Row {
        id,
        event_id: event_id(row, 1, id)?,
        aggregate_type: row.try_get(2)?,
        aggregate_id: row.try_get(3)?,
        event_type: row.try_get(4)?,
        sequence: row.try_get(5)?,
        payload: row.try_get(6)?,
        headers: row.try_get(7)?,
        created_at: Timestamp::from_millis(row.try_get(8)?),
    })
}

fn parked(row: &SqliteRow) -> Result<Parked, Error> {
    let event = row.try_get(0)?;
    Ok(Parked {
        event,
        event_id: event_id(row, 1, event)?,
        aggregate_type: row.try_get(2)?,
        aggregate_id: row.try_get(3)?,
        event_type: row.try_get(4)?,
        sequence: row.try_get(5)?,
        attempts: row.try_get(6)?,
        last_error: row.try_get(7)?,
        parked_at: Timestamp::from_millis(row.try_get(8)?),
        next_attempt_at: Timestamp::from_millis(row.try_get(9)?),
        dead_at: row.try_get::<Option<i64>, _>(10)?.map(Timestamp::from_millis),
    })
}
