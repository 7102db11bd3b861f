//! What appending needs of a database. Each backend is a file named for it.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use sqlx::{Database, Transaction};
use steadfast_core::{EventId, NewEvent, Timestamp};

use crate::Error;

mod sealed {
    pub trait Sealed {}
}

/// A database that can hold an outbox. Sealed: [`sqlx::Sqlite`] and, with the feature `postgres`, `sqlx::Postgres`.
pub trait Backend: Database + sealed::Sealed {
    /// Appends events in the caller's transaction.
    #[doc(hidden)]
    fn append_events(
        tx: &mut Transaction<'_, Self>,
        events: &[NewEvent],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<EventId>, Error>> + Send;

    /// Remembers that a consumer applies an event; whether it is the first time.
    #[doc(hidden)]
    fn receive(
        tx: &mut Transaction<'_, Self>,
        consumer: &str,
        event: EventId,
    ) -> impl Future<Output = Result<bool, Error>> + Send;
}

/// The ids of events that are written now.
fn ids(amount: usize, now: Timestamp) -> Vec<EventId> {
    (0..amount).map(|_| EventId::from_parts(now, std::array::from_fn(|_| fastrand::u8(..)))).collect()
}
