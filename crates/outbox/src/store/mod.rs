//! What the relay and its tools need of a database. Above this nobody knows which one it is.

pub(crate) mod sqlite;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use steadfast_core::{EventId, Timestamp};

use crate::Error;
use crate::lanes::Marks;

/// An event that waits, as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
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

/// The outcome of asking for a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours under this epoch.
    Granted(i64),
    /// Another relay holds it until then.
    Taken { node: String, until: Timestamp },
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

/// The tables of one outbox, for the relay.
#[async_trait]
pub(crate) trait Store: Debug + Send + Sync {
    /// Asks for the lane until `now + lease`; `again` also takes it from an earlier life of the same node.
    async fn claim(&self, node: &str, now: Timestamp, lease: Duration, again: bool) -> Result<Claim, Error>;

    /// Extends the lease; `until` in the past gives it up.
    async fn renew(&self, epoch: i64, until: Timestamp) -> Result<(), Error>;

    /// The next events after `position`, in order.
    async fn read(&self, position: i64, limit: usize) -> Result<Vec<Row>, Error>;

    /// These events, as far as they still wait.
    async fn read_events(&self, ids: &[i64]) -> Result<Vec<Row>, Error>;

    /// Writes marks, parkings and releases in one commit, if the epoch is still ours.
    async fn mark(&self, epoch: i64, until: Timestamp, marks: &Marks, now: Timestamp) -> Result<(), Error>;

    /// The aggregates that are held back, up to a bound.
    async fn parked(&self) -> Result<Vec<Parked>, Error>;

    /// How the outbox stands, with at most so many of the events that wait.
    async fn status(&self, waiting: u32) -> Result<Status, Error>;
}
