//! SQLite: one writer, bounded readers, every commit flushed.
//!
//! WAL with `synchronous = FULL` makes a commit durable before it is answered. Writers take their turn on one connection
//! with `BEGIN IMMEDIATE`, so within a process nobody ever meets `SQLITE_BUSY`; between processes the busy timeout
//! applies. Checkpoints run in a task of their own, off the path of commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::Error;
use crate::backend::{Backend, sealed};
use crate::migrate::{Line, Recorded, compare};

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections that only read.
    pub readers: u32,
    /// How long a statement waits for another process's lock.
    pub busy_timeout: Duration,
    /// How long a caller waits for a connection of this process.
    pub acquire_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 4, busy_timeout: Duration::from_secs(5), acquire_timeout: Duration::from_secs(10) }
    }
}

/// A SQLite database: cheap to clone, one writer for all clones.
#[derive(Clone, Debug)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: SqlitePool,
    readers: SqlitePool,
    path: PathBuf,
}

impl Db {
    /// Opens the file, which is created where it does not exist; its folder must.
    pub async fn open(path: &Path, options: Options) -> Result<Self, Error> {
        let open_error = |source| Error::Open { path: path.to_owned(), source };
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(options.busy_timeout)
            .statement_cache_capacity(256)
            // The default of 1,000 pages runs a checkpoint inside a commit every few hundred commits; `checkpoint` does it
            // outside, and this bound only stops a log that nobody checkpoints.
            .pragma("wal_autocheckpoint", "20000")
            .pragma("cache_size", "-16000")
            .pragma("temp_store", "memory");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .acquire_timeout(options.acquire_timeout)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(connect.clone())
            .await
            .map_err(open_error)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers)
            .acquire_timeout(options.acquire_timeout)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(connect.read_only(true).create_if_missing(false))
            .await
            .map_err(open_error)?;
        Ok(Self(Arc::new(Inner { writer, readers, path: path.to_owned() })))
    }

    /// Begins a transaction that may write (`BEGIN IMMEDIATE`), waiting for its turn. Dropped without a commit, it is
    /// rolled back.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Ok(self.0.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// The connections that only read. Each statement sees the last commit.
    pub fn readers(&self) -> &SqlitePool {
        &self.0.readers
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Moves what the log holds into the database file, as far as readers allow; never waits for them. Call it from a
    /// task of its own every few seconds.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        let mut connection = self.0.writer.acquire().await?;
        sqlx::query("pragma wal_checkpoint(passive)").execute(&mut *connection).await?;
        Ok(())
    }

    /// Closes every connection after its present statement.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }
}

impl sealed::Sealed for Db {}

#[async_trait]
impl Backend for Db {
    type Sql = Sqlite;

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Self::begin(self).await
    }

    fn readers(&self) -> &SqlitePool {
        Self::readers(self)
    }

    async fn migrate(&self, line: &Line) -> Result<(), Error> {
        migrate(self, line).await
    }
}

const TABLE: &str = "create table if not exists steadfast_migration (
    line text not null,
    version integer not null,
    name text not null,
    checksum text not null,
    primary key (line, version)
) without rowid";

async fn migrate(db: &Db, line: &Line) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    sqlx::query(TABLE).execute(&mut *tx).await?;
    let done: Vec<Recorded> =
        sqlx::query_as("select version, checksum from steadfast_migration where line = ? order by version")
            .bind(line.name)
            .fetch_all(&mut *tx)
            .await?;
    for (migration, checksum) in compare(&db.path().display().to_string(), line.name, line.sqlite, &done)? {
        sqlx::raw_sql(migration.sql).execute(&mut *tx).await?;
        sqlx::query("insert into steadfast_migration (line, version, name, checksum) values (?, ?, ?, ?)")
            .bind(line.name)
            .bind(migration.version)
            .bind(migration.name)
            .bind(checksum)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}
