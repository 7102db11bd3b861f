//! A PostgreSQL database for each test, on the server that `cargo xtask services up postgres` starts.

use std::env;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use steadfast_db::postgres::{Db, Options};

/// Where the tests' server is, unless `STEADFAST_TEST_POSTGRES` names another.
const SERVER: &str = "postgres://postgres@127.0.0.1:55432";

/// A database of its own, dropped with its connections when this is dropped.
#[derive(Debug)]
pub struct TestPostgres {
    db: Db,
    name: String,
}

impl TestPostgres {
    /// The database's URL: for a process that is started with it.
    pub fn url(&self) -> String {
        postgres_url(&self.name)
    }

    /// A second handle with a pool of its own: another process, as far as the server can tell.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn reopen(&self) -> Db {
        Db::open(&SecretString::from(self.url()), Options::default())
            .await
            .expect("the test's own database opens again")
    }
}

impl Deref for TestPostgres {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        let statement = format!("drop database if exists {} with (force)", self.name);
        // A runtime of its own: the test's may be ending. What is left behind goes with the server.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&postgres_url("postgres")).await.ok()?;
                sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.ok()
            })
        });
        drop(dropping.join());
    }
}

/// The URL of a database of that name on the tests' server.
pub fn postgres_url(database: &str) -> String {
    let server = env::var("STEADFAST_TEST_POSTGRES").unwrap_or_else(|_| SERVER.to_owned());
    format!("{}/{database}", server.trim_end_matches('/'))
}

/// A new, empty PostgreSQL database.
///
/// # Panics
/// When there is no server: a test that needs one fails without it.
pub async fn postgres() -> TestPostgres {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("t_{}_{count}_{:08x}", std::process::id(), fastrand::u32(..));
    let mut connection = PgConnection::connect(&postgres_url("postgres"))
        .await
        .expect("PostgreSQL answers: start it with `cargo xtask services up postgres`");
    sqlx::query(AssertSqlSafe(format!("create database {name}")))
        .execute(&mut connection)
        .await
        .expect("a new database");
    let options = Options { connections: 8, ..Options::default() };
    let db = Db::open(&SecretString::from(postgres_url(&name)), options).await.expect("a new database opens");
    TestPostgres { db, name }
}
