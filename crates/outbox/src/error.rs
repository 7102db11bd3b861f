//! What an outbox says, by what can be done about it.

use steadfast_core::{Classified, ErrorKind};

/// An error of the outbox. One that [`append`](crate::append) returns must fail the caller's transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database failed.
    #[error("the outbox's database failed")]
    Store(#[from] steadfast_db::Error),
    /// A name is empty, too long or has characters that do not travel.
    #[error("{field} of an event is not legal: {rule}")]
    Name {
        /// Which field of the event.
        field: &'static str,
        /// What is allowed.
        rule: &'static str,
    },
    /// The payload is too large.
    #[error(
        "the payload of {event_type} has {size} bytes, the outbox takes {limit}: store large content elsewhere and send its address"
    )]
    PayloadTooLarge {
        /// The event's type.
        event_type: String,
        /// Its size as JSON.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The event's number is not the next one of its aggregate.
    #[error(
        "{aggregate_type} {aggregate_id}: an event with sequence {given} cannot follow {last}: append exactly one event for each version, in the transaction that makes the version"
    )]
    Sequence {
        /// What kind of aggregate.
        aggregate_type: String,
        /// Which one.
        aggregate_id: String,
        /// The number of the event.
        given: i64,
        /// The number of the aggregate's last event; 0 where there is none.
        last: i64,
    },
    /// The aggregate type numbers its events in the other way.
    #[error(
        "aggregate type {aggregate_type} has its sequence {way} since its first event: {way_out} for all of its events"
    )]
    MixedNumbering {
        /// The aggregate type.
        aggregate_type: String,
        /// How its events are numbered: `given` or `drawn`.
        way: &'static str,
        /// What to do.
        way_out: &'static str,
    },
    /// Another relay has taken over.
    #[error("epoch {epoch} of the outbox's lane has ended: another relay publishes now")]
    Fenced {
        /// The epoch that this relay held.
        epoch: i64,
    },
    /// A stored row cannot be read.
    #[error("the outbox's row {id} cannot be read: {fault}")]
    Corrupt {
        /// The row.
        id: i64,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The sequence that ids are drawn from was altered.
    #[error(
        "the sequence outbox_id caches ids, so their order is no longer that of commits: alter sequence outbox_id cache 1 increment 1"
    )]
    CachedIds,
    /// The archive could not be written; nothing was deleted.
    #[error("the archive cannot be written; no event was deleted")]
    Archive(#[source] std::io::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Name { .. } | Self::PayloadTooLarge { .. } | Self::Sequence { .. } | Self::MixedNumbering { .. } => {
                ErrorKind::Invalid
            }
            Self::Fenced { .. } => ErrorKind::Conflict,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Archive(_) | Self::CachedIds => ErrorKind::Transient,
        }
    }
}
