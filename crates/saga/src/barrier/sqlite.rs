//! The barrier in SQLite. `BEGIN IMMEDIATE` is the lock: whoever is in here is alone, so the rows that it reads are the
//! last word on the step.

use std::borrow::Cow;

use sqlx::{Row, Sqlite, SqliteConnection, Transaction};
use steadfast_core::{Knowledge, Op, StepKey, Timestamp, problem};

use super::Pass;
use super::answer::{Answer, JSON};
use super::backend::{Backend, Met, NewRow, sealed};
use super::decision::{Decision, Known, State, decide};
use crate::Error;
use crate::participant::call::Call;

impl sealed::Sealed for Sqlite {}

impl Backend for Sqlite {
    /// In the one hop that reads the rows.
    const MARKS: bool = true;

    async fn meet(
        tx: &mut Transaction<'_, Sqlite>,
        call: &Call,
        request: [u8; 8],
        now: Timestamp,
    ) -> Result<Met, Error> {
        let found = enter_step(tx, &call.key).await?;
        let known = Known {
            action: found.action.as_ref().map(|row| row.state),
            compensation: found.compensation.as_ref().map(|row| row.state),
            behind_horizon: call.started < found.horizon,
        };
        let own = match call.key.op {
            Op::Action => found.action,
            Op::Compensate => found.compensation,
        };
        let knowledge = call.knowledge.unwrap_or(Knowledge::Unknown);
        Ok(match (decide(call.key.op, knowledge, known), own) {
            (Decision::Run, _) => Met::Run,
            (Decision::Replay, Some(row)) => Met::Stored {
                altered: row.request != request,
                refused: row.state == State::Refused,
                answer: row.answer,
            },
            (Decision::Replay, None) => return Err(Error::Corrupt("a replay without a row".to_owned())),
            (Decision::Nothing, _) => Met::Nothing,
            (Decision::Void, _) => {
                let pass = Pass::new(call, request);
                let answer = Answer::empty(409);
                let row = NewRow { pass: &pass, state: State::Void, answer: &answer, now };
                insert(include_str!("sqlite/insert_row.sql"), tx, Op::Action, row).await?;
                Met::Void
            }
            (Decision::Voided, _) => Met::Problem(Answer::problem(&problem::VOIDED.with(format!(
                "{}: this step was compensated before its action arrived; the action had no effect and never will",
                call.key
            )))),
            (Decision::TooLate, _) => Met::Problem(Answer::problem(&problem::TOO_LATE.with(format!(
                "{}: the saga started at {}, before the pruning horizon {}: whether this step ran can no longer be told here; compare with the orchestrator's journal",
                call.key, call.started, found.horizon
            )))),
            (Decision::ActionNotFound, _) => Met::Problem(Answer::problem(&problem::ACTION_NOT_FOUND.with(format!(
                "{}: the orchestrator knows the action as done, but this database does not hold it: was it restored from an older copy? Repair by hand, then resolve the saga",
                call.key
            )))),
        })
    }

    async fn mark(_: &mut Transaction<'_, Sqlite>) -> Result<(), Error> {
        Ok(())
    }

    async fn record(tx: &mut Transaction<'_, Sqlite>, row: NewRow<'_>) -> Result<(), Error> {
        insert(include_str!("sqlite/insert_row.sql"), tx, row.pass.key.op, row).await
    }

    async fn refuse(tx: &mut Transaction<'_, Sqlite>, row: NewRow<'_>) -> Result<(), Error> {
        insert(include_str!("sqlite/insert_refusal.sql"), tx, row.pass.key.op, row).await
    }

    async fn prune(tx: &mut Transaction<'_, Sqlite>, horizon: Timestamp, limit: u32) -> Result<u64, Error> {
        sqlx::query(include_str!("sqlite/raise_horizon.sql")).bind(horizon.as_millis()).execute(&mut **tx).await?;
        let done = sqlx::query(include_str!("sqlite/delete_pruned.sql")).bind(limit).execute(&mut **tx).await?;
        Ok(done.rows_affected())
    }
}

/// What the database holds on one step.
#[derive(Debug)]
struct Found {
    horizon: Timestamp,
    action: Option<Stored>,
    compensation: Option<Stored>,
}

/// One row.
#[derive(Debug)]
struct Stored {
    state: State,
    answer: Answer,
    request: Vec<u8>,
}

/// Sets the mark for a refusal and reads the step's rows.
async fn enter_step(tx: &mut Transaction<'_, Sqlite>, key: &StepKey) -> Result<Found, Error> {
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

async fn insert(sql: &'static str, tx: &mut SqliteConnection, op: Op, row: NewRow<'_>) -> Result<(), Error> {
    let content_type = Some(row.answer.content_type()).filter(|it| *it != JSON);
    let body = Some(row.answer.body().as_ref()).filter(|it| !it.is_empty());
    sqlx::query(sql)
        .bind(row.pass.key.saga.as_bytes().as_slice())
        .bind(&row.pass.key.step)
        .bind(match op {
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
        .bind(row.pass.request.as_slice())
        .bind(row.pass.started.as_millis())
        .bind(row.now.as_millis())
        .execute(tx)
        .await?;
    Ok(())
}
