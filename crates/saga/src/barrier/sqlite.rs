//! The barrier in SQLite. `BEGIN IMMEDIATE` is the lock: whoever is in here is alone, so the rows that it reads are the
//! last word on the step.

use std::borrow::Cow;

use sqlx::{Row, Sqlite, SqliteConnection, Transaction};
use steadfast_core::{Op, StepKey, Timestamp};

use super::answer::{Answer, JSON};
use super::decision::State;
use crate::Error;

/// What the database holds on one step.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) horizon: Timestamp,
    pub(super) action: Option<Stored>,
    pub(super) compensation: Option<Stored>,
}

/// One row.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) state: State,
    pub(super) answer: Answer,
    pub(super) request: Vec<u8>,
}

/// One row to be.
#[derive(Debug)]
pub(super) struct NewRow<'a> {
    pub(super) key: &'a StepKey,
    pub(super) op: Op,
    pub(super) state: State,
    pub(super) answer: &'a Answer,
    pub(super) request: &'a [u8],
    pub(super) started: Timestamp,
    pub(super) now: Timestamp,
}

/// Sets the mark for a refusal and reads the step's rows.
pub(super) async fn enter_step(tx: &mut Transaction<'_, Sqlite>, key: &StepKey) -> Result<Found, Error> {
    let rows = sqlx::query(include_str!("sqlite/enter_step.sql"))
        .bind(key.saga.as_bytes().as_slice())
        .bind(&key.step)
        .fetch_all(&mut **tx)
        .await?;
    let Some(first) = rows.first() else {
        return Err(Error::Corrupt("saga_barrier_horizon has no row: restore the row (1, 0)".to_owned()));
    };
    let horizon = Timestamp::from_millis(first.try_get("started_before")?);
    let mut found = Found { horizon, action: None, compensation: None };
    for row in &rows {
        match row.try_get::<Option<i64>, _>("op")? {
            None => {}
            Some(1) => found.action = Some(stored(row)?),
            Some(2) => found.compensation = Some(stored(row)?),
            Some(other) => return Err(Error::Corrupt(format!("saga_barrier.op is {other}, not 1 or 2"))),
        }
    }
    Ok(found)
}

fn stored(row: &sqlx::sqlite::SqliteRow) -> Result<Stored, Error> {
    let state = match row.try_get::<i64, _>("state")? {
        1 => State::Done,
        2 => State::Refused,
        3 => State::Void,
        other => return Err(Error::Corrupt(format!("saga_barrier.state is {other}, not 1, 2 or 3"))),
    };
    let status = row.try_get::<i64, _>("status")?;
    let status = u16::try_from(status)
        .map_err(|_| Error::Corrupt(format!("saga_barrier.status is {status}, no HTTP status")))?;
    let content_type = row.try_get::<Option<String>, _>("content_type")?.map_or(Cow::Borrowed(JSON), Cow::Owned);
    let body = row.try_get::<Option<Vec<u8>>, _>("body")?.unwrap_or_default();
    let answer = Answer::new(status, content_type, body);
    Ok(Stored { state, answer, request: row.try_get("request")? })
}

/// Records what became of an effect.
pub(super) async fn insert_row(tx: &mut Transaction<'_, Sqlite>, row: &NewRow<'_>) -> Result<(), Error> {
    insert(include_str!("sqlite/insert_row.sql"), tx, row).await
}

/// Takes the work back to the mark and records its refusal.
pub(super) async fn insert_refusal(tx: &mut Transaction<'_, Sqlite>, row: &NewRow<'_>) -> Result<(), Error> {
    insert(include_str!("sqlite/insert_refusal.sql"), tx, row).await
}

async fn insert(sql: &'static str, tx: &mut SqliteConnection, row: &NewRow<'_>) -> Result<(), Error> {
    let content_type = Some(row.answer.content_type()).filter(|it| *it != JSON);
    let body = Some(row.answer.body().as_ref()).filter(|it| !it.is_empty());
    sqlx::query(sql)
        .bind(row.key.saga.as_bytes().as_slice())
        .bind(&row.key.step)
        .bind(match row.op {
            Op::Action => 1,
            Op::Compensate => 2,
        })
        .bind(match row.state {
            State::Done => 1,
            State::Refused => 2,
            State::Void => 3,
        })
        .bind(i64::from(row.answer.status()))
        .bind(content_type)
        .bind(body)
        .bind(row.request)
        .bind(row.started.as_millis())
        .bind(row.now.as_millis())
        .execute(tx)
        .await?;
    Ok(())
}

/// Moves the horizon forward.
pub(super) async fn raise_horizon(tx: &mut Transaction<'_, Sqlite>, horizon: Timestamp) -> Result<(), Error> {
    sqlx::query(include_str!("sqlite/raise_horizon.sql")).bind(horizon.as_millis()).execute(&mut **tx).await?;
    Ok(())
}

/// Removes a batch of rows behind the horizon.
pub(super) async fn delete_pruned(tx: &mut Transaction<'_, Sqlite>, limit: u32) -> Result<u64, Error> {
    let done = sqlx::query(include_str!("sqlite/delete_pruned.sql")).bind(limit).execute(&mut **tx).await?;
    Ok(done.rows_affected())
}
