//! The participant's guard: one row in the participant's own transaction, which is also the idempotency record of a saga
//! call. However often a call is made, late or early, doubled or after a crash, its effect happens at most once, and an
//! action that has been compensated before it arrived never happens.
//!
//! ```text
//!            action: work, 2xx            compensate: work, 2xx
//!  (no row) ──────────────────▶ done ────────────────────────▶ done + compensated
//!     │  │  action: refusal
//!     │  └────────────────────▶ refused     compensate: succeeds, does nothing
//!     │  compensate, outcome unknown
//!     └───────────────────────▶ void        action: 409 voided; compensate: succeeds, does nothing
//! ```
//!
//! | a call meets | answer |
//! |---|---|
//! | its own row | status and body of the first time, `Idempotency-Replayed: true` |
//! | its own row, but with another body | the same, and an alarm: two renderings of one request are a fault, never a refusal |
//! | action: a `void` row | 409 `voided` |
//! | action or compensation: no row, the saga started before the pruning horizon | 409 `too-late`: the row may have been pruned |
//! | compensation: a `refused` or `void` row | 204, nothing to take back |
//! | compensation: no row, `Saga-Action: unknown` | 204, and the action's row becomes `void` |
//! | compensation: no row, `Saga-Action: done` | 409 `action-not-found`: a restored database must not swallow a refund |
//!
//! ```
//! # async fn example(db: steadfast_db::Db, call: steadfast_saga::participant::call::Call) -> Result<(), steadfast_saga::Error> {
//! use steadfast_core::{Timestamp, problem};
//! use steadfast_saga::barrier::{self, Answer, Route};
//!
//! steadfast_db::migrate(&db, &barrier::LINE).await?;
//! # let mut tx = db.begin().await?;
//! # sqlx::query("create table card (id text, free integer)").execute(&mut *tx).await?;
//! # sqlx::query("insert into card values ('c-1', 100)").execute(&mut *tx).await?;
//! # tx.commit().await.map_err(steadfast_db::Error::from)?;
//! # let now = Timestamp::from_millis(1_700_000_000_000);
//! let body = br#"{"card":"c-1","amount":80}"#; // as it arrived
//! for _attempt in 1..=3 {
//!     let answer = barrier::run(&db, &call, Route::Compensatable, body, now, |tx| {
//!         Box::pin(async move {
//!             let done = sqlx::query("update card set free = free - 80 where id = 'c-1' and free >= 80").execute(&mut **tx).await?;
//!             if done.rows_affected() == 0 {
//!                 return Ok(Answer::problem(&problem::BUSINESS_REFUSAL.with("the card is not covered")));
//!             }
//!             Ok::<_, steadfast_saga::Error>(Answer::empty(204))
//!         })
//!     })
//!     .await?;
//!     assert_eq!(answer.status(), 204); // an http::Response<Bytes> by `.into()`
//! }
//! # let free: i64 = sqlx::query_scalar("select free from card").fetch_one(db.readers()).await?;
//! assert_eq!(free, 20, "three attempts, one payment");
//! # Ok(())
//! # }
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! #     let db = steadfast_testkit::database().await;
//! #     example(steadfast_db::Db::clone(&db), steadfast_saga::participant::call::Call {
//! #         key: "0192f0c1-7a5e-7cc3-9d57-2f0a6b1e4c11:pay:action".parse().unwrap(), attempt: 1,
//! #         started: steadfast_core::Timestamp::from_millis(1_700_000_000_000), knowledge: None, user: "till-7".into(),
//! #         permission: "payment.process".into(), traceparent: None, epoch: None,
//! #     }).await.unwrap();
//! # });
//! ```
//!
//! [`run`] is the whole of it. Who already has a transaction uses [`enter`] and the [`Pass`] that it gives. The cost over
//! the bare work: one read and one insert, in the transaction that the work needs anyway.

mod answer;
mod decision;
mod run;
mod sqlite;
#[cfg(test)]
mod tests;

use sqlx::{Sqlite, Transaction};
use steadfast_core::{Knowledge, Op, StepKey, Timestamp, problem, sha256};
use steadfast_db::{Line, Migration};

use crate::Error;
use crate::participant::call::Call;
use decision::{Decision, Known, State, decide};
use sqlite::NewRow;

pub use answer::Answer;
pub use run::{BoxFuture, run};

/// The migrations of the barrier's tables, for the participant's own database.
pub const LINE: Line = Line {
    name: "barrier",
    sqlite: &[Migration {
        version: 1,
        name: "saga_barrier",
        sql: include_str!("../../migrations/barrier/sqlite/0001_saga_barrier.sql"),
    }],
};

/// What kind of step a route serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Its action may be refused for good, and taken back. A pivot's route, too, is of this kind: it may be refused.
    Compensatable,
    /// Its action is asked for until it is done; no answer but 2xx is ever stored.
    Retriable,
}

/// How a call goes on after [`enter`].
#[derive(Debug)]
#[must_use]
pub enum Entered {
    /// Do the work, then [`record`](Pass::record) or [`refuse`](Pass::refuse) it.
    Run(Pass),
    /// The answer is known; there is nothing to do.
    Answered {
        /// What to answer.
        answer: Answer,
        /// Whether the transaction must be committed before answering.
        wrote: bool,
    },
}

/// The right to do the work of one call, once, in the transaction that gave it.
#[derive(Debug)]
#[must_use = "work that is not recorded runs again"]
pub struct Pass {
    key: StepKey,
    started: Timestamp,
    request: [u8; 8],
}

/// The protocol up to the work: answers what is known, or gives the right to do the work. `tx` must hold the write lock,
/// as every transaction of [`steadfast_db::Db::begin`] does. `body` is the request's body as it arrived.
pub async fn enter(
    tx: &mut Transaction<'_, Sqlite>,
    call: &Call,
    body: &[u8],
    now: Timestamp,
) -> Result<Entered, Error> {
    let pass = Pass { key: call.key.clone(), started: call.started, request: fingerprint(body) };
    let found = sqlite::enter_step(tx, &call.key).await?;
    let known = Known {
        action: found.action.as_ref().map(|row| row.state),
        compensation: found.compensation.as_ref().map(|row| row.state),
        behind_horizon: call.started < found.horizon,
    };
    let knowledge = call.knowledge.unwrap_or(Knowledge::Unknown);
    let own = match call.key.op {
        Op::Action => found.action,
        Op::Compensate => found.compensation,
    };
    let answer = match (decide(call.key.op, knowledge, known), own) {
        (Decision::Run, _) => return Ok(Entered::Run(pass)),
        (Decision::Replay, Some(row)) => {
            let altered = row.request != pass.request;
            if altered {
                tracing::error!(key = %call.key, attempt = call.attempt, "another body for a step that has run: the stored answer is given; look for a definition or an orchestrator that renders differently");
            }
            let answer = row.answer.replay(altered);
            if row.state == State::Refused { answer.refused() } else { answer }
        }
        (Decision::Replay, None) => return Err(Error::Corrupt("a replay without a row".to_owned())),
        (Decision::Nothing, _) => {
            if knowledge == Knowledge::Done {
                tracing::error!(key = %call.key, action = ?known.action, "the orchestrator knows as done what was never done here");
            }
            Answer::empty(204)
        }
        (Decision::Void, _) => {
            pass.insert(tx, Op::Action, State::Void, &Answer::empty(409), now).await?;
            return Ok(Entered::Answered { answer: Answer::empty(204), wrote: true });
        }
        (Decision::Voided, _) => Answer::problem(&problem::VOIDED.with(format!(
            "{}: this step was compensated before its action arrived; the action had no effect and never will",
            call.key
        ))),
        (Decision::TooLate, _) => Answer::problem(&problem::TOO_LATE.with(format!(
            "{}: the saga started at {}, before the pruning horizon {}: whether this step ran can no longer be told here; compare with the orchestrator's journal",
            call.key, call.started, found.horizon
        ))),
        (Decision::ActionNotFound, _) => Answer::problem(&problem::ACTION_NOT_FOUND.with(format!(
            "{}: the orchestrator knows the action as done, but this database does not hold it: was it restored from an older copy? Repair by hand, then resolve the saga",
            call.key
        ))),
    };
    Ok(Entered::Answered { answer, wrote: false })
}

impl Pass {
    /// Records the effect as done, with its answer, in its own transaction.
    pub async fn record(self, tx: &mut Transaction<'_, Sqlite>, answer: &Answer, now: Timestamp) -> Result<(), Error> {
        self.insert(tx, self.key.op, State::Done, answer, now).await
    }

    /// Takes back all that was written since [`enter`] and records the refusal. Commit afterwards.
    pub async fn refuse(self, tx: &mut Transaction<'_, Sqlite>, answer: &Answer, now: Timestamp) -> Result<(), Error> {
        sqlite::insert_refusal(tx, &self.row(self.key.op, State::Refused, answer, now)).await
    }

    async fn insert(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        op: Op,
        state: State,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<(), Error> {
        sqlite::insert_row(tx, &self.row(op, state, answer, now)).await
    }

    fn row<'a>(&'a self, op: Op, state: State, answer: &'a Answer, now: Timestamp) -> NewRow<'a> {
        NewRow { key: &self.key, op, state, answer, request: &self.request, started: self.started, now }
    }
}

/// Raises the pruning horizon to the orchestrator's and removes at most `limit` rows behind it; call it again while it
/// returns that many. `horizon` is the start of the oldest saga that is not over: a horizon that is too late makes the
/// barrier refuse the calls of living sagas. It never moves back.
pub async fn prune(tx: &mut Transaction<'_, Sqlite>, horizon: Timestamp, limit: u32) -> Result<u64, Error> {
    sqlite::raise_horizon(tx, horizon).await?;
    sqlite::delete_pruned(tx, limit).await
}

/// Enough of the body's hash to notice another body; it raises an alarm and decides nothing.
fn fingerprint(body: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&sha256(&[body])[..8]);
    out
}
