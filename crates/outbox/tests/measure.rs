//! Measurements, run by hand: `cargo test --release -p steadfast-outbox measure -- --ignored --nocapture --test-threads 1`.

use std::time::Duration;

use serde_json::json;
use steadfast_bus::{Consumer, Start, Topics};
use steadfast_core::{Clock, NewEvent};
use steadfast_outbox::{Config, Source, append};
use steadfast_testkit::{SystemClock, wait_for};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{LIMIT, Running, all_marked, commit, log, number, outbox};

fn sale(n: i64) -> NewEvent {
    NewEvent::new("order", format!("o-{}", n % 1_000), "order.changed.v1", json!({"text": "x".repeat(180)}))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(amount: i64, took: Duration) -> f64 {
    amount as f64 / took.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn drains_more_than_ten_thousand_events_each_second() {
    const EVENTS: i64 = 100_000;
    for sources in [1, 2] {
        let (log, _keep) = log().await;
        let mut outboxes = Vec::new();
        for _ in 0..sources {
            let db = outbox().await;
            for start in (0..EVENTS / sources).step_by(2_000) {
                commit(&db, &(start..start + 2_000).map(sale).collect::<Vec<_>>()).await;
            }
            outboxes.push(db);
        }
        let began = Instant::now();
        let from = outboxes.iter().enumerate().map(|(n, db)| Source::new(format!("s{n}"), (*db).clone()));
        let running = Running::start(from.collect(), log.clone(), Config::default());
        wait_for("all in the log", LIMIT, || async { log.end().await.expect("an end") == EVENTS }).await;
        let published = began.elapsed();
        for db in &outboxes {
            all_marked(db).await;
        }
        let marked = began.elapsed();
        running.stop().await;
        println!(
            "{sources} source(s): {:.0} events/s published, {:.0} marked",
            rate(EVENTS, published),
            rate(EVENTS, marked)
        );
        assert!(rate(EVENTS, marked) > 10_000.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn adds_less_than_twenty_milliseconds() {
    for (writers, pause) in [(1, 20), (4, 10), (20, 10)] {
        let ((log, _keep), db) = (log().await, outbox().await);
        let source = Source::new("shop", (*db).clone());
        let hint = source.hint.clone();
        let running = Running::start(vec![source], log.clone(), Config::default());
        let mut consumer = log.consumer(Topics::All, Start::Beginning);
        let each = 3_000 / pause;
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for writer in 0..writers {
            let (db, hint) = ((*db).clone(), hint.clone());
            tasks.spawn(async move {
                let mut times = Vec::new();
                let mut tick = tokio::time::interval(Duration::from_millis(pause));
                for n in 0..each {
                    tick.tick().await;
                    let at = Instant::now();
                    let mut tx = db.begin().await.expect("a transaction");
                    let event =
                        NewEvent::new("order", format!("{writer}"), "order.changed.v1", json!({"n": n, "w": writer}));
                    append(&mut tx, &event, SystemClock.now()).await.expect("an event");
                    tx.commit().await.expect("a commit");
                    hint.notify();
                    times.push((at.elapsed(), Instant::now()));
                }
                (writer, times)
            });
        }
        let mut arrived = vec![Vec::new(); usize::try_from(writers).expect("small")];
        let total = usize::try_from(writers * each).expect("small");
        let mut got = 0;
        while got < total {
            for delivered in consumer.poll(1_000, LIMIT).await.expect("a poll") {
                let writer: usize = delivered.record.key.parse().expect("a writer");
                arrived[writer].push(Instant::now());
                got += 1;
            }
        }
        let took = began.elapsed();
        let mut commits = Vec::new();
        let mut lags = Vec::new();
        for (writer, times) in tasks.join_all().await {
            for ((took, at), arrival) in times.into_iter().zip(&arrived[usize::try_from(writer).expect("small")]) {
                commits.push(took);
                lags.push(arrival.saturating_duration_since(at));
            }
        }
        all_marked(&db).await;
        running.stop().await;
        commits.sort();
        lags.sort();
        let at = |times: &[Duration], part: usize| times[(times.len() - 1) * part / 100];
        println!(
            "{:.0} events/s one by one: commit p50 {:?} p99 {:?}; commit to consumer p50 {:?} p99 {:?} max {:?}",
            rate(i64::try_from(total).expect("small"), took),
            at(&commits, 50),
            at(&commits, 99),
            at(&lags, 50),
            at(&lags, 99),
            at(&lags, 100),
        );
        assert!(at(&lags, 99) < Duration::from_millis(20));
        assert_eq!(number(&db, "select count(*) from outbox where published_at is null").await, 0);
    }
}
