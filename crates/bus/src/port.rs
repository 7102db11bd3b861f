//! The two halves of a log, which every backend answers.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Delivered, Error, Record};

/// Appends records.
#[async_trait]
pub trait Producer: Debug + Send + Sync {
    /// Appends the records in order and answers for each of them, in the same order, once it is durable.
    ///
    /// An error whose kind is `Invalid` or `Refused` speaks about that record: the same record will never be taken.
    /// After any other error the record may or may not have been appended; appending it again is the caller's choice.
    async fn produce(&self, records: Vec<Record>) -> Vec<Result<(), Error>>;
}

/// Reads records forward.
#[async_trait]
pub trait Consumer: Send {
    /// The next records, at most `max`, in order of offset within each partition. Where there are none it waits for
    /// up to `wait` and may then answer with none. Dropping the future loses no record.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, Error>;

    /// Continues in `partition` with the first record whose offset is at least `offset`. An owner that has stored the
    /// offset of the last record it applied seeks to that plus one.
    async fn seek(&mut self, partition: u32, offset: i64) -> Result<(), Error>;
}
