//! Writing events in the caller's transaction.

use async_trait::async_trait;
use sqlx::{Sqlite, Transaction};
use steadfast_core::{EventId, NewEvent, Timestamp};
use steadfast_db::{BoxError, EventSink};

use crate::{Backend, Error, Hint};

/// Appends one event in the caller's transaction and answers with its id: the event exists exactly if the transaction
/// commits. Two statements on SQLite, one on PostgreSQL.
///
/// With [`NewEvent::sequence`] the number is the aggregate's version and must be the next one; without, it is drawn.
/// Either way an aggregate's events are numbered 1, 2, 3 … without a gap.
///
/// On PostgreSQL the aggregate's row in `outbox_sequence` stays locked until the transaction ends: transactions that
/// append events of one aggregate take turns.
///
/// # Errors
/// Every error must fail the caller's transaction. [`Error::Sequence`] and [`Error::MixedNumbering`] say that the
/// numbers of the aggregate's events would not be contiguous; [`Error::Name`] and [`Error::PayloadTooLarge`] that the
/// event could never be published.
pub async fn append<DB: Backend>(
    tx: &mut Transaction<'_, DB>,
    event: &NewEvent,
    now: Timestamp,
) -> Result<EventId, Error> {
    let ids = append_many(tx, std::slice::from_ref(event), now).await?;
    // One event has one id.
    ids.into_iter().next().ok_or(Error::Corrupt { id: 0, fault: "an event was not written" })
}

/// Appends events in order, like [`append`]; as many statements as for one.
///
/// # Errors
/// As [`append`].
pub async fn append_many<DB: Backend>(
    tx: &mut Transaction<'_, DB>,
    events: &[NewEvent],
    now: Timestamp,
) -> Result<Vec<EventId>, Error> {
    DB::append_events(tx, events, now).await
}

/// The outbox as the place where other patterns put their events.
#[derive(Clone, Debug, Default)]
pub struct Sink {
    hint: Option<Hint>,
}

impl Sink {
    /// A sink whose relay finds events by looking.
    pub fn new() -> Self {
        Self::default()
    }

    /// A sink that also hints to the relay of this process. The hint precedes the commit, so the relay looks at once
    /// and then again every few milliseconds.
    pub fn with_hint(hint: Hint) -> Self {
        Self { hint: Some(hint) }
    }

    async fn take<DB: Backend>(
        &self,
        tx: &mut Transaction<'_, DB>,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), BoxError> {
        append_many(tx, events, now).await?;
        if let Some(hint) = &self.hint {
            hint.notify();
        }
        Ok(())
    }
}

#[async_trait]
impl EventSink<Sqlite> for Sink {
    async fn append_many(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), BoxError> {
        self.take(tx, events, now).await
    }
}

#[cfg(feature = "postgres")]
#[async_trait]
impl EventSink<sqlx::Postgres> for Sink {
    async fn append_many(
        &self,
        tx: &mut Transaction<'_, sqlx::Postgres>,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), BoxError> {
        self.take(tx, events, now).await
    }
}
