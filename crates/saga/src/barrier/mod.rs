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
//! | another call of the same step in progress | 409 `in-flight`: ask again (SQLite waits for its turn instead) |
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
//! [`run`] is the whole of it, on SQLite and, with the feature `postgres`, on PostgreSQL, from the same lines. Who already
//! has a transaction uses [`enter`] and the [`Pass`] that it gives. The cost over the bare work is two round trips in the
//! transaction that the work needs anyway: one that takes the lock, reads and decides, and one that inserts the answer.
//! On PostgreSQL the protocol is held by functions of the database, which services in any language call
//! (`docs/reference/participant-protocol.md`).

mod answer;
mod backend;
mod decision;
#[cfg(feature = "postgres")]
mod postgres;
mod run;
mod sqlite;
#[cfg(test)]
mod tests;

use sqlx::Transaction;
use steadfast_core::{Knowledge, StepKey, Timestamp, sha256};
use steadfast_db::{Line, Migration};

use crate::Error;
use crate::participant::call::Call;
use backend::{Met, NewRow};
use decision::State;

pub use answer::Answer;
pub use backend::Backend;
pub use run::{BoxFuture, run};

/// The migrations of the barrier's tables, for the participant's own database. On PostgreSQL the second one makes the
/// functions for services in any language.
pub const LINE: Line = Line {
    name: "barrier",
    sqlite: &[Migration {
        version: 1,
        name: "saga_barrier",
        sql: include_str!("../../migrations/barrier/sqlite/0001_saga_barrier.sql"),
    }],
    postgres: &[
        Migration {
            version: 1,
            name: "saga_barrier",
            sql: include_str!("../../migrations/barrier/postgres/0001_saga_barrier.sql"),
        },
        Migration {
            version: 2,
            name: "saga_barrier_functions",
            sql: include_str!("../../migrations/barrier/postgres/0002_saga_barrier_functions.sql"),
        },
    ],
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

/// The protocol up to the work: answers what is known, or gives the right to do the work. `body` is the request's body as
/// it arrived. On SQLite `tx` must hold the write lock, as every transaction of [`steadfast_db::Db::begin`] does; on
/// PostgreSQL it must be READ COMMITTED, and costs a savepoint beyond what [`run`] needs.
pub async fn enter<DB: Backend>(
    tx: &mut Transaction<'_, DB>,
    call: &Call,
    body: &[u8],
    now: Timestamp,
) -> Result<Entered, Error> {
    let entered = meet(tx, call, body, now).await?;
    if matches!(entered, Entered::Run(_)) && !DB::MARKS {
        DB::mark(tx).await?;
    }
    Ok(entered)
}

/// [`enter`], with a mark only where it costs nothing.
async fn meet<DB: Backend>(
    tx: &mut Transaction<'_, DB>,
    call: &Call,
    body: &[u8],
    now: Timestamp,
) -> Result<Entered, Error> {
    let pass = Pass::new(call, fingerprint(body));
    let answer = match DB::meet(tx, call, pass.request, now).await? {
        Met::Run => return Ok(Entered::Run(pass)),
        Met::Void => return Ok(Entered::Answered { answer: Answer::empty(204), wrote: true }),
        Met::Problem(answer) => answer,
        Met::Nothing => {
            if call.knowledge == Some(Knowledge::Done) {
                tracing::error!(key = %call.key, "the orchestrator knows as done what was never done here");
            }
            Answer::empty(204)
        }
        Met::Stored { answer, refused, altered } => {
            if altered {
                tracing::error!(key = %call.key, attempt = call.attempt, "another body for a step that has run: the stored answer is given; look for a definition or an orchestrator that renders differently");
            }
            let answer = answer.replay(altered);
            if refused { answer.refused() } else { answer }
        }
    };
    Ok(Entered::Answered { answer, wrote: false })
}

impl Pass {
    fn new(call: &Call, request: [u8; 8]) -> Self {
        Self { key: call.key.clone(), started: call.started, request }
    }

    /// Records the effect as done, with its answer, in its own transaction. A unique violation (an error of the kind
    /// conflict) means that another call was faster: roll back; a repeat meets what that one has stored.
    pub async fn record<DB: Backend>(
        self,
        tx: &mut Transaction<'_, DB>,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<(), Error> {
        DB::record(tx, NewRow { pass: &self, state: State::Done, answer, now }).await
    }

    /// Takes back all that was written since [`enter`] and records the refusal. Commit afterwards.
    pub async fn refuse<DB: Backend>(
        self,
        tx: &mut Transaction<'_, DB>,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<(), Error> {
        DB::refuse(tx, NewRow { pass: &self, state: State::Refused, answer, now }).await
    }

    /// Records the refusal in a transaction that has written nothing.
    async fn refuse_unwritten<DB: Backend>(
        self,
        tx: &mut Transaction<'_, DB>,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<(), Error> {
        DB::record(tx, NewRow { pass: &self, state: State::Refused, answer, now }).await
    }
}

/// Raises the pruning horizon to the orchestrator's and removes at most `limit` rows behind it; call it again while it
/// returns that many. `horizon` is the start of the oldest saga that is not over
/// ([`Engine::horizon`](crate::engine::Engine::horizon), `steadfast saga horizon`): a horizon that is too late makes the
/// barrier refuse the calls of living sagas. It never moves back.
pub async fn prune<DB: Backend>(tx: &mut Transaction<'_, DB>, horizon: Timestamp, limit: u32) -> Result<u64, Error> {
    DB::prune(tx, horizon, limit).await
}

/// Enough of the body's hash to notice another body; it raises an alarm and decides nothing.
fn fingerprint(body: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&sha256(&[body])[..8]);
    out
}
