//! What the backends have in common for those above them: a handle that begins the caller's transactions.

use std::fmt::Debug;

use async_trait::async_trait;
use sqlx::{Database, Pool, Transaction};

use crate::{Error, Line};

/// A handle on a database; cheap to clone. Implemented by [`sqlite::Db`](crate::sqlite::Db) and, with the feature
/// `postgres`, by `postgres::Db`; nobody else can implement it. Transactions are sqlx's own.
#[async_trait]
pub trait Backend: Clone + Debug + Send + Sync + sealed::Sealed + 'static {
    /// Whose transactions it begins.
    type Sql: Database;

    /// Begins a transaction that may write. Dropped without a commit, it is rolled back.
    async fn begin(&self) -> Result<Transaction<'static, Self::Sql>, Error>;

    /// The connections for a statement that is a transaction of its own; where they only read, it says so.
    fn readers(&self) -> &Pool<Self::Sql>;

    /// Brings the database to the newest version of `line`; see [`migrate`](crate::migrate()).
    #[doc(hidden)]
    async fn migrate(&self, line: &Line) -> Result<(), Error>;
}

pub(crate) mod sealed {
    /// Only the backends of this crate.
    pub trait Sealed {}
}
