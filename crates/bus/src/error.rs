//! What a log says, by what can be done about it.

use std::sync::Arc;

use steadfast_core::{Classified, ErrorKind};

use crate::Partition;

/// An error of the event log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log's database failed. Whether records were appended is not known.
    #[error("the event log's database failed")]
    Store(#[source] Arc<steadfast_db::Error>),
    /// The log was closed while the record waited.
    #[error("the event log is closed: the process is stopping")]
    Closed,
    /// The log cannot be reached or did not answer.
    #[error("the event log is not available: {0}")]
    Unavailable(String),
    /// The topic's name is not legal.
    #[error("topic {topic:?} is not a legal name: use 1 to 249 of letters, digits, '.', '_' and '-'")]
    Topic {
        /// The name, cut to the legal length.
        topic: String,
    },
    /// The payload is too large.
    #[error(
        "the payload has {size} bytes, the event log takes {limit}: put large content elsewhere and its address here"
    )]
    TooLarge {
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The log refuses this record, and will refuse it again.
    #[error("the event log refuses the record: {0}")]
    Refused(String),
    /// The log was made with another number of partitions.
    #[error(
        "the event log has {stored} partitions, {asked} were asked for: keep {stored}, since another number would split the order of keys"
    )]
    Partitions {
        /// What the log has.
        stored: u32,
        /// What was asked for.
        asked: u32,
    },
    /// A setting of the client cannot be used.
    #[error("the event log's setting {name} cannot be used: {fault}")]
    Setting {
        /// The setting.
        name: String,
        /// What is wrong, and the way out.
        fault: String,
    },
    /// A stored position lies outside of what the log holds, so that records between are gone or not yet there.
    #[error(
        "{partition} holds offsets from {first} to before {end}, the stored position is {position}: records were deleted before they were read, or the topic was made anew; restore them, or move the position by hand to go on without them"
    )]
    OutOfRange {
        /// Where.
        partition: Partition,
        /// The oldest offset that is kept.
        first: i64,
        /// The offset after the newest.
        end: i64,
        /// The stored position.
        position: i64,
    },
    /// There is no such partition.
    #[error("the event log has no partition {partition}: there are {partitions}, counted from 0")]
    UnknownPartition {
        /// The one that was named.
        partition: Partition,
        /// How many there are.
        partitions: u32,
    },
    /// A record is not an event as [`headers`](crate::headers) writes it.
    #[error("the record is not an event: {name} {fault}")]
    NotAnEvent {
        /// The header, or `payload`.
        name: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A stored row cannot be read back.
    #[error("the event log's row at offset {offset} cannot be read: {fault}")]
    Corrupt {
        /// Where.
        offset: i64,
        /// What is wrong with it.
        fault: &'static str,
    },
}

impl From<steadfast_db::Error> for Error {
    fn from(error: steadfast_db::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        steadfast_db::Error::from(error).into()
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Closed | Self::Unavailable(_) => ErrorKind::Transient,
            Self::Topic { .. }
            | Self::TooLarge { .. }
            | Self::Partitions { .. }
            | Self::Setting { .. }
            | Self::UnknownPartition { .. }
            | Self::NotAnEvent { .. } => ErrorKind::Invalid,
            Self::Refused(_) => ErrorKind::Refused,
            Self::Corrupt { .. } | Self::OutOfRange { .. } => ErrorKind::Corrupt,
        }
    }
}
