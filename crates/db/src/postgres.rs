//! PostgreSQL 14 and later: a bounded pool under READ COMMITTED, every commit flushed by the server.
//!
//! Correctness above rests on unique keys, conditional updates and row locks, never on SERIALIZABLE. Each connection
//! asserts its isolation level, so that a server or role with another default changes nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgExecutor, PgPool, Postgres, Transaction};
use steadfast_core::Timestamp;
use tokio::time::Instant;

use crate::Error;
use crate::backend::{Backend, sealed};
use crate::migrate::{Line, Recorded, compare};

/// The oldest server that is accepted: `server_version_num` of PostgreSQL 14.
const OLDEST: i32 = 140_000;

/// How long a server may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(1);

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections of the pool.
    pub connections: u32,
    /// How long a caller waits for a connection of the pool, and for the server to answer at opening.
    pub acquire_timeout: Duration,
    /// How long a statement of the pool waits for a row or table lock before it fails and may be tried again.
    pub lock_timeout: Duration,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// The password, where the URL holds none.
    pub password: Option<SecretString>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 16,
            acquire_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            application_name: "steadfast".to_owned(),
            password: None,
        }
    }
}

/// A PostgreSQL database: cheap to clone, one pool for all clones.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    pool: PgPool,
    connect: PgConnectOptions,
    name: String,
}

impl Db {
    /// Connects by a URL such as `postgres://user:password@host:5432/database?sslmode=verify-full`, and checks that the
    /// server is new enough and takes writes.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Connect`], [`Error::OldServer`] or [`Error::ReadOnly`]. None of them holds the password.
    pub async fn open(url: &SecretString, options: Options) -> Result<Self, Error> {
        let db = Self::lazy(url, options)?;
        db.check().await?;
        Ok(db)
    }

    /// As [`open`](Self::open), without a connection yet: for a process that starts before its database does. What the
    /// server is told by [`check`](Self::check).
    pub fn lazy(url: &SecretString, options: Options) -> Result<Self, Error> {
        let connect = PgConnectOptions::from_str(url.expose_secret()).map_err(|error| Error::Url(blame(&error)))?;
        let Options { connections, acquire_timeout, lock_timeout, application_name, password } = options;
        let lock_timeout = lock_timeout.as_millis().to_string();
        let connect = match password {
            Some(password) => connect.password(password.expose_secret()),
            None => connect,
        };
        let connect = connect
            .application_name(&application_name)
            .statement_cache_capacity(256)
            // No statement here is worth compiling: one over many partitions, of a few milliseconds, looks dear to the
            // planner and would be compiled for seconds.
            .options([
                ("default_transaction_isolation", "read committed"),
                ("lock_timeout", &lock_timeout),
                ("jit", "off"),
            ])
            .disable_statement_logging();
        let name = format!(
            "{}:{}/{}",
            connect.get_host(),
            connect.get_port(),
            connect.get_database().unwrap_or_else(|| connect.get_username())
        );
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(acquire_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(connect.clone());
        Ok(Self(Arc::new(Inner { pool, connect, name })))
    }

    /// Asks the server whether it can be worked with.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::OldServer`] or [`Error::ReadOnly`].
    pub async fn check(&self) -> Result<(), Error> {
        let connect = |source| Error::Connect { database: self.0.name.clone(), source };
        let (version, read_only): (i32, bool) = sqlx::query_as(
            "select current_setting('server_version_num')::int, current_setting('transaction_read_only')::bool",
        )
        .fetch_one(&self.0.pool)
        .await
        .map_err(connect)?;
        if version < OLDEST {
            return Err(Error::OldServer {
                database: self.0.name.clone(),
                found: version / 10_000,
                oldest: OLDEST / 10_000,
            });
        }
        if read_only {
            return Err(Error::ReadOnly { database: self.0.name.clone() });
        }
        Ok(())
    }

    /// As [`check`](Self::check), for who has to say soon what is wrong: where the server cannot be reached it tells why. A pool
    /// that is busy is none of it: a process that called itself not ready for its load would send that load to the others.
    pub async fn answers(&self) -> Result<(), Error> {
        match tokio::time::timeout(ANSWER, self.check()).await {
            Ok(answered) => answered,
            Err(_) => match tokio::time::timeout(ANSWER, self.connect()).await {
                // Every connection of the pool is at work, and the server takes another one.
                Ok(Ok(_)) => Ok(()),
                Ok(Err(cause)) => Err(cause),
                Err(_) => Err(Error::Connect { database: self.0.name.clone(), source: sqlx::Error::PoolTimedOut }),
            },
        }
    }

    /// For who works with tables that somebody else migrates: whether this program knows their newest version. Tables that
    /// were made by other means than [`migrate`](crate::migrate) say nothing of theirs, and pass.
    ///
    /// # Errors
    /// [`Error::Newer`] where a later program has migrated them, [`Error::MigrationChanged`] where another has.
    pub async fn knows(&self, line: &Line) -> Result<(), Error> {
        // Nothing where there is no such table, and where our role may not read it.
        let readable: Option<bool> =
            sqlx::query_scalar("select has_table_privilege(to_regclass('steadfast_migration'), 'select')")
                .fetch_one(self.pool())
                .await?;
        if readable == Some(true) {
            compare(self.name(), line.name, line.postgres, &recorded(self.pool(), line).await?)?;
        }
        Ok(())
    }

    /// What the server's clock shows at this moment, but for half of what the question took: at most half a second.
    ///
    /// # Errors
    /// Whatever kept it from answering within a second.
    pub async fn time(&self) -> Result<Timestamp, Error> {
        let mut connection = self.0.pool.acquire().await?;
        let asked = Instant::now();
        let question = sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000)::bigint");
        let answered = tokio::time::timeout(ANSWER, question.fetch_one(&mut *connection)).await;
        let time: i64 = answered.map_err(|_| sqlx::Error::PoolTimedOut)??;
        Ok(Timestamp::from_millis(time) + asked.elapsed() / 2)
    }

    /// Begins a transaction under READ COMMITTED. Dropped without a commit, it is rolled back.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        Ok(self.0.pool.begin().await?)
    }

    /// The pool: for a statement that is a transaction of its own.
    pub fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// A connection of its own, outside the pool, which plans a prepared statement once and for all
    /// (`plan_cache_mode = force_generic_plan`) and waits for locks without a limit: for a loop that lives as long as
    /// its process.
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        let connect =
            self.0.connect.clone().options([("plan_cache_mode", "force_generic_plan"), ("lock_timeout", "0")]);
        PgConnection::connect_with(&connect)
            .await
            .map_err(|source| Error::Connect { database: self.0.name.clone(), source })
    }

    /// `host:port/database`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Closes every connection of the pool after its present statement.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Db").field(&self.0.name).finish()
    }
}

/// What is wrong with a URL, without the URL.
fn blame(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

impl sealed::Sealed for Db {}

#[async_trait]
impl Backend for Db {
    type Sql = Postgres;

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        Self::begin(self).await
    }

    fn readers(&self) -> &PgPool {
        self.pool()
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
)";

async fn recorded(executor: impl PgExecutor<'_>, line: &Line) -> Result<Vec<Recorded>, Error> {
    let rows: Vec<(i32, String)> =
        sqlx::query_as("select version, checksum from steadfast_migration where line = $1 order by version")
            .bind(line.name)
            .fetch_all(executor)
            .await?;
    Ok(rows.into_iter().map(|(version, checksum)| (u32::try_from(version).unwrap_or(u32::MAX), checksum)).collect())
}

/// One process at a time, and none waits for a table longer than the lock timeout: who is in the way is told by the error.
async fn migrate(db: &Db, line: &Line) -> Result<(), Error> {
    if line.postgres.is_empty() {
        return Err(Error::NoMigrations { line: line.name });
    }
    let mut tx = db.begin().await?;
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('steadfast_migration', 0))").execute(&mut *tx).await?;
    // Only where it is missing: to create it takes a right that a service's role does not need afterwards.
    let there: bool =
        sqlx::query_scalar("select to_regclass('steadfast_migration') is not null").fetch_one(&mut *tx).await?;
    if !there {
        sqlx::query(TABLE).execute(&mut *tx).await?;
    }
    let done = recorded(&mut *tx, line).await?;
    for (migration, checksum) in compare(db.name(), line.name, line.postgres, &done)? {
        sqlx::raw_sql(migration.sql).execute(&mut *tx).await?;
        sqlx::query("insert into steadfast_migration (line, version, name, checksum) values ($1, $2, $3, $4)")
            .bind(line.name)
            .bind(i32::try_from(migration.version).unwrap_or(i32::MAX))
            .bind(migration.name)
            .bind(checksum)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}
