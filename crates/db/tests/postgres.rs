//! The same ground on a real PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use sqlx::Connection as _;
use steadfast_core::{Classified, Clock, ErrorKind, Timestamp};
use steadfast_db::postgres::{Db, Options};
use steadfast_db::{Error, Followed, Line, Migration, migrate, tx};
use steadfast_testkit::proxy::{Act, Proxy, Way, holds};
use steadfast_testkit::{postgres, postgres_url};
use tokio::time::Instant;

const ONE: Migration = Migration {
    version: 1,
    name: "first",
    sql: "create table a (id int primary key, n int not null check (n >= 0)); create table b (id int);",
};
const TWO: Migration = Migration { version: 2, name: "second", sql: "alter table a add column note text" };
const BAD: Migration = Migration { version: 2, name: "bad", sql: "create table d (id int); nonsense" };
const CHANGED: Migration = Migration { version: 1, name: "first", sql: "create table a (id int)" };

const fn line(postgres: &'static [Migration]) -> Line {
    Line { name: "shop", sqlite: &[], postgres }
}

fn secret(url: &str) -> SecretString {
    SecretString::from(url.to_owned())
}

#[tokio::test]
async fn migrations_run_once_by_however_many() {
    let db = postgres().await;
    let (left, right) = (db.reopen().await, db.reopen().await);
    let newest = line(&[ONE, TWO]);
    let both = tokio::join!(migrate(&left, &newest), migrate(&right, &newest));
    both.0.unwrap();
    both.1.unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from steadfast_migration").fetch_one(db.pool()).await.unwrap();
    assert_eq!(rows, 2);
    let newer = migrate(&*db, &line(&[ONE])).await.unwrap_err();
    assert!(matches!(newer, Error::Newer { found: 2, known: 1, .. }), "{newer}");
    let changed = migrate(&*db, &line(&[CHANGED, TWO])).await.unwrap_err();
    assert!(matches!(changed, Error::MigrationChanged { version: 1, .. }), "{changed}");
}

/// The clock of a machine that stands at the beginning of time.
#[derive(Debug)]
struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
}

#[tokio::test]
async fn a_clock_is_set_by_the_servers() {
    let db = postgres().await;
    let clock = Followed::new(Arc::new(Epoch));
    assert_eq!(clock.now(), Timestamp::default());
    let before = db.time().await.unwrap();
    clock.set_by(&db).await.unwrap();
    let (shown, after) = (clock.now(), db.time().await.unwrap());
    // Each reading is right to half of what its question took.
    let slack = Duration::from_secs(1);
    assert!((before - slack..=after + slack).contains(&shown), "{before} {shown} {after}");
}

#[tokio::test]
async fn tables_that_a_later_program_has_migrated_are_told_apart_from_those_that_say_nothing() {
    let db = postgres().await;
    db.knows(&line(&[ONE])).await.unwrap();
    migrate(&*db, &line(&[ONE, TWO])).await.unwrap();
    db.knows(&line(&[ONE, TWO])).await.unwrap();
    let newer = db.knows(&line(&[ONE])).await.unwrap_err();
    assert!(newer.to_string().contains("(shop 2, this program knows 1): use that version"), "{newer}");
    assert_eq!(newer.kind(), ErrorKind::Invalid);
    // Older ones are made newer by who migrates.
    sqlx::query("delete from steadfast_migration where version = 2").execute(db.pool()).await.unwrap();
    db.knows(&line(&[ONE, TWO])).await.unwrap();
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing() {
    let db = postgres().await;
    assert!(migrate(&*db, &line(&[ONE, BAD])).await.is_err());
    let tables: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn a_transaction_that_meets_a_conflict_runs_again() {
    let db = postgres().await;
    migrate(&*db, &line(&[ONE])).await.unwrap();
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    tx::run(&*db, &tx::Policy::default(), move |tx| {
        let counted = Arc::clone(&counted);
        Box::pin(async move {
            sqlx::query("insert into a values (1, 1)").execute(&mut **tx).await?;
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                // Takes its own key a second time: everything is rolled back.
                sqlx::query("insert into a values (1, 2)").execute(&mut **tx).await?;
            }
            Ok::<_, Error>(())
        })
    })
    .await
    .unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    let n: i32 = sqlx::query_scalar("select n from a").fetch_one(db.pool()).await.unwrap();
    assert_eq!(n, 1);
}

#[tokio::test]
async fn work_that_failed_has_let_go_of_its_locks_before_the_caller_hears_of_it() {
    let db = postgres().await;
    // Two connections that are open already: the next caller has another one at once.
    drop(tokio::try_join!(db.begin(), db.begin()).unwrap());
    for attempt in 0..50 {
        let failed = tx::run(&*db, &tx::Policy::default(), |tx| {
            Box::pin(async move {
                sqlx::query("select pg_advisory_xact_lock(7)").execute(&mut **tx).await?;
                Err::<(), _>(Error::NoMigrations { line: "none" })
            })
        })
        .await;
        assert!(failed.is_err());
        let free: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock(7)").fetch_one(db.pool()).await.unwrap();
        assert!(free, "attempt {attempt}");
    }
}

/// It takes a second, since that is what it is about.
#[tokio::test]
async fn the_rollback_on_a_server_that_fell_silent_is_waited_for_a_second_at_most() {
    let db = postgres().await;
    let address = db.name().split('/').next().unwrap();
    let silent = AtomicBool::new(false);
    let proxy = Proxy::new(address.parse().unwrap(), move |way, bytes| {
        if way == Way::ToServer && holds(bytes, b"falls silent") {
            silent.store(true, Ordering::SeqCst);
        }
        if silent.load(Ordering::SeqCst) { Act::Hold } else { Act::Pass }
    });
    let through = secret(&db.url().replace(address, &format!("127.0.0.1:{}", proxy.port)));
    let through = Db::open(&through, Options::default()).await.unwrap();
    let begun = Instant::now();
    let failed = tx::run(&through, &tx::Policy::default(), |tx| {
        Box::pin(async move {
            let silence = sqlx::query("select 'falls silent'").execute(&mut **tx);
            assert!(tokio::time::timeout(Duration::from_millis(50), silence).await.is_err());
            Err::<(), _>(Error::NoMigrations { line: "none" })
        })
    })
    .await;
    assert!(matches!(failed, Err(Error::NoMigrations { .. })), "what the work said, and not that nobody answers");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_tried_again() {
    let db = postgres().await;
    migrate(&*db, &line(&[ONE])).await.unwrap();
    let other = db.reopen().await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let error = tx::run(&*db, &tx::Policy::default(), move |tx| {
        let (other, counted) = (other.clone(), Arc::clone(&counted));
        Box::pin(async move {
            counted.fetch_add(1, Ordering::SeqCst);
            let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut **tx).await?;
            sqlx::query("insert into a values (1, 1)").execute(&mut **tx).await?;
            sqlx::query("select pg_terminate_backend($1, 5000)").bind(pid).execute(other.pool()).await?;
            Ok::<_, Error>(())
        })
    })
    .await
    .unwrap_err();
    assert!(matches!(error, Error::CommitUnknown(_)), "{error:?}");
    assert_eq!(tries.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn kinds_say_what_can_be_done() {
    let db = postgres().await;
    migrate(&*db, &line(&[ONE])).await.unwrap();
    sqlx::query("insert into a values (1, 1)").execute(db.pool()).await.unwrap();
    let kind = async |sql: &'static str| Error::from(sqlx::query(sql).execute(db.pool()).await.unwrap_err()).kind();
    assert_eq!(kind("insert into a values (1, 1)").await, ErrorKind::Conflict);
    assert_eq!(kind("insert into a values (2, -1)").await, ErrorKind::Conflict);
    assert_eq!(kind("insert into nowhere values (1)").await, ErrorKind::Bug);
    assert_eq!(kind("select pg_terminate_backend(pg_backend_pid())").await, ErrorKind::Transient);

    let mut tx = db.begin().await.unwrap();
    sqlx::query("select * from a for update").execute(&mut *tx).await.unwrap();
    let mut waiting = db.begin().await.unwrap();
    sqlx::query("set local lock_timeout = 20").execute(&mut *waiting).await.unwrap();
    let error = sqlx::query("update a set n = 2").execute(&mut *waiting).await.unwrap_err();
    assert_eq!(Error::from(error).kind(), ErrorKind::Transient);
}

#[tokio::test]
async fn a_connection_of_its_own_asserts_what_the_lane_relies_on() {
    let db = postgres().await;
    let mut connection = db.connect().await.unwrap();
    for (setting, value) in [
        ("transaction_isolation", "read committed"),
        ("plan_cache_mode", "force_generic_plan"),
        ("lock_timeout", "0"),
        ("jit", "off"),
        ("application_name", "steadfast"),
    ] {
        let found: String =
            sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, value, "{setting}");
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_worked_with_is_told_without_the_password() {
    let options = || Options { acquire_timeout: Duration::from_secs(2), ..Options::default() };
    let wrong = Db::open(&secret("mysql//nowhere:hunter2"), options()).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid);
    assert!(!format!("{wrong} {wrong:?}").contains("hunter2"), "{wrong:?}");

    let down = Db::open(&secret("postgres://me:hunter2@127.0.0.1:1/shop"), options()).await.unwrap_err();
    assert_eq!(down.kind(), ErrorKind::Transient);
    assert!(down.to_string().contains("127.0.0.1:1/shop"), "{down}");
    assert!(!format!("{down} {down:?}").contains("hunter2"), "{down:?}");

    let db = postgres().await;
    let missing = Db::open(&secret(&postgres_url("no_such_database")), options()).await.unwrap_err();
    assert!(missing.to_string().contains("no_such_database"), "{missing}");
    let url = format!("{}?options=-c%20default_transaction_read_only%3Don", db.url());
    let standby = Db::open(&secret(&url), options()).await.unwrap_err();
    assert!(matches!(standby, Error::ReadOnly { .. }), "{standby}");
    assert_eq!(standby.kind(), ErrorKind::Transient);
}

/// A second, which is how long it asks the pool before it asks the server.
#[tokio::test]
async fn a_pool_that_is_busy_is_no_reason_to_send_requests_elsewhere() {
    let db =
        Db::open(&secret(&postgres_url("postgres")), Options { connections: 1, ..Options::default() }).await.unwrap();
    let held = db.begin().await.unwrap();
    db.answers().await.unwrap();
    held.rollback().await.unwrap();
    db.answers().await.unwrap();
}
