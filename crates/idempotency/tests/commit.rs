//! PostgreSQL goes away in the middle of a COMMIT: the look-up tells what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ::http::StatusCode;
use secrecy::SecretString;
use steadfast_core::Classified;
use steadfast_core::retry::Backoff;
use steadfast_db::postgres::{Db, Options};
use steadfast_idempotency::{Answer, Error, Fingerprint, IdempotencyKey, Keyed, Outcome, Policy, Scope, run};
use steadfast_testkit::proxy::{Act, Proxy, Way, holds, once};
use steadfast_testkit::{TestPostgres, wait_for};

use crate::support::{LIMIT, clock, postgres_database};

async fn shop() -> TestPostgres {
    let db = postgres_database().await;
    sqlx::raw_sql("create table effect (id bigint generated always as identity primary key)")
        .execute(db.pool())
        .await
        .unwrap();
    db
}

fn keyed() -> Keyed {
    Keyed::new(&Scope::new("s"), "u", &IdempotencyKey::new("k").unwrap(), Fingerprint::of_data(b"1"))
}

/// Patient enough for a server that gives up a connection slowly.
fn policy(attempts: u32) -> Policy {
    let backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_millis(200) };
    let policy = Policy::new(Arc::new(clock())).limit(LIMIT);
    policy.retry(steadfast_db::tx::Policy { attempts, backoff, ..Default::default() })
}

/// Executes, and says how often the work ran.
async fn execute(db: &Db, attempts: u32) -> (Result<Outcome, Error>, u32) {
    execute_under(db, &policy(attempts)).await
}

async fn execute_under(db: &Db, policy: &Policy) -> (Result<Outcome, Error>, u32) {
    let runs = AtomicU32::new(0);
    let outcome = run(db, &keyed(), policy, |tx| {
        let nth = runs.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move {
            let insert = sqlx::query("insert into effect default values").execute(&mut **tx).await;
            insert.map_err(steadfast_db::Error::from)?;
            Ok(Answer::new(StatusCode::CREATED).with_body(format!("run {nth}")))
        })
    })
    .await;
    (outcome, runs.into_inner())
}

async fn effects(db: &Db) -> i64 {
    sqlx::query_scalar("select count(*) from effect").fetch_one(db.pool()).await.unwrap()
}

/// The same database, through a proxy.
async fn through(db: &TestPostgres, judge: impl Fn(Way, &[u8]) -> Act + Send + Sync + 'static) -> (Proxy, Db) {
    let address = db.name().split('/').next().unwrap().parse().unwrap();
    let proxy = Proxy::new(address, judge);
    let url = db.url().replace(&format!("{address}"), &format!("127.0.0.1:{}", proxy.port));
    let db = Db::open(&SecretString::from(url), Options::default()).await.unwrap();
    (proxy, db)
}

fn executed(body: &str) -> Outcome {
    Outcome::Executed(Answer::new(StatusCode::CREATED).with_body(body.to_owned()))
}

#[tokio::test]
async fn a_commit_whose_reply_was_lost_is_found_and_not_repeated() {
    let db = shop().await;
    let (_proxy, cut) = through(&db, once(|way, bytes| way == Way::ToClient && holds(bytes, b"COMMIT\0"))).await;
    let (outcome, runs) = execute(&cut, 8).await;
    assert_eq!((outcome.unwrap(), runs), (executed("run 1"), 1));
    assert_eq!(effects(&db).await, 1);
    assert!(matches!(execute(&db, 8).await.0.unwrap(), Outcome::Replayed(_)));
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_made_again() {
    let db = shop().await;
    let (_proxy, cut) = through(&db, once(|way, bytes| way == Way::ToServer && holds(bytes, b"COMMIT\0"))).await;
    let (outcome, runs) = execute(&cut, 8).await;
    assert_eq!((outcome.unwrap(), runs), (executed("run 2"), 2));
    assert_eq!(effects(&db).await, 1);
}

#[tokio::test]
async fn a_server_that_stays_away_after_the_commit_is_a_doubt_that_the_next_request_resolves() {
    let db = shop().await;
    let gone = AtomicBool::new(false);
    let (_proxy, cut) = through(&db, move |way, bytes| {
        let lost = way == Way::ToClient && holds(bytes, b"COMMIT\0");
        if lost || gone.load(Ordering::SeqCst) {
            gone.store(true, Ordering::SeqCst);
            return Act::Cut;
        }
        Act::Pass
    })
    .await;
    let (outcome, runs) = execute(&cut, 2).await;
    let error = outcome.unwrap_err();
    let Error::Db(cause) = &error else { panic!("{error:?}") };
    assert!(matches!(**cause, steadfast_db::Error::CommitUnknown(_)), "{error:?}");
    assert!(matches!(execute(&db, 8).await.0.unwrap(), Outcome::Replayed(_)));
    assert_eq!((effects(&db).await, runs), (1, 1));
}

#[tokio::test]
async fn a_server_that_falls_silent_keeps_nobody_longer_than_a_second_and_the_key_may_ask_again() {
    for (way, word, committed) in [
        (Way::ToServer, &b"BEGIN"[..], false),
        (Way::ToServer, b"pg_try_advisory_xact_lock", false),
        (Way::ToServer, b"insert into idempotency_record", false),
        (Way::ToServer, b"COMMIT", false),
        (Way::ToClient, b"COMMIT\0", true),
    ] {
        let db = shop().await;
        let silent = AtomicBool::new(false);
        let (proxy, held) = through(&db, move |to, bytes| {
            if to == way && holds(bytes, word) {
                silent.store(true, Ordering::SeqCst);
            }
            if silent.load(Ordering::SeqCst) { Act::Hold } else { Act::Pass }
        })
        .await;
        let word = String::from_utf8_lossy(word);
        let begun = tokio::time::Instant::now();
        let (outcome, _) = execute_under(&held, &Policy::new(Arc::new(clock()))).await;
        let took = begun.elapsed();
        let error = outcome.unwrap_err();
        assert!(error.kind().is_retriable(), "{word}: {error}");
        assert!(took < Duration::from_millis(1_500), "{word}: within a second, on a busy machine: {took:?}");
        // The server notices that the connection has gone, and lets go of the lock.
        drop(proxy);
        wait_for("the lock", LIMIT, || async {
            let outcome = execute(&db, 8).await.0.unwrap();
            matches!(&outcome, Outcome::Replayed(_)) || !committed && matches!(&outcome, Outcome::Executed(_))
        })
        .await;
        assert_eq!(effects(&db).await, 1, "{word}");
    }
}

#[tokio::test]
async fn work_that_gave_up_on_a_silent_server_is_not_waited_for_as_long_again() {
    let db = shop().await;
    let silent = AtomicBool::new(false);
    let (_proxy, held) = through(&db, move |to, bytes| {
        if to == Way::ToServer && holds(bytes, b"insert into effect") {
            silent.store(true, Ordering::SeqCst);
        }
        if silent.load(Ordering::SeqCst) { Act::Hold } else { Act::Pass }
    })
    .await;
    let begun = tokio::time::Instant::now();
    let outcome: Result<Outcome, Error> = run(&held, &keyed(), &Policy::new(Arc::new(clock())), |tx| {
        Box::pin(async move {
            let insert = sqlx::query("insert into effect default values").execute(&mut **tx);
            let written = tokio::time::timeout(Duration::from_secs(1), insert).await;
            written.map_err(|_| Error::TimedOut)?.map_err(steadfast_db::Error::from)?;
            Ok(Answer::new(StatusCode::CREATED))
        })
    })
    .await;
    let took = begun.elapsed();
    assert!(matches!(outcome, Err(Error::TimedOut)), "{outcome:?}");
    assert!(took < Duration::from_millis(1_500), "a second of its own, and no second one: {took:?}");
}

#[tokio::test]
async fn a_backend_that_is_terminated_in_its_commit_has_not_committed_and_is_run_again() {
    let db = shop().await;
    // The first commit waits inside the server until it is found there.
    sqlx::raw_sql(
        "create table gate (open boolean not null);
        insert into gate values (false);
        create function wait_at_commit() returns trigger language plpgsql as $$
        begin
            if not (select open from gate) then perform pg_sleep(30); end if;
            return null;
        end $$;
        create constraint trigger wait_at_commit after insert on effect deferrable initially deferred
            for each row execute function wait_at_commit();",
    )
    .execute(db.pool())
    .await
    .unwrap();
    let victim = db.reopen().await;
    let terminate = async {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and query = 'COMMIT' and wait_event = 'PgSleep'";
        wait_for("the commit", LIMIT, || async {
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(db.pool()).await.unwrap() == 1
        })
        .await;
        sqlx::raw_sql("update gate set open = true").execute(db.pool()).await.unwrap();
        let ended: bool = sqlx::query_scalar(
            "select bool_and(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and wait_event = 'PgSleep'",
        )
        .fetch_one(db.pool())
        .await
        .unwrap();
        assert!(ended);
    };
    let ((outcome, runs), ()) = tokio::join!(execute(&victim, 8), terminate);
    assert_eq!((outcome.unwrap(), runs), (executed("run 2"), 2));
    assert_eq!(effects(&db).await, 1);
}

#[tokio::test]
async fn a_second_request_is_sent_away_while_the_first_has_not_committed() {
    let db = shop().await;
    let other = db.reopen().await;
    let policy = policy(8);
    let gate = Arc::new((tokio::sync::Semaphore::new(0), tokio::sync::Semaphore::new(0)));
    let (inside, (entered, leave)) = (Arc::clone(&gate), &*gate);
    let keyed = keyed();
    let first = run(&*db, &keyed, &policy, |_| {
        let gate = Arc::clone(&inside);
        Box::pin(async move {
            gate.0.add_permits(1);
            gate.1.acquire().await.unwrap().forget();
            Ok::<_, Error>(Answer::new(StatusCode::CREATED))
        })
    });
    let second = async {
        entered.acquire().await.unwrap().forget();
        let (outcome, runs) = execute(&other, 8).await;
        assert_eq!((outcome.unwrap(), runs), (Outcome::InFlight, 0), "at once, and without waiting");
        leave.add_permits(1);
    };
    let (first, ()) = tokio::join!(first, second);
    assert!(matches!(first.unwrap(), Outcome::Executed(_)));
    assert!(matches!(execute(&other, 8).await.0.unwrap(), Outcome::Replayed(_)));
}
