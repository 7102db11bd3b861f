//! The outbox of one database, whichever it is: for operators, and as a relay's source.

use std::path::Path;
use std::sync::Arc;

use steadfast_core::{EventId, Timestamp};

use crate::archive::{Shelf, Target};
use crate::store::{Store, sqlite};
use crate::{Error, Parked, Status, Violation};

/// The longest reason that is kept of a discarded event.
const REASON_LENGTH: usize = 500;

/// The outbox in a database, made from the database's handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<dyn Store>);

impl Outbox {
    /// How it stands now. Costs the same however large it is.
    pub async fn status(&self) -> Result<Status, Error> {
        let status = self.0.status(1).await?;
        Ok(Status {
            oldest_waiting: status.waiting.first().copied(),
            rows: u64::try_from(status.size).unwrap_or(0),
            parked: u64::try_from(status.parked).unwrap_or(0),
        })
    }

    /// As [`verify`](crate::verify()).
    pub async fn verify(&self) -> Result<Vec<Violation>, Error> {
        self.0.verify().await
    }

    /// As [`archive`](crate::archive()). On PostgreSQL one call archives the oldest day that ended before `before` and
    /// drops its partition, whatever `limit` says; while anything in that day waits, or somebody keeps the table busy, it
    /// answers 0 and nothing is dropped.
    pub async fn archive(&self, before: Timestamp, limit: u32, target: Option<Target<'_>>) -> Result<u64, Error> {
        self.0.archive(before, limit, target.map_or(Shelf::Nowhere, Shelf::Stream)).await
    }

    /// As [`archive`](Self::archive) into a new file of compressed JSON lines in `folder`, for each call that finds
    /// something. Before anything is deleted, the file is flushed to the disk, read back, and its count and checksum are
    /// compared.
    pub async fn archive_into(&self, folder: &Path, before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.0.archive(before, limit, Shelf::folder(folder)).await
    }

    /// Makes ready what will be needed: on PostgreSQL the partitions of the coming week. A relay does so by itself.
    pub async fn upkeep(&self) -> Result<(), Error> {
        self.0.upkeep().await
    }

    /// As [`dead_letter::list`](crate::dead_letter::list).
    pub async fn parked(&self, limit: u32) -> Result<Vec<Parked>, Error> {
        self.0.parked(limit).await
    }

    /// As [`dead_letter::replay`](crate::dead_letter::replay).
    pub async fn replay(&self, event: EventId, now: Timestamp) -> Result<bool, Error> {
        self.0.replay(event, now).await
    }

    /// As [`dead_letter::discard`](crate::dead_letter::discard).
    pub async fn discard(&self, event: EventId, reason: &str, now: Timestamp) -> Result<bool, Error> {
        let reason: String = reason.chars().take(REASON_LENGTH).collect();
        self.0.discard(event, &reason, now).await
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0)
    }
}

impl From<steadfast_db::sqlite::Db> for Outbox {
    fn from(db: steadfast_db::sqlite::Db) -> Self {
        Self(Arc::new(sqlite::Outbox::new(db)))
    }
}

#[cfg(feature = "postgres")]
impl From<steadfast_db::postgres::Db> for Outbox {
    fn from(db: steadfast_db::postgres::Db) -> Self {
        Self(Arc::new(crate::store::postgres::Outbox::new(db)))
    }
}
