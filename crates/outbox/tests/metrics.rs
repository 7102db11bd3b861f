//! What the relay shows, by the names that alerts and dashboards use.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use steadfast_bus::Error;
use steadfast_core::{Clock, Timestamp};
use steadfast_outbox::{Source, append};
use steadfast_testkit::{SystemClock, wait_for};

use crate::support::{Judged, LIMIT, Running, commit, config, event, log, outbox};

/// Keeps what is recorded, by name and labels.
#[derive(Debug, Default)]
struct Seen(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Seen {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().expect("the lock").entry(name).or_default())
    }

    fn bits(&self, name: &str) -> u64 {
        self.0.lock().expect("the lock").get(name).map_or(0, |cell| cell.load(Ordering::SeqCst))
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.bits(name))
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn the_relay_shows_what_it_does_and_what_waits() {
    // The test's runtime has one thread, so the relay's task records here.
    let seen = Seen::default();
    let _guard = metrics::set_default_local_recorder(&seen);
    let (db, (log, _keep)) = (outbox().await, log().await);
    let refuses = Judged::new(&log, |record| match record.key.as_str() {
        "bad" => Err(Error::Refused("no".into())),
        _ => Ok(()),
    });
    // An old event that cannot be published: ten minutes late, and later by the second.
    let mut tx = db.begin().await.unwrap();
    let old = Timestamp::from_millis(SystemClock.now().as_millis() - 600_000);
    append(&mut tx, &event("bad", 1), old).await.unwrap();
    tx.commit().await.unwrap();
    commit(&db, &(1..=7).map(|n| event("good", n)).collect::<Vec<_>>()).await;
    let running = Running::start(vec![Source::new("shop", db.clone())], refuses, config());
    wait_for("the dead letter shows", LIMIT, || async {
        seen.bits("outbox_failed_events_total{source=shop}") == 3
            && seen.gauge("outbox_parked_aggregates{source=shop}") > 0.5
    })
    .await;
    assert_eq!(seen.bits("outbox_events_total{source=shop}"), 8);
    assert_eq!(seen.bits("outbox_published_total{source=shop}"), 7);
    assert!((seen.gauge("outbox_table_size{source=shop}") - 8.0).abs() < 0.1);
    let lag = |quantile: &str| seen.gauge(&format!("outbox_processing_lag_seconds{{source=shop,quantile={quantile}}}"));
    wait_for("the lag shows", LIMIT, || async { lag("1") >= 600.0 && lag("0.5") < 60.0 }).await;
    assert!(lag("0.95") >= 600.0 && lag("0.99") >= 600.0);
    running.stop().await;
}
