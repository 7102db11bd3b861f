//! The outbox in SQLite.

mod archive;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, Transaction};
use steadfast_bus::murmur2;
use steadfast_core::{Classified, ErrorKind, EventId, NewEvent, Timestamp, hex};
use steadfast_db::Db;

use super::{Ask, Claims, Parked, Read, Row, Status, Store, Tenure, Water};
use crate::archive::Shelf;
use crate::lanes::{Marks, Spot, Whence};
use crate::numbering::{self, Way};
use crate::{Error, Violation, check, verify};

/// A batch ends early at so many bytes of payload: bounds what the relay holds in memory.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// The shortest wait for a lane that another relay holds.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// Held aggregates that the relay tracks one by one; the statements exclude all of them.
const PARKED: i64 = 10_000;

/// Appends events in the caller's transaction: one statement for their numbers, one for their rows.
pub(crate) async fn append_events(
    tx: &mut Transaction<'_, Sqlite>,
    events: &[NewEvent],
    now: Timestamp,
    ids: Vec<EventId>,
) -> Result<Vec<EventId>, Error> {
    if events.is_empty() {
        return Ok(vec![]);
    }
    for event in events {
        check::names(event)?;
    }
    let payloads = events.iter().map(check::payload).collect::<Result<Vec<_>, _>>()?;
    let (mut claims, places) = numbering::claims(events)?;
    for way in [Way::Given, Way::Drawn] {
        claim(tx, &mut claims, way).await?;
    }
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
                check::headers(event),
            ])
        })
        .collect();
    sqlx::query(include_str!("insert_events.sql"))
        .bind(Value::from(rows).to_string())
        .bind(now.as_millis())
        .execute(&mut **tx)
        .await?;
    Ok(ids)
}

/// A stable hash of the aggregate, 0 to 255.
fn bucket(event: &NewEvent) -> u32 {
    murmur2(format!("{}\n{}", event.aggregate_type, event.aggregate_id).as_bytes()) & 0xff
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
        let last: Option<i64> = sqlx::query_scalar(include_str!("read_last.sql"))
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
        sqlx::query(include_str!("claim_given.sql")).bind(wanted).execute(&mut **tx).await?;
        return Ok(());
    }
    let drawn: Vec<(String, String, i64)> =
        sqlx::query_as(include_str!("claim_drawn.sql")).bind(wanted).fetch_all(&mut **tx).await?;
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
        sqlx::query_scalar(include_str!("read_way.sql")).bind(name).fetch_optional(&mut **tx).await?;
    match known.as_deref() {
        Some(known) if known == way.as_str() => Ok(false),
        Some(_) => Err(if way == Way::Given { Way::Drawn } else { Way::Given }.mixed(name)),
        None => {
            sqlx::query(include_str!("make_type.sql")).bind(name).bind(way.as_str()).execute(&mut **tx).await?;
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
    // The newest event that was handed out by this process.
    met: Arc<AtomicI64>,
}

impl Outbox {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, met: Arc::default() }
    }
}

#[async_trait]
impl Store for Outbox {
    async fn claim(&self, ask: Ask<'_>) -> Result<Claims, Error> {
        let Ask { node, now, lease, held, again } = ask;
        if held > 0 {
            return Ok(Claims { granted: vec![], surplus: 0, again: lease });
        }
        let mut tx = self.db.begin().await?;
        let epoch: Option<i64> = sqlx::query_scalar(include_str!("claim_lane.sql"))
            .bind(node)
            .bind(now.as_millis())
            .bind((now + lease).as_millis())
            .bind(again)
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(epoch) = epoch {
            tx.commit().await?;
            return Ok(Claims { granted: vec![(0, epoch)], surplus: 0, again: lease });
        }
        let (holder, until): (String, i64) = sqlx::query_as(include_str!("read_lane.sql")).fetch_one(&mut *tx).await?;
        tracing::debug!(holder, "the outbox's lane is another relay's");
        let again = Timestamp::from_millis(until).since(now).clamp(SHORTEST_WAIT, lease / 3);
        Ok(Claims { granted: vec![], surplus: 0, again })
    }

    async fn tenure(&self, _lane: i16, epoch: i64) -> Result<Box<dyn Tenure>, Error> {
        let (db, met) = (self.db.clone(), Arc::clone(&self.met));
        Ok(Box::new(Lane { db, epoch, position: AtomicI64::new(0), met }))
    }

    /// There is one lane: nothing is shared.
    async fn leave(&self, _node: &str) -> Result<(), Error> {
        Ok(())
    }

    /// One table holds every day.
    async fn upkeep(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn parked(&self, limit: u32) -> Result<Vec<Parked>, Error> {
        read_parked(&self.db, i64::from(limit)).await
    }

    async fn replay(&self, event: EventId, now: Timestamp) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let found = sqlx::query(include_str!("replay_parked.sql"))
            .bind(event.as_bytes().as_slice())
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(found.rows_affected() > 0)
    }

    async fn discard(&self, event: EventId, reason: &str, now: Timestamp) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let row: Option<i64> = sqlx::query_scalar(include_str!("record_discarded.sql"))
            .bind(event.as_bytes().as_slice())
            .bind(reason)
            .bind(now.as_millis())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(false) };
        let row = json!([row]).to_string();
        sqlx::query(include_str!("mark_published.sql")).bind(now.as_millis()).bind(&row).execute(&mut *tx).await?;
        sqlx::query(include_str!("release_parked.sql")).bind(&row).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn status(&self, waiting: u32) -> Result<Status, Error> {
        let waiting: Vec<i64> =
            sqlx::query_scalar(include_str!("read_waiting.sql")).bind(waiting).fetch_all(self.db.readers()).await?;
        let (size, parked) = sqlx::query_as(include_str!("read_size.sql")).fetch_one(self.db.readers()).await?;
        let waiting = waiting.into_iter().map(Timestamp::from_millis).collect();
        Ok(Status { waiting, size, parked })
    }

    async fn verify(&self) -> Result<Vec<Violation>, Error> {
        // One snapshot for all statements: writers go on meanwhile.
        let mut tx = self.db.readers().begin().await?;
        let suspects: Vec<(String, String, i64, i64)> =
            sqlx::query_as(include_str!("read_suspects.sql")).bind(verify::SUSPECTS).fetch_all(&mut *tx).await?;
        let mut violations = Vec::new();
        for (aggregate_type, aggregate_id, floor, last) in suspects {
            let sequences: Vec<i64> = sqlx::query_scalar(include_str!("read_sequences.sql"))
                .bind(&aggregate_type)
                .bind(&aggregate_id)
                .fetch_all(&mut *tx)
                .await?;
            violations.extend(verify::violations(&aggregate_type, &aggregate_id, &sequences, floor, last));
        }
        Ok(violations)
    }

    async fn archive(&self, before: Timestamp, limit: u32, onto: Shelf<'_>) -> Result<u64, Error> {
        archive::archive_rows(&self.db, before, limit, onto).await
    }
}

/// The only lane, under one epoch.
#[derive(Debug)]
struct Lane {
    db: Db,
    epoch: i64,
    position: AtomicI64,
    met: Arc<AtomicI64>,
}

#[async_trait]
impl Tenure for Lane {
    fn buckets(&self) -> usize {
        1
    }

    async fn renew(&self, _water: Water, now: Timestamp, lease: Duration) -> Result<Option<i64>, Error> {
        let mut tx = self.db.begin().await?;
        fence(&mut tx, self.epoch, now + lease).await?;
        tx.commit().await?;
        Ok(None)
    }

    async fn give_up(&self, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        fence(&mut tx, self.epoch, now - Duration::from_millis(1)).await?;
        tx.commit().await?;
        Ok(())
    }

    fn sweep(&self) -> bool {
        true
    }

    async fn read(&self, whence: Whence, _batch: usize, limit: usize) -> Result<Read, Error> {
        if let Whence::From(id) = whence {
            self.position.fetch_min(id.saturating_sub(1), Ordering::Relaxed);
        }
        let mut stream = sqlx::query(include_str!("read_batch.sql"))
            .bind(self.position.load(Ordering::Relaxed))
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
        let met = self.met.load(Ordering::Relaxed);
        let fresh = rows.iter().filter(|row| row.id > met).count();
        if let Some(last) = rows.last() {
            self.position.fetch_max(last.id, Ordering::Relaxed);
            self.met.fetch_max(last.id, Ordering::Relaxed);
        }
        let more = rows.len() >= limit || bytes > BATCH_BYTES;
        Ok(Read { rows, met: fresh, more, ..Read::default() })
    }

    async fn read_events(&self, ids: &[i64]) -> Result<Vec<Row>, Error> {
        let rows = sqlx::query(include_str!("read_events.sql"))
            .bind(json!(ids).to_string())
            .fetch_all(self.db.readers())
            .await?;
        rows.iter().map(waiting).collect()
    }

    async fn mark(&self, marks: &Marks, _water: Water, now: Timestamp, lease: Duration) -> Result<Option<i64>, Error> {
        let mut tx = self.db.begin().await?;
        fence(&mut tx, self.epoch, now + lease).await?;
        if !marks.published.is_empty() {
            sqlx::query(include_str!("mark_published.sql"))
                .bind(now.as_millis())
                .bind(json!(marks.published).to_string())
                .execute(&mut *tx)
                .await?;
        }
        if !marks.released.is_empty() {
            sqlx::query(include_str!("release_parked.sql"))
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
            sqlx::query(include_str!("park_events.sql"))
                .bind(now.as_millis())
                .bind(Value::from(parked).to_string())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(None)
    }

    async fn parked(&self) -> Result<Vec<Parked>, Error> {
        read_parked(&self.db, PARKED).await
    }
}

/// Extends the lease in this transaction, which thereby is this epoch's or fails.
async fn fence(tx: &mut Transaction<'static, Sqlite>, epoch: i64, until: Timestamp) -> Result<(), Error> {
    let held =
        sqlx::query(include_str!("renew_lane.sql")).bind(until.as_millis()).bind(epoch).execute(&mut **tx).await?;
    if held.rows_affected() == 0 { Err(Error::Fenced { epoch }) } else { Ok(()) }
}

/// What is held back, up to `limit`.
async fn read_parked(db: &Db, limit: i64) -> Result<Vec<Parked>, Error> {
    let rows = sqlx::query(include_str!("read_parked.sql")).bind(limit).fetch_all(db.readers()).await?;
    rows.iter().map(parked).collect()
}

pub(crate) fn event_id(row: &SqliteRow, column: usize, id: i64) -> Result<EventId, Error> {
    EventId::from_slice(row.try_get(column)?).ok_or(Error::Corrupt { id, fault: "its event id has not 16 bytes" })
}

pub(crate) fn waiting(row: &SqliteRow) -> Result<Row, Error> {
    let id = row.try_get(0)?;
    Ok(Row {
        id,
        spot: Spot::default(),
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
