//! Where records live: one trait, one file for each backend, one conformance suite.

mod headers;
mod memory;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
pub(crate) mod sqlite;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod steps;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use steadfast_db::{Line, Migration};

use crate::Error;
use crate::decision::{Claim, Decision, Report, Reported, Resolution, Resolved};
use crate::record::{Owner, Record, RecordId};

pub use memory::Memory;
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub use sqlite::Sqlite;

/// The table of both forms, leased and transactional.
pub const LINE: Line = Line {
    name: "idempotency",
    sqlite: &[Migration { version: 1, name: "record", sql: include_str!("../../migrations/sqlite/0001_record.sql") }],
    postgres: &[Migration {
        version: 1,
        name: "record",
        sql: include_str!("../../migrations/postgres/0001_record.sql"),
    }],
};

/// What a round of cleaning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// How many records were removed.
    pub removed: u64,
    /// Whether the round has come to its end; the next call begins another.
    pub ended: bool,
}

/// Records in the leased form. Each method is one atomic step that may be repeated after a lost reply: the owner's token
/// tells a store that it has done it already. Ages are reckoned by the store's own clock.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The backend's name, as a label of metrics.
    fn name(&self) -> &'static str;

    /// Whether the store can be worked with now: for a process that shows what it lacks.
    async fn answers(&self) -> Result<(), Error>;

    /// Claims a record, or says why not.
    async fn claim(&self, claim: &Claim) -> Result<Decision, Error>;

    /// Takes the owner's report about its claim.
    async fn report(&self, id: RecordId, owner: Owner, report: Report, ttl: Duration) -> Result<Reported, Error>;

    /// The record, unless there is none or it has ceased to be.
    async fn show(&self, id: RecordId) -> Result<Option<Record>, Error>;

    /// Up to `limit` records whose outcome nobody knows, by name, beginning behind `after`.
    async fn unresolved(&self, after: Option<RecordId>, limit: u32) -> Result<Vec<(RecordId, Record)>, Error>;

    /// Writes down what an operator found out. `expected` is the owner of the record that the operator looked at.
    async fn resolve(
        &self,
        id: RecordId,
        expected: Owner,
        resolution: Resolution,
        ttl: Duration,
    ) -> Result<Resolved, Error>;

    /// Ends a login: of its answers only the statuses remain, those that are still to come included; a retry gets
    /// 410 and never a second execution. Says how many records it concerned.
    async fn forget_answers(&self, subject: &str, login: &str) -> Result<u64, Error>;

    /// Looks at the next `limit` records and removes those that have ceased to be.
    async fn clean(&self, limit: u32) -> Result<Cleaned, Error>;
}
