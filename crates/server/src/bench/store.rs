//! A database of its own for a measurement: a file in a temporary folder, or a database on a PostgreSQL server, which is
//! dropped at the end.

#[cfg(feature = "postgres")]
use anyhow::Context;
use anyhow::Result;
use bytes::Bytes;
use steadfast_core::Timestamp;
use steadfast_db::{Db, migrate, sqlite};
use steadfast_saga::barrier::{self, Answer, Route};
use steadfast_saga::participant::call::Call;

/// Where a participant commits.
#[derive(Clone, Debug)]
pub(super) enum Store {
    Sqlite(Db),
    #[cfg(feature = "postgres")]
    Postgres(steadfast_db::postgres::Db),
}

const EFFECT: &str = "create table effect (saga text not null, step text not null)";
const INSERT: &str = "insert into effect (saga, step) values ($1, $2)";

impl Store {
    /// Makes the tables of a participant.
    pub(super) async fn prepare(&self) -> Result<()> {
        match self {
            Self::Sqlite(db) => {
                migrate(db, &barrier::LINE).await?;
                let mut tx = db.begin().await?;
                sqlx::query(EFFECT).execute(&mut *tx).await?;
                tx.commit().await?;
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(db) => {
                migrate(db, &barrier::LINE).await?;
                sqlx::query(EFFECT).execute(db.pool()).await?;
            }
        }
        Ok(())
    }

    /// One step: barrier row, effect and answer in one commit.
    pub(super) async fn guarded(
        &self,
        call: &Call,
        route: Route,
        body: &Bytes,
        now: Timestamp,
        answer: Answer,
    ) -> Result<Answer, steadfast_saga::Error> {
        let (saga, step) = (call.key.saga.to_string(), call.key.step.clone());
        match self {
            Self::Sqlite(db) => {
                barrier::run(db, call, route, body, now, |tx| {
                    let (saga, step, answer) = (saga.clone(), step.clone(), answer.clone());
                    Box::pin(async move {
                        let insert = sqlx::query(INSERT).bind(saga).bind(step);
                        insert.execute(&mut **tx).await.map_err(steadfast_db::Error::from)?;
                        Ok(answer)
                    })
                })
                .await
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(db) => {
                barrier::run(db, call, route, body, now, |tx| {
                    let (saga, step, answer) = (saga.clone(), step.clone(), answer.clone());
                    Box::pin(async move {
                        let insert = sqlx::query(INSERT).bind(saga).bind(step);
                        insert.execute(&mut **tx).await.map_err(steadfast_db::Error::from)?;
                        Ok(answer)
                    })
                })
                .await
            }
        }
    }
}

/// A file of its own.
pub(super) async fn sqlite(folder: &tempfile::TempDir, name: &str) -> Result<Db> {
    Ok(Db::open(&folder.path().join(name), sqlite::Options::default()).await?)
}

/// A database of its own on a PostgreSQL server.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) db: steadfast_db::postgres::Db,
    server: steadfast_db::postgres::Db,
    /// The server's URL without a database.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "only what goes to Kafka is copied"))]
    base: String,
    name: String,
}

#[cfg(feature = "postgres")]
impl Scratch {
    /// `server` is the URL of a server, with or without a database.
    pub(super) async fn create(server: &str) -> Result<Self> {
        use steadfast_db::postgres::{Db as Postgres, Options};

        let base = server.trim_end_matches('/');
        // A database in the URL is not touched; the new one takes its place.
        let base =
            match base.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| base.len() - rest.len() + at)) {
                Some(at) => &base[..at],
                None => base,
            };
        let options = Options { connections: 2, ..Options::default() };
        let server = Postgres::open(&format!("{base}/postgres").into(), options).await.context("--postgres")?;
        Self::make(server, base.to_owned(), None).await
    }

    /// A database with the same content as this one, which must have been closed.
    #[cfg(feature = "kafka")]
    pub(super) async fn copy(&self) -> Result<Self> {
        let copy = Self::make(self.server.clone(), self.base.clone(), Some(&self.name)).await?;
        // What the copy has written must not be flushed while something is measured; not every role may ask for it.
        sqlx::query("checkpoint").execute(copy.db.pool()).await.ok();
        Ok(copy)
    }

    async fn make(server: steadfast_db::postgres::Db, base: String, template: Option<&str>) -> Result<Self> {
        use steadfast_db::postgres::{Db as Postgres, Options};

        let name = format!("steadfast_bench_{}_{:016x}", std::process::id(), fastrand::u64(..));
        let template = template.map_or_else(String::new, |template| format!(" template {template}"));
        let create = format!("create database {name}{template}");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(server.pool()).await.context("--postgres")?;
        let options = Options { connections: 32, ..Options::default() };
        let db = Postgres::open(&format!("{base}/{name}").into(), options).await?;
        Ok(Self { db, server, base, name })
    }

    /// Drops the database, with whoever is connected to it.
    pub(super) async fn drop(self) -> Result<()> {
        // Whoever is still at work after a failure is cut off below.
        tokio::time::timeout(std::time::Duration::from_secs(1), self.db.close()).await.ok();
        let drop = format!("drop database {} with (force)", self.name);
        sqlx::query(sqlx::AssertSqlSafe(drop)).execute(self.server.pool()).await?;
        Ok(())
    }

    /// How far the server's log has been written, in bytes.
    pub(super) async fn wal(&self) -> Result<f64> {
        let sql = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
        Ok(sqlx::query_scalar(sql).fetch_one(self.db.pool()).await?)
    }

    /// How many transactions that wrote have begun on the server.
    pub(super) async fn writes(&self) -> Result<f64> {
        let sql = "select pg_snapshot_xmax(pg_current_snapshot())::text::float8";
        Ok(sqlx::query_scalar(sql).fetch_one(self.db.pool()).await?)
    }

    /// The process that all of the server's processes descend from, where it is on this machine.
    pub(super) async fn postmaster(&self) -> Option<u32> {
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(self.db.pool()).await.ok()?;
        super::usage::parent(u32::try_from(backend).ok()?, "postgres")
    }
}
