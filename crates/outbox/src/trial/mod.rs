//! The checker's other half: writers that do to a PostgreSQL outbox whatever transactions can do, and a consumer that
//! says whether what arrived is what was committed, each aggregate's versions 1 … n without a gap. It knows nothing of our
//! relay: any other can be held to it.
//!
//! Writers bump an aggregate's version under its row lock and append one event for each version, with rollbacks, sleeps,
//! transaction ids taken early, savepoints, prepared and REPEATABLE READ transactions, by the library, by the SQL functions
//! and by plain INSERT. A stranger keeps transactions open that have an id and a pinned snapshot and never touch the outbox.

mod audit;
mod writer;

use std::collections::HashMap;
use std::time::Duration;

use steadfast_db::postgres::Db;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Error;

pub use audit::{Audit, Report};

/// How a trial writes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Writers at once, each with a connection of its own.
    pub writers: u32,
    /// Aggregates that they share, of each of two types.
    pub aggregates: u32,
    /// How long they write.
    pub duration: Duration,
    /// Whether a stranger's transactions stand beside them.
    pub stranger: bool,
    /// What chance follows.
    pub seed: u64,
    /// Types of events, `trial.changed.v1` to this one, which an aggregate's versions take in turn: its events then come
    /// over several topics. At least 1.
    pub event_types: u32,
    /// The longest rest between two transactions of a writer.
    pub rest: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            writers: 64,
            aggregates: 1_000,
            duration: Duration::from_mins(1),
            stranger: true,
            seed: 1,
            event_types: 1,
            rest: Duration::ZERO,
        }
    }
}

/// What became of the writers' transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Committed.
    pub committed: u64,
    /// Rolled back on purpose.
    pub rolled_back: u64,
    /// Failed, as transactions do that meet others, or a server that stops.
    pub failed: u64,
}

impl Written {
    fn add(&mut self, other: Self) {
        self.committed += other.committed;
        self.rolled_back += other.rolled_back;
        self.failed += other.failed;
    }
}

/// An aggregate: its type and id.
pub type Aggregate = (String, String);

/// Makes the trial's own table beside the outbox.
pub async fn prepare(db: &Db) -> Result<(), Error> {
    sqlx::raw_sql(include_str!("make_trial.sql")).execute(db.pool()).await?;
    Ok(())
}

/// Writes as the plan says. Errors of single transactions are counted: that is what writers live with.
pub async fn write(db: &Db, plan: &Plan) -> Written {
    let until = Instant::now() + plan.duration;
    let mut writers = JoinSet::new();
    for number in 0..plan.writers {
        let (db, plan) = (db.clone(), plan.clone());
        writers.spawn(async move { writer::write(&db, &plan, number, until).await });
    }
    let mut strangers = JoinSet::new();
    if plan.stranger {
        let (db, seed) = (db.clone(), plan.seed);
        strangers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            while Instant::now() < until {
                let stay = Duration::from_millis(random.u64(20..1_000));
                // A server that was stopped ends the stranger too, who comes again.
                if stand(&db, stay).await.is_err() {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        });
    }
    let mut written = Written::default();
    while let Some(ended) = writers.join_next().await {
        match ended {
            Ok(one) => written.add(one),
            Err(error) => tracing::error!(%error, "a writer of the trial has ended"),
        }
    }
    strangers.shutdown().await;
    written
}

/// A transaction with an id and a snapshot that never touches the outbox.
async fn stand(db: &Db, stay: Duration) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    sqlx::query("set transaction isolation level repeatable read").execute(&mut *tx).await?;
    sqlx::query("select pg_current_xact_id()::text, count(*) from outbox_trial").execute(&mut *tx).await?;
    sleep(stay).await;
    tx.rollback().await?;
    Ok(())
}

/// The versions that were committed: what a consumer must have seen.
pub async fn versions(db: &Db) -> Result<HashMap<Aggregate, i64>, Error> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("select aggregate_type, aggregate_id, version from outbox_trial").fetch_all(db.pool()).await?;
    Ok(rows.into_iter().map(|(kind, id, version)| ((kind, id), version)).collect())
}
