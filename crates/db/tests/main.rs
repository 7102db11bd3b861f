//! The SQL ground on a real SQLite.

mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, ErrorKind};
use steadfast_db::sqlite::Options;
use steadfast_db::{Db, Error, Line, Migration, migrate, tx};
use steadfast_testkit::database;

const ONE: Migration = Migration {
    version: 1,
    name: "first",
    sql: "create table a (id integer primary key, n integer not null check (n >= 0)); create table b (id integer);",
};
const TWO: Migration = Migration { version: 2, name: "second", sql: "alter table a add column note text" };

const BAD: Migration = Migration { version: 2, name: "bad", sql: "create table d (id integer); nonsense" };
const CHANGED: Migration = Migration { version: 1, name: "first", sql: "create table a (id integer)" };

const fn line(name: &'static str, sqlite: &'static [Migration]) -> Line {
    Line { name, sqlite, postgres: &[] }
}

#[tokio::test]
async fn migrations_run_once_and_in_order() {
    let db = database().await;
    migrate(&*db, &line("shop", &[ONE])).await.unwrap();
    migrate(&*db, &line("shop", &[ONE, TWO])).await.unwrap();
    migrate(&*db, &line("shop", &[ONE, TWO])).await.unwrap();
    migrate(&*db, &line("other", &[Migration { version: 1, name: "x", sql: "create table c (id integer)" }]))
        .await
        .unwrap();
    let rows: i64 =
        sqlx::query_scalar("select count(*) from steadfast_migration").fetch_one(db.readers()).await.unwrap();
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn a_newer_or_changed_database_is_refused_and_left_alone() {
    let db = database().await;
    migrate(&*db, &line("shop", &[ONE, TWO])).await.unwrap();
    let newer = migrate(&*db, &line("shop", &[ONE])).await.unwrap_err();
    assert!(matches!(newer, Error::Newer { found: 2, known: 1, .. }), "{newer}");
    let error = migrate(&*db, &line("shop", &[CHANGED, TWO])).await.unwrap_err();
    assert!(matches!(error, Error::MigrationChanged { version: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing() {
    let db = database().await;
    assert!(migrate(&*db, &line("shop", &[ONE, BAD])).await.is_err());
    let tables: i64 = sqlx::query_scalar("select count(*) from sqlite_schema where type = 'table'")
        .fetch_one(db.readers())
        .await
        .unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn commits_are_flushed_and_readers_cannot_write() {
    let db = database().await;
    let mut tx = db.begin().await.unwrap();
    let full: i64 = sqlx::query_scalar("pragma synchronous").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(full, 2);
    let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(mode, "wal");
    drop(tx);
    assert!(sqlx::query("create table x (id integer)").execute(db.readers()).await.is_err());
}

#[tokio::test]
async fn a_retriable_error_runs_the_whole_transaction_again() {
    let db = database().await;
    migrate(&*db, &line("shop", &[ONE])).await.unwrap();
    let attempts = Arc::new(AtomicU32::new(0));
    let backoff = Backoff { base: Duration::from_micros(1), cap: Duration::from_micros(1) };
    let policy = tx::Policy { attempts: 3, backoff, ..tx::Policy::default() };
    let counted = Arc::clone(&attempts);
    let error = tx::run(&*db, &policy, move |tx| {
        let attempts = Arc::clone(&counted);
        Box::pin(async move {
            attempts.fetch_add(1, Ordering::SeqCst);
            sqlx::query("insert into a (id, n) values (1, 1)").execute(&mut **tx).await?;
            sqlx::query("insert into a (id, n) values (1, 2)").execute(&mut **tx).await?;
            Ok::<_, Error>(())
        })
    })
    .await
    .unwrap_err();
    assert!(error.is_unique_violation());
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    let rows: i64 = sqlx::query_scalar("select count(*) from a").fetch_one(db.readers()).await.unwrap();
    assert_eq!(rows, 0, "a failed attempt leaves nothing");
}

#[tokio::test]
async fn a_storm_of_conflicts_is_not_fed_by_its_own_retries() {
    static STORM: tx::Budget = tx::Budget::new();
    static CALM: tx::Budget = tx::Budget::new();
    let db = database().await;
    migrate(&*db, &line("shop", &[ONE])).await.unwrap();
    let fails = async |budget: &'static tx::Budget| {
        let attempts = Arc::new(AtomicU32::new(0));
        let backoff = Backoff { base: Duration::from_micros(1), cap: Duration::from_micros(1) };
        let policy = tx::Policy { attempts: 8, backoff, budget };
        let counted = Arc::clone(&attempts);
        let done = tx::run(&*db, &policy, move |tx| {
            let attempts = Arc::clone(&counted);
            Box::pin(async move {
                attempts.fetch_add(1, Ordering::SeqCst);
                sqlx::query("insert into a (id, n) values (1, 1), (1, 2)").execute(&mut **tx).await?;
                Ok::<_, Error>(())
            })
        });
        assert_eq!(done.await.unwrap_err().kind(), ErrorKind::Conflict);
        attempts.load(Ordering::SeqCst)
    };
    assert_eq!(fails(&STORM).await, 8, "one that fails is tried as often as it may be");
    let mut attempts = 0;
    for _ in 0..100 {
        attempts += fails(&STORM).await;
    }
    // A hundred at first, a tenth of a hundred, a few by the time that passes.
    assert!((200..260).contains(&attempts), "{attempts} attempts at 100 transactions that all fail, and not 800");
    assert_eq!(fails(&CALM).await, 8, "another budget is not concerned");
}

#[tokio::test]
async fn a_lock_held_by_another_process_is_transient() {
    let db = database().await;
    let other =
        Db::open(db.path(), Options { busy_timeout: Duration::from_millis(20), ..Options::default() }).await.unwrap();
    let held = db.begin().await.unwrap();
    let error = other.begin().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    drop(held);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.sqlite");
    std::fs::write(&path, "these are not the pages you are looking for, and there are more than sixteen of them")
        .unwrap();
    let error = Db::open(&path, Options::default()).await.unwrap_err();
    assert!(error.to_string().contains("notes.sqlite"), "{error}");
}
