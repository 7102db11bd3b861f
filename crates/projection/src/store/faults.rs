//! A store that dies at a chosen statement, as a killed process would: whatever it did in an open transaction is gone, and
//! nothing more is answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use steadfast_bus::Partition;
use steadfast_core::Timestamp;

use super::{
    Aggregate, Head, Move, ParkRow, Prepared, Savepoint, SequenceRow, SkipRow, State, Store, Tx, Waiting, sealed,
};
use crate::Error;
use crate::parking::{ParkedEvent, SkippedEvent};
use crate::statement::{Dialect, Statement};

/// When a store dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Never.
    Never,
    /// Before the statement of this number reaches the database.
    Before(u64),
    /// After the database has done it, before its answer arrives.
    After(u64),
}

#[derive(Debug)]
struct Plan {
    fault: Fault,
    statements: u64,
    dead: bool,
}

/// A store that dies as planned. Clones die together.
#[derive(Clone, Debug)]
pub struct Faults<S> {
    store: S,
    plan: Arc<Mutex<Plan>>,
}

impl<S: Store> Faults<S> {
    /// A store that dies at this point of its work.
    pub fn new(store: S, fault: Fault) -> Self {
        Self { store, plan: Arc::new(Mutex::new(Plan { fault, statements: 0, dead: false })) }
    }

    /// Statements so far.
    pub fn statements(&self) -> u64 {
        self.plan().statements
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.plan().dead
    }

    /// Counts a statement of somebody else's, such as a projection's own.
    pub fn before(&self) -> Result<(), Error> {
        let mut plan = self.plan();
        plan.statements += 1;
        plan.dead |= plan.fault == Fault::Before(plan.statements);
        answer(&plan)
    }

    /// The end of what [`before`](Self::before) counted.
    pub fn after(&self) -> Result<(), Error> {
        let mut plan = self.plan();
        plan.dead |= plan.fault == Fault::After(plan.statements);
        answer(&plan)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(plan: &Plan) -> Result<(), Error> {
    if plan.dead { Err(sqlx::Error::WorkerCrashed.into()) } else { Ok(()) }
}

macro_rules! guarded {
    ($self:ident, $call:expr) => {{
        $self.before()?;
        let answer = $call.await?;
        $self.after()?;
        Ok(answer)
    }};
}

impl<S: Store> sealed::Sealed for Faults<S> {}

#[async_trait]
impl<S: Store> Store for Faults<S> {
    type Sql = S::Sql;

    const DIALECT: Dialect = S::DIALECT;

    async fn migrate(&self) -> Result<(), Error> {
        self.store.migrate().await
    }

    async fn begin(&self) -> Result<Tx<Self>, Error> {
        guarded!(self, self.store.begin())
    }

    async fn commit(&self, tx: Tx<Self>) -> Result<(), Error> {
        guarded!(self, self.store.commit(tx))
    }

    async fn savepoint(&self, tx: &mut Tx<Self>, act: Savepoint) -> Result<(), Error> {
        guarded!(self, self.store.savepoint(tx, act))
    }

    async fn register(&self, name: &str) -> Result<i64, Error> {
        guarded!(self, self.store.register(name))
    }

    async fn find(&self, name: &str) -> Result<Option<i64>, Error> {
        guarded!(self, self.store.find(name))
    }

    async fn positions(&self, projection: i64) -> Result<Vec<(Partition, i64)>, Error> {
        guarded!(self, self.store.positions(projection))
    }

    async fn fence(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        moves: &[Move],
        first: &[(Partition, i64)],
        now: Timestamp,
    ) -> Result<bool, Error> {
        guarded!(self, self.store.fence(tx, projection, moves, first, now))
    }

    async fn standings(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        aggregates: &[&Aggregate],
    ) -> Result<HashMap<Aggregate, Waiting>, Error> {
        guarded!(self, self.store.standings(tx, projection, aggregates))
    }

    async fn save_sequences(&self, tx: &mut Tx<Self>, projection: i64, rows: &[SequenceRow<'_>]) -> Result<(), Error> {
        guarded!(self, self.store.save_sequences(tx, projection, rows))
    }

    async fn park(&self, tx: &mut Tx<Self>, projection: i64, rows: &[ParkRow], now: Timestamp) -> Result<(), Error> {
        guarded!(self, self.store.park(tx, projection, rows, now))
    }

    async fn record_skips(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        rows: &[SkipRow],
        now: Timestamp,
    ) -> Result<(), Error> {
        guarded!(self, self.store.record_skips(tx, projection, rows, now))
    }

    async fn mark_parked(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        rows: &[(&str, &str)],
        to: State,
    ) -> Result<(), Error> {
        guarded!(self, self.store.mark_parked(tx, projection, rows, to))
    }

    async fn release(&self, tx: &mut Tx<Self>, projection: i64, rows: &[(&str, &str, i64)]) -> Result<(), Error> {
        guarded!(self, self.store.release(tx, projection, rows))
    }

    async fn find_due(&self, projection: i64, before: Timestamp, limit: u32) -> Result<Vec<Aggregate>, Error> {
        guarded!(self, self.store.find_due(projection, before, limit))
    }

    async fn count_parked(&self, projection: i64) -> Result<(u32, u32), Error> {
        guarded!(self, self.store.count_parked(projection))
    }

    async fn list_parked(
        &self,
        name: &str,
        aggregate: Option<&Aggregate>,
        limit: u32,
    ) -> Result<Vec<ParkedEvent>, Error> {
        guarded!(self, self.store.list_parked(name, aggregate, limit))
    }

    async fn names(&self) -> Result<Vec<String>, Error> {
        guarded!(self, self.store.names())
    }

    async fn list_skipped(&self, name: &str, limit: u32) -> Result<Vec<SkippedEvent>, Error> {
        guarded!(self, self.store.list_skipped(name, limit))
    }

    async fn replay(&self, name: &str, aggregate: Option<&Aggregate>) -> Result<u64, Error> {
        guarded!(self, self.store.replay(name, aggregate))
    }

    async fn head(&self, tx: &mut Tx<Self>, projection: i64, aggregate: &Aggregate) -> Result<Option<Head>, Error> {
        guarded!(self, self.store.head(tx, projection, aggregate))
    }

    async fn wake(&self, tx: &mut Tx<Self>, projection: i64, aggregate: &Aggregate) -> Result<(), Error> {
        guarded!(self, self.store.wake(tx, projection, aggregate))
    }

    async fn prepare(&self, statement: &Statement) -> Result<Result<Prepared, String>, Error> {
        guarded!(self, self.store.prepare(statement))
    }

    async fn read_sagas(&self, accepted: Timestamp, within: i64) -> Result<(i64, i64, Option<f64>, i64), Error> {
        guarded!(self, self.store.read_sagas(accepted, within))
    }
}
