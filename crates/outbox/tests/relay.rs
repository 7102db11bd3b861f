//! Publishing: all of it, in order, from many sources, by hint or by looking.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use steadfast_bus::{Consumer, Error, Start, Topics};
use steadfast_core::Clock;
use steadfast_outbox::{Sink, Source, append, verify};
use steadfast_testkit::{SystemClock, wait_for};
use tokio::task::JoinSet;

use crate::support::{
    Judged, LIMIT, Running, all_marked, commit, config, delivered, event, log, number, outbox, sequences,
};

/// Writers that each bump the version of random aggregates, some of them rolling back.
async fn write_concurrently(db: &steadfast_db::Db, writers: u64, each: u64, aggregates: u64) {
    let mut tasks = JoinSet::new();
    let mut tx = db.begin().await.expect("a transaction");
    sqlx::query("create table thing (id text primary key, version integer not null)")
        .execute(&mut *tx)
        .await
        .expect("a table");
    tx.commit().await.expect("a commit");
    for writer in 0..writers {
        let db = db.clone();
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(writer);
            for _ in 0..each {
                let id = format!("o-{}", random.u64(..aggregates));
                let mut tx = db.begin().await.expect("a transaction");
                let version: i64 = sqlx::query_scalar(
                    "insert into thing (id, version) values (?, 1)
                     on conflict (id) do update set version = version + 1 returning version",
                )
                .bind(&id)
                .fetch_one(&mut *tx)
                .await
                .expect("a version");
                append(&mut tx, &event(&id, version), SystemClock.now()).await.expect("an event");
                if random.u8(..8) == 0 {
                    tx.rollback().await.expect("a rollback");
                } else {
                    tx.commit().await.expect("a commit");
                }
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregates_events_arrive_in_order_from_concurrent_writers() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    let running = Running::start(vec![Source::new("shop", db.clone())], log.clone(), config());
    write_concurrently(&db, 8, 40, 12).await;
    all_marked(&db).await;
    running.stop().await;
    let events = delivered(&log).await;
    assert_eq!(i64::try_from(events.len()).unwrap(), number(&db, "select count(*) from outbox").await);
    for (id, numbers) in sequences(&events) {
        assert_eq!(numbers, (1..=i64::try_from(numbers.len()).unwrap()).collect::<Vec<_>>(), "{id}");
    }
    assert_eq!(verify(&db).await.unwrap(), []);
}

#[tokio::test]
async fn two_sources_flow_into_one_log_and_name_themselves() {
    let (orders, payments, (log, _keep)) = (outbox().await, outbox().await, log().await);
    let sources = vec![Source::new("order", orders.clone()), Source::new("payment", payments.clone())];
    let running = Running::start(sources, log.clone(), config());
    for n in 1..=30 {
        commit(&orders, &[event("o-1", n)]).await;
        commit(&payments, &[event("p-1", n)]).await;
    }
    all_marked(&orders).await;
    all_marked(&payments).await;
    running.stop().await;
    let numbers = sequences(&delivered(&log).await);
    assert_eq!(numbers["o-1"], (1..=30).collect::<Vec<_>>());
    assert_eq!(numbers["p-1"], numbers["o-1"]);
    for delivered in log.consumer(Topics::All, Start::Beginning).poll(100, Duration::ZERO).await.unwrap() {
        let source = if delivered.record.key == "o-1" { "/order" } else { "/payment" };
        assert_eq!(delivered.record.header("ce_source"), Some(source));
        assert_eq!(delivered.topic, "order.changed.v1");
    }
}

#[tokio::test]
async fn what_another_process_writes_is_found_by_looking() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    let other = db.reopen().await;
    let running = Running::start(vec![Source::new("shop", db.clone())], log.clone(), config());
    for n in 1..=3 {
        commit(&other, &[event("o-1", n)]).await;
        all_marked(&db).await;
    }
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["o-1"], [1, 2, 3]);
}

#[tokio::test]
async fn a_hint_saves_the_wait_also_before_the_commit() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    // Without hints nothing would be found within the test's time.
    let pause = Duration::from_mins(10);
    let slow = steadfast_outbox::Config { poll_first: pause, poll_last: pause, ..config() };
    let source = Source::new("shop", db.clone());
    let hint = source.hint.clone();
    let running = Running::start(vec![source], log.clone(), slow);
    wait_for("the lane is held", LIMIT, || async { number(&db, "select epoch from outbox_lane").await == 1 }).await;
    commit(&db, &[event("o-1", 1)]).await;
    hint.notify();
    all_marked(&db).await;
    running.stop().await;

    let source = Source::new("shop", db.clone());
    let sink = Sink::with_hint(source.hint.clone());
    let running = Running::start(vec![source], log.clone(), config());
    let mut tx = db.begin().await.unwrap();
    steadfast_db::EventSink::append_many(&sink, &mut tx, &[event("o-1", 2)], SystemClock.now()).await.unwrap();
    tx.commit().await.unwrap();
    all_marked(&db).await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["o-1"], [1, 2]);
}

#[tokio::test]
async fn a_log_that_is_away_is_nobodys_fault() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    let events: Vec<_> = (1..=25).flat_map(|n| [event("a", n), event("b", n)]).collect();
    commit(&db, &events).await;
    let calls = AtomicU32::new(0);
    let away = Judged::new(&log, move |_| {
        // Away for the first hundred records and again in the middle of a batch.
        let call = calls.fetch_add(1, Ordering::SeqCst);
        if call < 100 || (113..140).contains(&call) { Err(Error::Unavailable("away".into())) } else { Ok(()) }
    });
    let running = Running::start(vec![Source::new("shop", db.clone())], away, config());
    all_marked(&db).await;
    running.stop().await;
    assert_eq!(number(&db, "select count(*) from outbox_parked").await, 0);
    let numbers = sequences(&delivered(&log).await);
    assert_eq!(numbers["a"], (1..=25).collect::<Vec<_>>());
    assert_eq!(numbers["b"], numbers["a"]);
}

#[tokio::test]
async fn an_event_that_an_operator_unmarks_is_published_again() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    commit(&db, &[event("o-1", 1), event("o-1", 2)]).await;
    let swept = steadfast_outbox::Config { sweep: Duration::from_millis(5), ..config() };
    let running = Running::start(vec![Source::new("shop", db.clone())], log.clone(), swept);
    all_marked(&db).await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("update outbox set published_at = null where sequence = 1").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    all_marked(&db).await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["o-1"], [1, 2, 1]);
}
