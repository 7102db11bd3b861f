//! How fast events become rows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use steadfast_bus::{Producer, Start, Topics, embedded::Log, headers};
use steadfast_projection::{Config, Runner};
use steadfast_testkit::{SystemClock, database};

use crate::support::{Ledger, Lite, Read, count, drain, event};

/// Seconds, since it measures: durable commits of a simple fold, from the embedded log in a file of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simple_fold_is_fast() {
    const EVENTS: i64 = 60_000;
    let (read, events) = (Lite::fresh().await, database().await);
    let log = Log::open(events.clone(), 8).await.unwrap();
    let payload = json!({"amount": 12, "currency": "GBP", "note": "x".repeat(120)});
    for chunk in 0..EVENTS / 2_000 {
        let records = (chunk * 2_000..(chunk + 1) * 2_000)
            .map(|n| {
                headers::encode(&event(&format!("account-{}", n % 20_000), n / 20_000 + 1, payload.clone()), "/test")
            })
            .collect();
        assert!(log.produce(records).await.iter().all(Result::is_ok));
    }
    let consumer = Box::new(log.consumer(Topics::All, Start::Beginning));
    let projection = Lite::projection(&Ledger::new());
    let config = Config { wait: Duration::from_millis(1), ..Config::default() };
    let mut runner =
        Runner::open(read.store().clone(), projection, consumer, Arc::new(SystemClock), config).await.unwrap();
    let began = tokio::time::Instant::now();
    let tally = drain(&mut runner).await;
    let took = began.elapsed();
    assert_eq!(tally.applied, u64::try_from(EVENTS).unwrap());
    assert_eq!(count(&read, "select count(*) from seen").await, EVENTS);
    let rate = 60_000.0 / took.as_secs_f64();
    println!("{rate:.0} events/s");
    // SPEC.md asks for 1,000; an idle machine of two cores does several times this bound.
    assert!(rate > 5_000.0, "{rate:.0} events/s");
}
