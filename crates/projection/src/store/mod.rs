//! What a projector keeps beside its read models. A backend is a file named for it.

pub(crate) mod acts;
#[cfg(feature = "testing")]
pub(crate) mod faults;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::collections::HashMap;
use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Serialize, Serializer};
use sqlx::{Database, Transaction};
use steadfast_bus::Partition;
use steadfast_core::{EventId, Timestamp};

use crate::Error;
use crate::ordering::Standing;
use crate::parking::{ParkedEvent, SkippedEvent};
use crate::statement::{Dialect, Statement};

/// A transaction of a store's database.
pub(crate) type Tx<S> = Transaction<'static, <S as Store>::Sql>;

pub(crate) mod sealed {
    /// Only the stores of this crate.
    pub trait Sealed {}
}

/// A read database: [`steadfast_db::Db`], or `steadfast_db::postgres::Db` with the feature `postgres`. Sealed.
///
/// A transaction that reads where aggregates stand ([`standings`](Store::standings)) is alone with them until its end.
#[async_trait]
pub trait Store: Clone + Debug + Send + Sync + sealed::Sealed + 'static {
    /// Whose transactions these are.
    type Sql: Database;

    #[doc(hidden)]
    const DIALECT: Dialect;

    /// Makes the tables where they are missing.
    #[doc(hidden)]
    async fn migrate(&self) -> Result<(), Error>;

    #[doc(hidden)]
    async fn begin(&self) -> Result<Tx<Self>, Error>;

    #[doc(hidden)]
    async fn commit(&self, tx: Tx<Self>) -> Result<(), Error>;

    #[doc(hidden)]
    async fn savepoint(&self, tx: &mut Tx<Self>, act: Savepoint) -> Result<(), Error>;

    /// Gives the projection its number.
    #[doc(hidden)]
    async fn register(&self, name: &str) -> Result<i64, Error>;

    /// The projection's number, where it has one.
    #[doc(hidden)]
    async fn find(&self, name: &str) -> Result<Option<i64>, Error>;

    /// The projections that have a number.
    #[doc(hidden)]
    async fn names(&self) -> Result<Vec<String>, Error>;

    /// The next offset to read of each partition.
    #[doc(hidden)]
    async fn positions(&self, projection: i64) -> Result<Vec<(Partition, i64)>, Error>;

    /// Moves the checkpoints, or says that somebody else has; `first` are those that are met for the first time.
    #[doc(hidden)]
    async fn fence(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        moves: &[Move],
        first: &[(Partition, i64)],
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Where the aggregates stand; one that has no entry stands at the beginning. They are sorted.
    #[doc(hidden)]
    async fn standings(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        aggregates: &[&Aggregate],
    ) -> Result<HashMap<Aggregate, Waiting>, Error>;

    /// Moves aggregates forward whose standings this transaction has read.
    #[doc(hidden)]
    async fn save_sequences(&self, tx: &mut Tx<Self>, projection: i64, rows: &[SequenceRow<'_>]) -> Result<(), Error>;

    #[doc(hidden)]
    async fn park(&self, tx: &mut Tx<Self>, projection: i64, rows: &[ParkRow], now: Timestamp) -> Result<(), Error>;

    #[doc(hidden)]
    async fn record_skips(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        rows: &[SkipRow],
        now: Timestamp,
    ) -> Result<(), Error>;

    #[doc(hidden)]
    async fn mark_parked(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        rows: &[(&str, &str)],
        to: State,
    ) -> Result<(), Error>;

    #[doc(hidden)]
    async fn release(&self, tx: &mut Tx<Self>, projection: i64, rows: &[(&str, &str, i64)]) -> Result<(), Error>;

    /// Aggregates that an operator has moved on, and those with an event that waits since `before`.
    #[doc(hidden)]
    async fn find_due(&self, projection: i64, before: Timestamp, limit: u32) -> Result<Vec<Aggregate>, Error>;

    /// How many events are parked, and how many of them are poison.
    #[doc(hidden)]
    async fn count_parked(&self, projection: i64) -> Result<(u32, u32), Error>;

    #[doc(hidden)]
    async fn list_parked(
        &self,
        name: &str,
        aggregate: Option<&Aggregate>,
        limit: u32,
    ) -> Result<Vec<ParkedEvent>, Error>;

    #[doc(hidden)]
    async fn list_skipped(&self, name: &str, limit: u32) -> Result<Vec<SkippedEvent>, Error>;

    /// Lets the poison of an aggregate, or without one of all of them, be tried again; how many events that moves.
    #[doc(hidden)]
    async fn replay(&self, name: &str, aggregate: Option<&Aggregate>) -> Result<u64, Error>;

    /// An aggregate's first parked event.
    #[doc(hidden)]
    async fn head(&self, tx: &mut Tx<Self>, projection: i64, aggregate: &Aggregate) -> Result<Option<Head>, Error>;

    /// Has an aggregate's first parked event looked at again.
    #[doc(hidden)]
    async fn wake(&self, tx: &mut Tx<Self>, projection: i64, aggregate: &Aggregate) -> Result<(), Error>;

    /// Prepares a statement of a file. A fault of the statement is answered, one of the database is an error.
    #[doc(hidden)]
    async fn prepare(&self, statement: &Statement) -> Result<Result<Prepared, String>, Error>;

    /// How consistent the sagas are that were accepted until then: all, consistent within so many milliseconds, mean time,
    /// open.
    #[doc(hidden)]
    async fn read_sagas(&self, accepted: Timestamp, within: i64) -> Result<(i64, i64, Option<f64>, i64), Error>;
}

/// A statement of a file as it is run.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) sql: String,
    /// For each parameter whether JSON is wanted.
    pub(crate) json: Vec<bool>,
}

/// What to do with the savepoint that events are tried behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Savepoint {
    /// Begin it.
    Set,
    /// Keep what was done since.
    Release,
    /// Take back what was done since; it stays.
    RollBack,
}

impl Savepoint {
    pub(crate) const fn sql(self) -> &'static str {
        match self {
            Self::Set => "savepoint steadfast_apply",
            Self::Release => "release savepoint steadfast_apply",
            Self::RollBack => "rollback to savepoint steadfast_apply",
        }
    }
}

/// An aggregate: its type and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Aggregate(pub(crate) String, pub(crate) String);

/// The checkpoint's move of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub(crate) partition: Partition,
    pub(crate) expected: i64,
    pub(crate) next: i64,
}

/// How an event is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// An earlier one is missing.
    Waiting,
    /// It has failed.
    Poison,
    /// It stands behind one that has failed.
    Behind,
    /// An operator moved its aggregate on.
    Retry,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Poison => "poison",
            Self::Behind => "behind",
            Self::Retry => "retry",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let known = [Self::Waiting, Self::Poison, Self::Behind, Self::Retry];
        let found = known.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| corrupt("parked_event", format!("the state {text:?}")))
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An aggregate as the tables know it: its standing, and for each parked event, in the same order, its state and, where
/// nothing holds the aggregate, its content.
#[derive(Debug, Default)]
pub struct Waiting {
    pub(crate) standing: Standing,
    pub(crate) states: Vec<State>,
    pub(crate) events: Vec<Option<String>>,
}

/// An aggregate's first parked event.
#[derive(Debug)]
pub struct Head {
    pub(crate) sequence: i64,
    pub(crate) event_id: EventId,
    pub(crate) state: State,
    pub(crate) event: String,
    /// The last number that was applied.
    pub(crate) last: i64,
}

/// A row of `aggregate_sequence`: type, id, last, event id.
pub(crate) type SequenceRow<'a> = (&'a str, &'a str, i64, Option<EventId>);

/// A row of `parked_event`: type, id, sequence, event id, event, state, error.
pub(crate) type ParkRow = (String, String, i64, EventId, String, State, Option<String>);

/// A row of `skipped_event`.
#[derive(Debug)]
pub struct SkipRow {
    pub(crate) reason: &'static str,
    pub(crate) aggregate: Option<Aggregate>,
    /// The numbers, first and last.
    pub(crate) numbers: Option<(i64, i64)>,
    pub(crate) event: Option<String>,
    /// Where a record stands that is no event.
    pub(crate) place: Option<(Partition, i64)>,
    pub(crate) detail: String,
}

impl SkipRow {
    pub(crate) fn unreadable(partition: &Partition, offset: i64, detail: &str) -> Self {
        let place = Some((partition.clone(), offset));
        let (reason, detail) = ("unreadable", printable(detail));
        Self { reason, aggregate: None, numbers: None, event: None, place, detail }
    }

    pub(crate) fn of(
        reason: &'static str,
        aggregate: &Aggregate,
        numbers: (i64, i64),
        event: Option<String>,
        detail: &str,
    ) -> Self {
        let (aggregate, numbers, detail) = (Some(aggregate.clone()), Some(numbers), printable(detail));
        Self { reason, aggregate, numbers, event, place: None, detail }
    }
}

/// PostgreSQL stores no NUL in a text.
pub(crate) fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(crate) fn corrupt(table: &'static str, fault: impl Into<String>) -> Error {
    Error::Corrupt { table, fault: fault.into() }
}

fn event_id(table: &'static str, bytes: &[u8]) -> Result<EventId, Error> {
    EventId::from_slice(bytes).ok_or_else(|| corrupt(table, "an event_id without 16 bytes"))
}
