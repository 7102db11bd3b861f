//! Record and effect in one commit, on both databases.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::http::{HeaderValue, StatusCode, header};
use axum::routing::post as route;
use axum::{Extension, Router};
use futures_util::future::BoxFuture;
use sqlx::Transaction;
use steadfast_core::{Classified, ErrorKind};
use steadfast_db::Db;
use steadfast_idempotency::{
    Answer, Backend, Error, Fingerprint, IdempotencyKey, Keyed, Outcome, Policy, Scope, Sqlite, Store, Transactional,
    TransactionalLayer, run,
};
use steadfast_testkit::SeededClock;

use crate::support::{Answered, Counts, LIMIT, authenticated, clock, database, post, request, send};

/// A database with payments beside the records.
trait Till: Backend {
    fn insert(
        tx: &mut Transaction<'static, Self::Sql>,
        what: String,
    ) -> impl Future<Output = Result<i64, Error>> + Send;

    async fn count(&self, table: &str) -> i64;
}

impl Till for Db {
    async fn insert(tx: &mut Transaction<'static, sqlx::Sqlite>, what: String) -> Result<i64, Error> {
        let query = sqlx::query("insert into payment (what) values (?)").bind(what).execute(&mut **tx);
        Ok(query.await.map_err(steadfast_db::Error::from)?.last_insert_rowid())
    }

    async fn count(&self, table: &str) -> i64 {
        let query = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        sqlx::query_scalar(query).fetch_one(self.readers()).await.unwrap()
    }
}

#[cfg(feature = "postgres")]
impl Till for steadfast_db::postgres::Db {
    async fn insert(tx: &mut Transaction<'static, sqlx::Postgres>, what: String) -> Result<i64, Error> {
        let query = sqlx::query_scalar("insert into payment (what) values ($1) returning id").bind(what);
        Ok(query.fetch_one(&mut **tx).await.map_err(steadfast_db::Error::from)?)
    }

    async fn count(&self, table: &str) -> i64 {
        let query = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        sqlx::query_scalar(query).fetch_one(self.pool()).await.unwrap()
    }
}

/// A handle, another as a second process has it, and what both must not outlive.
struct Shop<D> {
    db: D,
    other: D,
    store: Box<dyn Store>,
    time: SeededClock,
    _keep: Box<dyn std::any::Any>,
}

async fn sqlite_shop() -> Shop<Db> {
    let (database, time) = (database().await, clock());
    let mut tx = database.begin().await.unwrap();
    sqlx::raw_sql("create table payment (id integer primary key, what text not null)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let (db, other) = (database.clone(), database.reopen().await);
    let store = Box::new(Sqlite::new(db.clone(), Arc::new(time.clone())));
    Shop { db, other, store, time, _keep: Box::new(database) }
}

#[cfg(feature = "postgres")]
async fn postgres_shop() -> Shop<steadfast_db::postgres::Db> {
    let (database, time) = (crate::support::postgres_database().await, clock());
    sqlx::raw_sql("create table payment (id bigint generated always as identity primary key, what text not null)")
        .execute(database.pool())
        .await
        .unwrap();
    let (db, other) = (database.clone(), database.reopen().await);
    let store = Box::new(steadfast_idempotency::Postgres::new(db.clone()));
    Shop { db, other, store, time, _keep: Box::new(database) }
}

impl<D: Till> Shop<D> {
    fn policy(&self) -> Policy {
        Policy::new(Arc::new(self.time.clone()))
    }

    async fn payments(&self) -> i64 {
        self.db.count("payment").await
    }

    async fn records(&self) -> i64 {
        self.db.count("idempotency_record").await
    }
}

/// Each test once on every database.
macro_rules! on_each {
    ($($(#[$attribute:meta])* async fn $name:ident;)*) => {
        mod sqlite {
            $($(#[$attribute])* async fn $name() { super::$name(super::sqlite_shop().await).await; })*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $($(#[$attribute])* async fn $name() { super::$name(super::postgres_shop().await).await; })*
        }
    };
}

fn keyed(key: &str, body: &str) -> Keyed {
    let key = IdempotencyKey::new(key).unwrap();
    Keyed::new(&Scope::new("payment.charge"), "u", &key, Fingerprint::of_data(body.as_bytes()))
}

/// Pays, then ends as `how` says.
fn pay<'t, D: Till>(tx: &'t mut Transaction<'static, D::Sql>, how: &str) -> BoxFuture<'t, Result<Answer, Error>> {
    let how = how.to_owned();
    Box::pin(async move {
        let id = D::insert(tx, how.clone()).await?;
        assert_ne!(how, "panic", "as the test wants it");
        let answer = Answer::new(StatusCode::CREATED).with_body(format!("payment {id}"));
        match how.as_str() {
            "error" => Err(Error::Closed),
            "refused" => Err(Error::Randomness),
            "500" => Ok(Answer::new(StatusCode::INTERNAL_SERVER_ERROR)),
            "not-final" => Ok(Answer::new(StatusCode::CONFLICT).not_final()),
            "422" => Ok(Answer::new(StatusCode::UNPROCESSABLE_ENTITY)),
            "located" => Ok(answer
                .with_header(header::LOCATION, HeaderValue::from_static("/payments/1"))
                .with_header(header::SET_COOKIE, HeaderValue::from_static("secret"))),
            _ => Ok(answer),
        }
    })
}

async fn charge<D: Till>(db: &D, policy: &Policy, key: &str, how: &'static str) -> Result<Outcome, Error> {
    run(db, &keyed(key, how), policy, |tx| pay::<D>(tx, how)).await
}

on_each! {
    #[tokio::test]
    async fn without_http_executed_once_replayed_refused_and_new_after_its_time;
    #[tokio::test]
    async fn a_rollback_is_known_not_to_have_executed;
    #[tokio::test]
    async fn what_can_be_tried_again_is_and_what_cannot_is_not;
    #[tokio::test]
    async fn under_http_the_same_protocol;
    #[tokio::test]
    async fn a_crash_before_the_commit_runs_again_and_a_crash_after_it_cannot_lose_the_answer;
    #[tokio::test]
    async fn an_answer_above_the_limit_is_a_tombstone;
    #[tokio::test]
    async fn the_end_of_a_login_concerns_this_form_as_well;
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_a_thousand_identical_at_once_one_executes;
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_processes_with_the_same_key_execute_once;
}

async fn without_http_executed_once_replayed_refused_and_new_after_its_time<D: Till>(shop: Shop<D>) {
    let (db, time) = (&shop.db, &shop.time);
    let policy = shop.policy();
    let first = charge(db, &policy, "k", "located").await.unwrap();
    let Outcome::Executed(answer) = first else { panic!("{first:?}") };
    assert_eq!(answer.headers.len(), 2);
    let again = charge(db, &policy, "k", "located").await.unwrap();
    let Outcome::Replayed(stored) = again else { panic!("{again:?}") };
    assert_eq!(stored.body.as_deref(), Some(&b"payment 1"[..]));
    assert_eq!(stored.headers, [(header::LOCATION, HeaderValue::from_static("/payments/1"))]);
    assert_eq!(charge(db, &policy, "k", "other").await.unwrap(), Outcome::Mismatch);
    assert_eq!((shop.payments().await, shop.records().await), (1, 1));
    time.advance(Duration::from_hours(24));
    assert!(matches!(charge(db, &policy, "k", "other").await.unwrap(), Outcome::Executed(_)));
    assert_eq!((shop.payments().await, shop.records().await), (2, 1));
}

async fn a_rollback_is_known_not_to_have_executed<D: Till>(shop: Shop<D>) {
    let db = &shop.db;
    let policy = shop.policy().retry(steadfast_db::tx::Policy { attempts: 1, ..Default::default() });
    assert_eq!(charge(db, &policy, "error", "error").await.unwrap_err().kind(), ErrorKind::Transient);
    for how in ["500", "not-final"] {
        assert!(matches!(charge(db, &policy, how, how).await.unwrap(), Outcome::Executed(_)));
        assert!(matches!(charge(db, &policy, how, how).await.unwrap(), Outcome::Executed(_)), "and again");
    }
    assert_eq!((shop.payments().await, shop.records().await), (0, 0));
    assert!(matches!(charge(db, &policy, "422", "422").await.unwrap(), Outcome::Executed(_)));
    assert!(matches!(charge(db, &policy, "422", "422").await.unwrap(), Outcome::Replayed(_)));
}

async fn what_can_be_tried_again_is_and_what_cannot_is_not<D: Till>(shop: Shop<D>) {
    let db = &shop.db;
    let policy = shop.policy();
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let outcome = run(db, &keyed("k", "x"), &policy, |tx| {
        let nth = counted.fetch_add(1, Ordering::SeqCst);
        pay::<D>(tx, if nth < 2 { "error" } else { "x" })
    })
    .await
    .unwrap();
    assert!(matches!(outcome, Outcome::Executed(_)));
    assert_eq!((tries.load(Ordering::SeqCst), shop.payments().await), (3, 1));

    let other = keyed("l", "x");
    let refused = run(db, &other, &policy, |_| {
        tries.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err::<Answer, _>(Error::from(steadfast_idempotency::KeyError::Empty)) })
    });
    assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(tries.load(Ordering::SeqCst), 4);
}

fn app<D: Till>(
    db: &D,
    time: &SeededClock,
    set: impl FnOnce(TransactionalLayer<D>) -> TransactionalLayer<D>,
) -> (Router, Arc<AtomicU32>) {
    let layer = TransactionalLayer::new(db.clone(), Arc::new(time.clone()), Scope::new("POST /orders"));
    // A crowd of tests on two cores is no reason to fail.
    let layer = set(layer).limit(LIMIT).retry(steadfast_db::tx::Policy { attempts: 1, ..Default::default() });
    let reached = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&reached);
    let handler = async move |Extension(transactional): Extension<Transactional<D>>, body: String| {
        counter.fetch_add(1, Ordering::SeqCst);
        transactional.run(|tx| pay::<D>(tx, &body)).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    };
    (authenticated(Router::new().route("/orders", route(handler)).layer(layer)), reached)
}

async fn under_http_the_same_protocol<D: Till>(shop: Shop<D>) {
    let (db, time) = (&shop.db, &shop.time);
    let counts = Counts::default();
    let (app, reached) = counts.during(|| app(db, time, |layer| layer.answer_limit(64)));
    let first = post(&app, "k", "x").await;
    let again = post(&app, "k", "x").await;
    assert_eq!((first.status, &*first.body, first.replayed()), (StatusCode::CREATED, "payment 1", false));
    assert_eq!((again.status, &*again.body, again.replayed()), (StatusCode::CREATED, "payment 1", true));
    assert_eq!(reached.load(Ordering::SeqCst), 1, "a replay does not reach the handler");
    assert_eq!(post(&app, "k", "y").await.problem(), "idempotency-mismatch");
    assert_eq!(post(&app, "", "y").await.problem(), "idempotency-key-invalid");
    let stranger = send(&app, request("POST", "/orders", "v", "k", "y")).await;
    assert_eq!((stranger.status, &*stranger.body), (StatusCode::CREATED, "payment 2"));
    assert_eq!((counts.of("idempotency_checks_total"), counts.of("idempotency_hits_total")), (4, 1));
    time.advance(Duration::from_hours(24));
    assert_eq!(post(&app, "k", "y").await.body, "payment 3");
}

async fn a_crash_before_the_commit_runs_again_and_a_crash_after_it_cannot_lose_the_answer<D: Till>(shop: Shop<D>) {
    let (db, time) = (&shop.db, &shop.time);
    let (app, _) = app(db, time, |layer| layer);
    for how in ["panic", "error", "500"] {
        for _ in 0..2 {
            assert_eq!(post(&app, how, how).await.status, StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
    assert_eq!((shop.payments().await, shop.records().await), (0, 0));
    // The answer is in the commit: whoever comes after a crash finds both or neither.
    post(&app, "k", "x").await;
    let other = &shop.other;
    assert_eq!((other.count("payment").await, other.count("idempotency_record").await), (1, 1));
}

async fn an_answer_above_the_limit_is_a_tombstone<D: Till>(shop: Shop<D>) {
    let (db, time) = (&shop.db, &shop.time);
    let (app, _) = app(db, time, |layer| layer.answer_limit(3));
    assert_eq!(post(&app, "k", "located").await.body, "payment 1");
    let gone = post(&app, "k", "located").await;
    assert_eq!((gone.problem().as_str(), gone.header("location")), ("result-unavailable", "/payments/1"));
    assert_eq!(post(&app, "k", "x").await.problem(), "idempotency-mismatch");
}

async fn the_end_of_a_login_concerns_this_form_as_well<D: Till>(shop: Shop<D>) {
    let (db, time) = (&shop.db, &shop.time);
    let (app, _) = app(db, time, |layer| layer.sensitive(|_| Some("s1".to_owned())));
    post(&app, "k", "x").await;
    assert!(post(&app, "k", "x").await.replayed());
    assert_eq!(shop.store.forget_answers("u", "s1").await.unwrap(), 1);
    assert_eq!(post(&app, "k", "x").await.problem(), "result-unavailable");
    assert_eq!(shop.payments().await, 1);
}

async fn of_a_thousand_identical_at_once_one_executes<D: Till>(shop: Shop<D>) {
    let (db, time) = (&shop.db, &shop.time);
    let (app, _) = app(db, time, |layer| layer);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let app = app.clone();
        all.spawn(async move { post(&app, "k", "x").await });
    }
    let answers: Vec<Answered> = tokio::time::timeout(LIMIT, all.join_all()).await.unwrap();
    // PostgreSQL sends away at once whoever comes while the first is at it.
    let (sent_away, answered): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::CONFLICT);
    assert!(sent_away.iter().all(|answer| answer.problem() == "in-flight" && answer.header("retry-after") == "1"));
    assert!(answered.iter().all(|answer| answer.status == StatusCode::CREATED && answer.body == "payment 1"));
    assert_eq!(answered.iter().filter(|answer| !answer.replayed()).count(), 1);
    assert_eq!(shop.payments().await, 1);
}

async fn two_processes_with_the_same_key_execute_once<D: Till>(shop: Shop<D>) {
    let db = &shop.db;
    let other = &shop.other;
    let policy = shop.policy();
    for round in 0..20 {
        let key = format!("k-{round}");
        let (one, two) = tokio::join!(charge(db, &policy, &key, "x"), charge(other, &policy, &key, "x"));
        let executed =
            [one.unwrap(), two.unwrap()].iter().filter(|outcome| matches!(outcome, Outcome::Executed(_))).count();
        assert_eq!(executed, 1);
        assert!(matches!(charge(other, &policy, &key, "x").await.unwrap(), Outcome::Replayed(_)));
    }
    assert_eq!(shop.payments().await, 20);
}
