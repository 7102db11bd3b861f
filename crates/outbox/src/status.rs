//! How an outbox stands, for whoever looks at it without a relay.

use steadfast_core::Timestamp;
use steadfast_db::Db;

use crate::{Error, Outbox};

/// How an outbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// When the oldest of the events that wait was written, if any waits. Its age is what an operator asks about.
    pub oldest_waiting: Option<Timestamp>,
    /// Rows in the outbox, published ones included; on PostgreSQL by its statistics.
    pub rows: u64,
    /// Aggregates that are held back by an event which the log refuses.
    pub parked: u64,
}

/// How the outbox in `db` stands now. Costs the same however large it is. [`Outbox::status`](crate::Outbox::status) is
/// the same for any backend.
pub async fn status(db: &Db) -> Result<Status, Error> {
    Outbox::from(db.clone()).status().await
}
