//! The two halves of a log, which every backend answers.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Delivered, Error, Partition, Record};

/// Appends records.
#[async_trait]
pub trait Producer: Debug + Send + Sync {
    /// Appends the records in order and answers for each of them, in the same order, once it is durable.
    ///
    /// An error whose kind is `Invalid` or `Refused` speaks about that record: the same record will never be taken.
    /// After any other error the record may or may not have been appended; appending it again is the caller's choice.
    async fn produce(&self, records: Vec<Record>) -> Vec<Result<(), Error>>;
}

/// What has changed in the partitions that a consumer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It reads this one from now on.
    Assigned(Partition),
    /// It reads this one no longer: another consumer of its group does, or will.
    Revoked(Partition),
}

/// Reads records forward.
///
/// The members of a group share partitions among them, and the share of each may change. A change happens only within
/// [`poll`](Consumer::poll), so that an owner that commits before it polls again hands over at the end of a batch.
/// An owner that stores positions calls [`changes`](Consumer::changes) before each poll and seeks in what is new:
///
/// ```text
/// changes ──> read stored positions ──> seek ──> poll ──> write rows and positions ──┐
///    ^                                            │ nothing                          │
///    └────────────────────────────────────────────┴──────────────────────────────────┘
/// ```
///
/// A revoked consumer may still be writing what it had read; what keeps the two apart is the owner's stored position,
/// which moves only from where it is expected.
#[async_trait]
pub trait Consumer: Send {
    /// The next records, at most `max`, in order of offset within each partition. Where there are none it waits for
    /// up to `wait` and may then answer with none; where partitions have changed it answers at once, perhaps with none.
    /// Dropping the future loses no record.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, Error>;

    /// Continues in `partition` with the first record whose offset is at least `offset`. An owner that has stored the
    /// offset of the last record it applied seeks to that plus one. A partition that is not assigned yet begins there
    /// when it is.
    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error>;

    /// What has changed since it was last asked, in order; at first the partitions that it begins with. One that is new
    /// is not read before the next poll, and from the consumer's own start where the owner has not sought.
    fn changes(&mut self) -> Vec<Change>;

    /// Takes leave of the others, so that they have its partitions at once. It reads nothing afterwards.
    async fn leave(&mut self) {}
}
