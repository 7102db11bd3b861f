//! What the relay and its tools need of a database. Above this nobody knows which one it is.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use steadfast_core::{EventId, Timestamp};

use crate::archive::Shelf;
use crate::lanes::{Marks, Spot, Whence};
use crate::{Error, Violation};

/// An event that waits, as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) spot: Spot,
    pub(crate) event_id: EventId,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) event_type: String,
    pub(crate) sequence: i64,
    pub(crate) payload: String,
    pub(crate) headers: Option<String>,
    pub(crate) created_at: Timestamp,
}

/// An event that holds its aggregate back, because the log refuses it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// The event.
    pub event_id: EventId,
    /// The kind of aggregate that is held back.
    pub aggregate_type: String,
    /// Which one.
    pub aggregate_id: String,
    /// The event's type.
    pub event_type: String,
    /// The event's number within the aggregate.
    pub sequence: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// What the log said last.
    pub last_error: String,
    /// Since when the aggregate is held back.
    pub parked_at: Timestamp,
    /// When it will be tried again, unless it is a dead letter.
    pub next_attempt_at: Timestamp,
    /// Since when it is a dead letter, which only an operator moves.
    pub dead_at: Option<Timestamp>,
    pub(crate) event: i64,
}

/// The outcome of asking for lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Lanes that are ours from now on, with their epochs.
    pub(crate) granted: Vec<(i16, i64)>,
    /// How many of those held before should be handed over, so that every relay has its share.
    pub(crate) surplus: usize,
    /// When to ask again.
    pub(crate) again: Duration,
}

/// How an outbox stands.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// When the events that wait were written, the oldest first, up to a bound.
    pub(crate) waiting: Vec<Timestamp>,
    /// Rows in the table.
    pub(crate) size: i64,
    /// Aggregates that are held back.
    pub(crate) parked: i64,
}

/// What a read has found.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Events that wait, those of an aggregate in order. Some may have been handed out before.
    pub(crate) rows: Vec<Row>,
    /// How many of them were never handed out by this process.
    pub(crate) met: usize,
    /// How many stood below the low-water mark, where nothing may wait.
    pub(crate) missed: usize,
    /// Whether there is more to be read at once.
    pub(crate) more: bool,
    /// Up to which id everything that can ever wait has been handed out, these rows included.
    pub(crate) low: i64,
}

/// The tables of one outbox.
#[async_trait]
pub(crate) trait Store: Debug + Send + Sync {
    /// Asks for this node's share of the lanes, of which it holds so many; `again` also takes those of an earlier life of
    /// the same node.
    async fn claim(&self, ask: Ask<'_>) -> Result<Claims, Error>;

    /// The tenure of a lane that was granted.
    async fn tenure(&self, lane: i16, epoch: i64) -> Result<Box<dyn Tenure>, Error>;

    /// This node asks for no more lanes: the others need not leave it a share.
    async fn leave(&self, node: &str) -> Result<(), Error>;

    /// Makes ready what will be needed: to be called now and then.
    async fn upkeep(&self) -> Result<(), Error>;

    /// What is held back, up to a bound.
    async fn parked(&self, limit: u32) -> Result<Vec<Parked>, Error>;

    /// Gives a held event new attempts.
    async fn replay(&self, event: EventId, now: Timestamp) -> Result<bool, Error>;

    /// Gives up a dead letter.
    async fn discard(&self, event: EventId, reason: &str, now: Timestamp) -> Result<bool, Error>;

    /// How the outbox stands, with at most so many of the events that wait.
    async fn status(&self, waiting: u32) -> Result<Status, Error>;

    /// What is wrong with the numbers of the aggregates' events.
    async fn verify(&self) -> Result<Vec<Violation>, Error>;

    /// Moves old events off.
    async fn archive(&self, before: Timestamp, limit: u32, onto: Shelf<'_>) -> Result<u64, Error>;
}

/// How far a lane has come.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite keeps no level"))]
pub(crate) struct Water {
    /// Up to which id everything that can ever wait has been handed out.
    pub(crate) low: i64,
    /// Below the first id that is handed out and not published.
    pub(crate) floor: i64,
}

/// A relay that asks for lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) node: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) lease: Duration,
    pub(crate) held: usize,
    pub(crate) again: bool,
}

/// One lane under one epoch. Whatever writes names the epoch and fails with [`Error::Fenced`] when it has ended.
#[async_trait]
pub(crate) trait Tenure: Debug + Send + Sync {
    /// Buckets of the lane: batches of several buckets are read at once.
    fn buckets(&self) -> usize;

    /// Extends the lease, and moves the low-water mark. Answers with an id from which everything must be read again, when
    /// somebody has lowered the mark.
    async fn renew(&self, water: Water, now: Timestamp, lease: Duration) -> Result<Option<i64>, Error>;

    /// Gives the lane up, so that the next relay need not wait for the lease to end.
    async fn give_up(&self, now: Timestamp) -> Result<(), Error>;

    /// Asks for a look at what should have been found before. Answers whether the lane has to rewind for it; else it is
    /// part of the reads to come.
    fn sweep(&self) -> bool;

    /// The next events, at most `batch` of a bucket and about `limit` in all.
    async fn read(&self, whence: Whence, batch: usize, limit: usize) -> Result<Read, Error>;

    /// These held events, as far as they still wait.
    async fn read_events(&self, ids: &[i64]) -> Result<Vec<Row>, Error>;

    /// Writes marks, parkings and releases in one commit, and what [`renew`](Self::renew) does.
    async fn mark(&self, marks: &Marks, water: Water, now: Timestamp, lease: Duration) -> Result<Option<i64>, Error>;

    /// The lane's aggregates that are held back, up to a bound.
    async fn parked(&self) -> Result<Vec<Parked>, Error>;
}
