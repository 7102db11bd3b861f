//! Where a platform keeps what is compared, and how its tables are read: one statement for each kind of database, the same
//! rows from both.

use sqlx::FromRow;
use sqlx::Sqlite;
#[cfg(feature = "postgres")]
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::SqliteRow;
#[cfg(feature = "kafka")]
use steadfast::bus::kafka;
use steadfast::db::Db;
#[cfg(feature = "postgres")]
use steadfast::db::postgres;

use super::Error;

/// A database.
#[derive(Clone, Debug)]
pub enum Store {
    /// SQLite: of an embedded platform.
    Sqlite(Db),
    /// PostgreSQL: of a platform of several processes.
    #[cfg(feature = "postgres")]
    Postgres(postgres::Db),
}

/// The event log.
#[derive(Clone, Debug)]
pub enum EventLog {
    /// In SQLite: of an embedded platform.
    Sqlite(Db),
    /// Kafka.
    #[cfg(feature = "kafka")]
    Kafka {
        /// How it is reached.
        config: kafka::Config,
        /// The topics that the platform's events are published on: [`topics`](super::topics).
        topics: Vec<String>,
    },
}

/// The databases of a platform.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The order service's.
    pub order: Store,
    /// The payment service's.
    pub payment: Store,
    /// The inventory service's.
    pub inventory: Store,
    /// The orchestrator's, with its journal and its outbox.
    pub orchestrator: Store,
    /// The event log.
    pub log: EventLog,
    /// The read model's.
    pub read_model: Store,
}

impl Stores {
    /// Those that have an outbox, by the names of their services.
    pub(super) const fn outboxes(&self) -> [(&'static str, &Store); 4] {
        [
            ("order", &self.order),
            ("payment", &self.payment),
            ("inventory", &self.inventory),
            ("orchestrator", &self.orchestrator),
        ]
    }
}

impl From<&Db> for Store {
    fn from(db: &Db) -> Self {
        Self::Sqlite(db.clone())
    }
}

#[cfg(feature = "postgres")]
impl From<&postgres::Db> for Store {
    fn from(db: &postgres::Db) -> Self {
        Self::Postgres(db.clone())
    }
}

/// The text of one question for each kind of database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    pub(super) sqlite: &'static str,
    #[cfg(feature = "postgres")]
    pub(super) postgres: &'static str,
}

/// The statement of this name.
macro_rules! statement {
    ($name:literal) => {
        $crate::check::stores::Statement {
            sqlite: include_str!(concat!("sqlite/", $name, ".sql")),
            #[cfg(feature = "postgres")]
            postgres: include_str!(concat!("postgres/", $name, ".sql")),
        }
    };
}
pub(super) use statement;

/// What both kinds of databases can give as a row.
#[cfg(feature = "postgres")]
pub(super) trait Columns: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}
#[cfg(feature = "postgres")]
impl<T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin> Columns for T {}
/// What a database can give as a row.
#[cfg(not(feature = "postgres"))]
pub(super) trait Columns: for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}
#[cfg(not(feature = "postgres"))]
impl<T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin> Columns for T {}

/// All rows of a query.
pub(super) async fn rows<T: Columns>(
    store: &Store,
    database: &'static str,
    statement: Statement,
) -> Result<Vec<T>, Error> {
    let found = match store {
        Store::Sqlite(db) => sqlx::query_as::<Sqlite, T>(statement.sqlite).fetch_all(db.readers()).await,
        #[cfg(feature = "postgres")]
        Store::Postgres(db) => sqlx::query_as::<Postgres, T>(statement.postgres).fetch_all(db.pool()).await,
    };
    found.map_err(|source| Error::Read { database, source: source.into() })
}

/// The one number of a query.
pub(super) async fn count(store: &Store, database: &'static str, statement: Statement) -> Result<u64, Error> {
    let found: Vec<(i64,)> = rows(store, database, statement).await?;
    Ok(found.first().map_or(0, |(count,)| u64::try_from(*count).unwrap_or(0)))
}
