//! Events that the log refuses: shown, tried anew, given up. What an operator does is one transaction, without a relay.
//! [`Outbox`] has the same for any backend.

use steadfast_core::{EventId, Timestamp};
use steadfast_db::Db;

use crate::{Error, Outbox, Parked};

/// What holds aggregates back: those that are still tried, and, with [`Parked::dead_at`], the dead letters.
pub async fn list(db: &Db, limit: u32) -> Result<Vec<Parked>, Error> {
    Outbox::from(db.clone()).parked(limit).await
}

/// Gives a held event new attempts, the first of them now. Once the log takes it, the aggregate's later events follow in
/// order. Answers whether there was such an event.
pub async fn replay(db: &Db, event: EventId, now: Timestamp) -> Result<bool, Error> {
    Outbox::from(db.clone()).replay(event, now).await
}

/// Gives a dead letter up: it is never published, and the aggregate's later events follow. Consumers find its number
/// missing; the event and `reason` stay in `outbox_discarded`. Answers whether there was such a dead letter: an event that
/// is still tried is none.
pub async fn discard(db: &Db, event: EventId, reason: &str, now: Timestamp) -> Result<bool, Error> {
    Outbox::from(db.clone()).discard(event, reason, now).await
}
