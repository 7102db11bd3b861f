//! What the transactional form needs of a database. Each backend is answered for by its store's file.

use std::time::Duration;

use sqlx::Transaction;
use steadfast_db::Db;

use crate::Error;
use crate::decision::Change;
use crate::record::{Record, RecordId};
use crate::store::sqlite;

/// A database that keeps records beside the effects: [`steadfast_db::Db`] (SQLite) and, with the feature `postgres`,
/// `steadfast_db::postgres::Db`. Sealed.
pub trait Backend: steadfast_db::Backend + sealed::Sealed {
    /// The label of its metrics.
    #[doc(hidden)]
    const NAME: &'static str;

    /// How long a request waits for it, unless its policy says otherwise.
    #[doc(hidden)]
    const LIMIT: Duration;

    /// Whether this transaction is the only one that executes under this name, without waiting; and the record.
    #[doc(hidden)]
    fn enter(
        tx: &mut Transaction<'static, Self::Sql>,
        id: RecordId,
    ) -> impl Future<Output = Result<(bool, Option<Record>), Error>> + Send;

    /// Compare and set: whether the record was still what was seen.
    #[doc(hidden)]
    fn write(
        tx: &mut Transaction<'static, Self::Sql>,
        id: RecordId,
        change: &Change,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// The record, without any lock.
    #[doc(hidden)]
    fn look_up(&self, id: RecordId) -> impl Future<Output = Result<Option<Record>, Error>> + Send;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for steadfast_db::Db {}

    #[cfg(feature = "postgres")]
    impl Sealed for steadfast_db::postgres::Db {}
}

impl Backend for Db {
    const NAME: &'static str = "sqlite-transactional";

    /// Whoever comes waits for its turn.
    const LIMIT: Duration = Duration::from_secs(10);

    /// `BEGIN IMMEDIATE` was the lock.
    async fn enter(tx: &mut Transaction<'static, sqlx::Sqlite>, id: RecordId) -> Result<(bool, Option<Record>), Error> {
        Ok((true, sqlite::read(&mut **tx, id).await?))
    }

    async fn write(tx: &mut Transaction<'static, sqlx::Sqlite>, id: RecordId, change: &Change) -> Result<bool, Error> {
        sqlite::write(tx, id, change).await
    }

    async fn look_up(&self, id: RecordId) -> Result<Option<Record>, Error> {
        sqlite::read(self.readers(), id).await
    }
}

#[cfg(feature = "postgres")]
impl Backend for steadfast_db::postgres::Db {
    const NAME: &'static str = "postgres-transactional";

    const LIMIT: Duration = Duration::from_secs(1);

    async fn enter(
        tx: &mut Transaction<'static, sqlx::Postgres>,
        id: RecordId,
    ) -> Result<(bool, Option<Record>), Error> {
        crate::store::postgres::enter(tx, id).await
    }

    async fn write(
        tx: &mut Transaction<'static, sqlx::Postgres>,
        id: RecordId,
        change: &Change,
    ) -> Result<bool, Error> {
        crate::store::postgres::write(&mut **tx, id, change).await
    }

    async fn look_up(&self, id: RecordId) -> Result<Option<Record>, Error> {
        crate::store::postgres::look_up(self, id).await
    }
}
