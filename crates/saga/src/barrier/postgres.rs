//! The barrier in PostgreSQL, under READ COMMITTED. The database's functions hold the protocol, since services in other
//! languages call the same ones: a service needs the right to execute them and none on the tables.

use sqlx::{Postgres, Row, Transaction};
use steadfast_core::{Knowledge, Op, Timestamp};

use super::answer::{Answer, JSON};
use super::backend::{Backend, Met, NewRow, sealed};
use super::decision::State;
use crate::Error;
use crate::participant::call::Call;

impl sealed::Sealed for Postgres {}

fn db(error: sqlx::Error) -> Error {
    Error::Db(error.into())
}

impl Backend for Postgres {
    /// A savepoint is a round trip, and the work's first write below it takes a transaction number of its own.
    const MARKS: bool = false;

    async fn meet(
        tx: &mut Transaction<'_, Postgres>,
        call: &Call,
        request: [u8; 8],
        _: Timestamp,
    ) -> Result<Met, Error> {
        let knowledge = match call.key.op {
            Op::Action => None,
            Op::Compensate => Some(call.knowledge.unwrap_or(Knowledge::Unknown).as_str()),
        };
        let row = sqlx::query(include_str!("postgres/enter_step.sql"))
            .bind(call.key.to_string())
            .bind(call.started.as_millis())
            .bind(knowledge)
            .bind(request.as_slice())
            .fetch_one(&mut **tx)
            .await
            .map_err(db)?;
        let outcome: &str = row.try_get("outcome").map_err(db)?;
        match outcome {
            "run" => Ok(Met::Run),
            "nothing" => Ok(Met::Nothing),
            "void" => Ok(Met::Void),
            "replayed" | "altered" => {
                let answer = answer(&row)?;
                let refused = !(200..300).contains(&answer.status());
                Ok(Met::Stored { answer, refused, altered: outcome == "altered" })
            }
            "in-flight" | "voided" | "too-late" | "action-not-found" => Ok(Met::Problem(answer(&row)?)),
            other => Err(Error::Corrupt(format!("saga_barrier_enter says {other:?}: was it made by a later version?"))),
        }
    }

    async fn mark(tx: &mut Transaction<'_, Postgres>) -> Result<(), Error> {
        sqlx::query(include_str!("postgres/set_mark.sql")).execute(&mut **tx).await.map_err(db)?;
        Ok(())
    }

    async fn record(tx: &mut Transaction<'_, Postgres>, row: NewRow<'_>) -> Result<(), Error> {
        let sql = match row.state {
            State::Refused => include_str!("postgres/refuse_step.sql"),
            State::Done | State::Void => include_str!("postgres/leave_step.sql"),
        };
        sqlx::query(sql)
            .bind(row.pass.key.to_string())
            .bind(i32::from(row.answer.status()))
            .bind(row.answer.content_type())
            .bind(row.answer.body().as_ref())
            .execute(&mut **tx)
            .await
            .map_err(db)?;
        Ok(())
    }

    async fn refuse(tx: &mut Transaction<'_, Postgres>, row: NewRow<'_>) -> Result<(), Error> {
        sqlx::query(include_str!("postgres/take_back.sql")).execute(&mut **tx).await.map_err(db)?;
        Self::record(tx, row).await
    }

    async fn prune(tx: &mut Transaction<'_, Postgres>, horizon: Timestamp, limit: u32) -> Result<u64, Error> {
        let removed: i64 = sqlx::query_scalar(include_str!("postgres/prune.sql"))
            .bind(horizon.as_millis())
            .bind(i32::try_from(limit).unwrap_or(i32::MAX))
            .fetch_one(&mut **tx)
            .await
            .map_err(db)?;
        Ok(removed.unsigned_abs())
    }
}

fn answer(row: &sqlx::postgres::PgRow) -> Result<Answer, Error> {
    let status: i32 = row.try_get("status").map_err(db)?;
    let status = u16::try_from(status)
        .map_err(|_| Error::Corrupt(format!("saga_barrier.status is {status}, no HTTP status")))?;
    let content_type: Option<String> = row.try_get("content_type").map_err(db)?;
    let body: Option<Vec<u8>> = row.try_get("body").map_err(db)?;
    Ok(Answer::new(status, content_type.map_or(JSON.into(), std::borrow::Cow::Owned), body.unwrap_or_default()))
}
