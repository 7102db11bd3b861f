//! The tables in SQLite. `BEGIN IMMEDIATE` is the lock on the aggregates' sequence rows: whoever reads them in such a
//! transaction is alone until its end.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use steadfast_core::{EventId, Timestamp};
use steadfast_db::Db;
use steadfast_db::tx::Tx;

use super::{Aggregate, Move, ParkRow, SequenceRow, SkipRow, State, hex};
use crate::Error;
use crate::ordering::{Mark, Parked, Standing};
use crate::parking::{ParkedEvent, Reason, SkippedEvent};

/// An aggregate as the tables know it: its standing, and for each parked event, in the same order, its state and, where
/// nothing holds the aggregate, its content.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) standing: Standing,
    pub(crate) states: Vec<State>,
    pub(crate) events: Vec<Option<String>>,
}

fn corrupt(table: &'static str, fault: impl Into<String>) -> Error {
    Error::Corrupt { table, fault: fault.into() }
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| corrupt("(an argument)", error.to_string()))
}

fn event_id(table: &'static str, bytes: &[u8]) -> Result<EventId, Error> {
    EventId::from_slice(bytes).ok_or_else(|| corrupt(table, "an event_id without 16 bytes"))
}

fn state(text: &str) -> Result<State, Error> {
    State::parse(text).ok_or_else(|| corrupt("parked_event", format!("the state {text:?}")))
}

/// Gives the projection its number.
pub(crate) async fn register(db: &Db, name: &str) -> Result<i64, Error> {
    let mut tx = db.begin().await?;
    sqlx::query(include_str!("sqlite/insert_projection.sql")).bind(name).execute(&mut *tx).await?;
    let id = sqlx::query_scalar(include_str!("sqlite/read_projection.sql")).bind(name).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(id)
}

/// The next offset to read of each partition.
pub(crate) async fn positions(db: &Db, projection: i64) -> Result<Vec<(u32, i64)>, Error> {
    let sql = include_str!("sqlite/read_checkpoints.sql");
    Ok(sqlx::query_as(sql).bind(projection).fetch_all(db.readers()).await?)
}

/// Moves the checkpoints, or says that somebody else has.
pub(crate) async fn fence(
    tx: &mut Tx,
    projection: i64,
    moves: &[Move],
    first: &[(u32, i64)],
    now: Timestamp,
) -> Result<bool, Error> {
    if !first.is_empty() {
        sqlx::query(include_str!("sqlite/insert_checkpoints.sql"))
            .bind(projection)
            .bind(json(&first)?)
            .bind(now.as_millis())
            .execute(&mut **tx)
            .await?;
    }
    let rows: Vec<_> = moves.iter().map(|one| (one.partition, one.expected, one.next)).collect();
    let done = sqlx::query(include_str!("sqlite/move_checkpoints.sql"))
        .bind(projection)
        .bind(json(&rows)?)
        .bind(now.as_millis())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == moves.len() as u64)
}

/// Where the aggregates stand; one that has no entry stands at the beginning.
pub(crate) async fn standings(
    tx: &mut Tx,
    projection: i64,
    aggregates: &[&Aggregate],
) -> Result<HashMap<Aggregate, Waiting>, Error> {
    let keys = json(&aggregates)?;
    let mut found: HashMap<Aggregate, Waiting> = HashMap::with_capacity(aggregates.len());
    let sequences = sqlx::query(include_str!("sqlite/read_sequences.sql")).bind(projection).bind(&keys);
    for row in sequences.fetch_all(&mut **tx).await? {
        let id: Option<&[u8]> = row.try_get(3)?;
        let standing = Standing {
            last: row.try_get(2)?,
            last_id: id.map(|id| event_id("aggregate_sequence", id)).transpose()?,
            parked: Vec::new(),
        };
        found.insert(Aggregate(row.try_get(0)?, row.try_get(1)?), Waiting { standing, ..Waiting::default() });
    }
    let parked = sqlx::query(include_str!("sqlite/read_parked.sql")).bind(projection).bind(&keys);
    for row in parked.fetch_all(&mut **tx).await? {
        let waiting = found.entry(Aggregate(row.try_get(0)?, row.try_get(1)?)).or_default();
        let state = state(row.try_get(4)?)?;
        let mark = Mark { sequence: row.try_get(2)?, event_id: event_id("parked_event", row.try_get(3)?)? };
        let since = Timestamp::from_millis(row.try_get(5)?);
        waiting.standing.parked.push(Parked { mark, since, poison: state == State::Poison });
        waiting.states.push(state);
        waiting.events.push(row.try_get(6)?);
    }
    Ok(found)
}

async fn write(tx: &mut Tx, sql: &'static str, projection: i64, rows: String, now: Timestamp) -> Result<(), Error> {
    sqlx::query(sql).bind(projection).bind(rows).bind(now.as_millis()).execute(&mut **tx).await?;
    Ok(())
}

pub(crate) async fn save_sequences(tx: &mut Tx, projection: i64, rows: &[SequenceRow<'_>]) -> Result<(), Error> {
    let sql = sqlx::query(include_str!("sqlite/save_sequences.sql")).bind(projection).bind(json(&rows)?);
    sql.execute(&mut **tx).await?;
    Ok(())
}

pub(crate) async fn park(tx: &mut Tx, projection: i64, rows: &[ParkRow], now: Timestamp) -> Result<(), Error> {
    write(tx, include_str!("sqlite/park_events.sql"), projection, json(&rows)?, now).await
}

pub(crate) async fn record_skips(tx: &mut Tx, projection: i64, rows: &[SkipRow], now: Timestamp) -> Result<(), Error> {
    write(tx, include_str!("sqlite/record_skips.sql"), projection, json(&rows)?, now).await
}

pub(crate) async fn mark_parked(tx: &mut Tx, projection: i64, rows: &[(&str, &str)], to: State) -> Result<(), Error> {
    let sql = sqlx::query(include_str!("sqlite/mark_parked.sql")).bind(projection).bind(json(&rows)?).bind(to.as_str());
    sql.execute(&mut **tx).await?;
    Ok(())
}

pub(crate) async fn release(tx: &mut Tx, projection: i64, rows: &[(&str, &str, i64)]) -> Result<(), Error> {
    let sql = sqlx::query(include_str!("sqlite/release_parked.sql")).bind(projection).bind(json(&rows)?);
    sql.execute(&mut **tx).await?;
    Ok(())
}

/// Aggregates that an operator has moved on, and those with an event that waits since `before`.
pub(crate) async fn find_due(db: &Db, projection: i64, before: Timestamp, limit: u32) -> Result<Vec<Aggregate>, Error> {
    let query =
        sqlx::query_as(include_str!("sqlite/find_due.sql")).bind(projection).bind(before.as_millis()).bind(limit);
    let rows: Vec<(String, String)> = query.fetch_all(db.readers()).await?;
    Ok(rows.into_iter().map(|(kind, id)| Aggregate(kind, id)).collect())
}

/// How many events are parked, and how many of them are poison.
pub(crate) async fn count_parked(db: &Db, projection: i64) -> Result<(u32, u32), Error> {
    Ok(sqlx::query_as(include_str!("sqlite/count_parked.sql")).bind(projection).fetch_one(db.readers()).await?)
}

pub(crate) async fn list_parked(db: &Db, name: &str, limit: u32) -> Result<Vec<ParkedEvent>, Error> {
    let rows = sqlx::query(include_str!("sqlite/list_parked.sql")).bind(name).bind(limit);
    rows.fetch_all(db.readers()).await?.iter().map(parked_event).collect()
}

fn parked_event(row: &SqliteRow) -> Result<ParkedEvent, Error> {
    let text: &str = row.try_get(5)?;
    Ok(ParkedEvent {
        aggregate_type: row.try_get(0)?,
        aggregate_id: row.try_get(1)?,
        sequence: row.try_get(2)?,
        event_id: event_id("parked_event", row.try_get(3)?)?,
        event_type: row.try_get(4)?,
        poison: state(text)? == State::Poison,
        error: row.try_get(6)?,
        attempts: row.try_get(7)?,
        parked_at: Timestamp::from_millis(row.try_get(8)?),
    })
}

pub(crate) async fn list_skipped(db: &Db, name: &str, limit: u32) -> Result<Vec<SkippedEvent>, Error> {
    let rows = sqlx::query(include_str!("sqlite/list_skipped.sql")).bind(name).bind(limit);
    rows.fetch_all(db.readers()).await?.iter().map(skipped_event).collect()
}

fn skipped_event(row: &SqliteRow) -> Result<SkippedEvent, Error> {
    let reason: &str = row.try_get(0)?;
    Ok(SkippedEvent {
        reason: Reason::parse(reason).ok_or_else(|| corrupt("skipped_event", format!("the reason {reason:?}")))?,
        aggregate_type: row.try_get(1)?,
        aggregate_id: row.try_get(2)?,
        first_sequence: row.try_get(3)?,
        last_sequence: row.try_get(4)?,
        partition: row.try_get(5)?,
        position: row.try_get(6)?,
        detail: row.try_get(7)?,
        skipped_at: Timestamp::from_millis(row.try_get(8)?),
    })
}

pub(crate) async fn replay(db: &Db, name: &str, aggregate: &Aggregate) -> Result<u64, Error> {
    let mut tx = db.begin().await?;
    let sql = sqlx::query(include_str!("sqlite/replay_aggregate.sql")).bind(name).bind(&aggregate.0).bind(&aggregate.1);
    let done = sql.execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(done.rows_affected())
}

pub(crate) async fn replay_all(db: &Db, name: &str) -> Result<u64, Error> {
    let mut tx = db.begin().await?;
    let done = sqlx::query(include_str!("sqlite/replay_all.sql")).bind(name).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(done.rows_affected())
}

/// An aggregate's first parked event.
struct Head {
    projection: i64,
    sequence: i64,
    event_id: EventId,
    state: State,
    event: String,
    last: i64,
}

async fn head(tx: &mut Tx, name: &str, aggregate: &Aggregate) -> Result<Head, Error> {
    let sql = sqlx::query(include_str!("sqlite/read_head.sql")).bind(name).bind(&aggregate.0).bind(&aggregate.1);
    let row = sql.fetch_optional(&mut **tx).await?.ok_or_else(|| Error::NotParked {
        projection: name.to_owned(),
        aggregate_type: aggregate.0.clone(),
        aggregate_id: aggregate.1.clone(),
    })?;
    Ok(Head {
        projection: row.try_get(0)?,
        sequence: row.try_get(1)?,
        event_id: event_id("parked_event", row.try_get(2)?)?,
        state: state(row.try_get(3)?)?,
        event: row.try_get(4)?,
        last: row.try_get(5)?,
    })
}

async fn wake(tx: &mut Tx, projection: i64, aggregate: &Aggregate) -> Result<(), Error> {
    let sql = sqlx::query(include_str!("sqlite/wake_aggregate.sql"));
    sql.bind(projection).bind(&aggregate.0).bind(&aggregate.1).execute(&mut **tx).await?;
    Ok(())
}

fn refuse<T>(act: &'static str, aggregate: &Aggregate, way_out: &'static str) -> Result<T, Error> {
    let Aggregate(aggregate_type, aggregate_id) = aggregate.clone();
    Err(Error::NotApplicable { act, aggregate_type, aggregate_id, way_out })
}

/// Gives up the poison event that holds the aggregate.
pub(crate) async fn discard(
    db: &Db,
    name: &str,
    aggregate: &Aggregate,
    detail: &str,
    now: Timestamp,
) -> Result<i64, Error> {
    let mut tx = db.begin().await?;
    let head = head(&mut tx, name, aggregate).await?;
    if head.state != State::Poison {
        return refuse("discard", aggregate, "no event of it has failed; to give up missing numbers, skip the gap");
    }
    let Aggregate(kind, id) = aggregate;
    release(&mut tx, head.projection, &[(kind, id, head.sequence)]).await?;
    let sequence = (kind.as_str(), id.as_str(), head.sequence, Some(hex(&head.event_id)));
    save_sequences(&mut tx, head.projection, &[sequence]).await?;
    let skip = skip_row("discarded", aggregate, (head.sequence, head.sequence), Some(head.event), detail);
    record_skips(&mut tx, head.projection, &[skip], now).await?;
    wake(&mut tx, head.projection, aggregate).await?;
    tx.commit().await?;
    Ok(head.sequence)
}

/// Gives up the numbers that the aggregate waits for.
pub(crate) async fn skip_gap(
    db: &Db,
    name: &str,
    aggregate: &Aggregate,
    detail: &str,
    now: Timestamp,
) -> Result<(i64, i64), Error> {
    let mut tx = db.begin().await?;
    let head = head(&mut tx, name, aggregate).await?;
    let gap = (head.last + 1, head.sequence - 1);
    if gap.0 > gap.1 {
        return refuse("skip gap", aggregate, "no number is missing; replay or discard the event that failed");
    }
    save_sequences(&mut tx, head.projection, &[(&aggregate.0, &aggregate.1, gap.1, None)]).await?;
    record_skips(&mut tx, head.projection, &[skip_row("gap", aggregate, gap, None, detail)], now).await?;
    wake(&mut tx, head.projection, aggregate).await?;
    tx.commit().await?;
    Ok(gap)
}

fn skip_row(
    reason: &'static str,
    aggregate: &Aggregate,
    (first, last): (i64, i64),
    event: Option<String>,
    detail: &str,
) -> SkipRow {
    let Aggregate(kind, id) = aggregate.clone();
    (reason, Some(kind), Some(id), Some(first), Some(last), event, None, None, detail.to_owned())
}
