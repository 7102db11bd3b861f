//! What a runner and the auditor show, by the names that alerts and dashboards use.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::json;
use steadfast_core::SagaId;
use steadfast_projection::auditor::Auditor;
use steadfast_projection::invariants::Invariants;
use steadfast_projection::{Projection, Runner, Together};

use crate::support::{Ledger, Lite, MemoryLog, Read, START, change, clock, config, drain, event, typed};

/// Keeps what is recorded, by name and labels.
#[derive(Debug, Default)]
struct Seen {
    cells: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    times: Arc<Times>,
}

#[derive(Debug, Default)]
struct Times(Mutex<Vec<f64>>);

impl HistogramFn for Times {
    fn record(&self, value: f64) {
        self.0.lock().expect("the lock").push(value);
    }
}

impl Seen {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.cells.lock().expect("the lock").entry(name).or_default())
    }

    fn count(&self, name: &str) -> u64 {
        self.cells.lock().expect("the lock")[name].load(Ordering::SeqCst)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.count(name))
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
        Histogram::from_arc(Arc::clone(&self.times))
    }
}

fn near(left: f64, right: f64) -> bool {
    (left - right).abs() < 0.001
}

#[tokio::test]
async fn a_runner_counts_what_became_of_events_and_shows_its_lag() {
    let seen = Seen::default();
    let _guard = metrics::set_default_local_recorder(&seen);
    let (db, log, clock) = (Lite::fresh().await, MemoryLog::default(), clock());
    let projection = Lite::projection(&Ledger::new());
    let open = Runner::open(db.store().clone(), projection, log.consumer(), Arc::new(clock.clone()), config());
    let mut runner = open.await.unwrap();
    let result = |result: &str| seen.count(&format!("projection_events_total{{projection=ledger,result={result}}}"));
    let lag = || seen.gauge("projection_lag_seconds{projection=ledger}");
    let mut twin = change("a", 1);
    twin.event_id = change("b", 9).event_id;
    log.append_all(&[
        change("a", 1),
        change("a", 1),
        twin,
        typed("a", 2, "account.renamed.v1", json!({})),
        change("a", 4),
        event("b", 1, json!({"amount": 1, "poison": true})),
    ]);
    clock.advance(Duration::from_secs(30));
    assert!(runner.turn().await.is_err(), "a batch with poison fails once");
    assert!(near(lag(), 30.0), "what is stuck shows its age: {}", lag());
    clock.advance(Duration::from_secs(5));
    runner.turn().await.unwrap();
    assert!(near(lag(), 35.0), "{}", lag());
    for kind in ["applied", "duplicate", "parked", "unknown", "poison", "skipped"] {
        assert_eq!(result(kind), 1, "{kind}");
    }
    drain(&mut runner).await;
    assert!(near(lag(), 0.0));
    assert!(near(seen.gauge("projection_parked_events{projection=ledger}"), 2.0));
}

#[tokio::test]
async fn the_auditor_shows_rate_and_time_and_each_violation_once() {
    let seen = Seen::default();
    let _guard = metrics::set_default_local_recorder(&seen);
    let (db, log, clock) = (Lite::fresh().await, MemoryLog::default(), clock());
    let auditor = Arc::new(Auditor::new(Arc::new(clock.clone())));
    let members: Vec<Arc<dyn Projection>> = vec![Ledger::new(), Arc::clone(&auditor) as Arc<dyn Projection>];
    let together = Arc::new(Together::new("shop", members));
    let open = Runner::open(db.store().clone(), together, log.consumer(), Arc::new(clock.clone()), config());
    let mut runner = open.await.unwrap();

    let saga = SagaId::derive("till", "place_order", "1");
    let times = json!({"accepted_at": START.as_millis(), "settled_at": START.as_millis() + 100});
    log.append(&typed(&saga.to_string(), 1, "saga.completed.v1", times));
    clock.advance(Duration::from_millis(500));
    drain(&mut runner).await;
    let mut last = change("a", 1);
    last.saga = Some(saga);
    log.append(&last);
    clock.advance(Duration::from_millis(500));
    drain(&mut runner).await;
    auditor.refresh(db.store()).await.unwrap();
    assert_eq!(*seen.times.0.lock().unwrap(), [] as [f64; 0], "another event may still come");
    clock.advance(Duration::from_secs(90));
    auditor.refresh(db.store()).await.unwrap();
    auditor.refresh(db.store()).await.unwrap();
    assert_eq!(*seen.times.0.lock().unwrap(), [1.0], "once, with the last event");
    assert!(near(seen.gauge("data_consistency_rate{}"), 100.0));

    let yaml = "invariants: [{name: no_accounts, database: read, sql: select account from ledger}]";
    let invariants = Invariants::load(&[("read", db.store().clone())], yaml).await.unwrap();
    let violations = || seen.count("data_consistency_violations_total{invariant=no_accounts}");
    assert_eq!(violations(), 0);
    invariants.check().await;
    invariants.check().await;
    assert_eq!(violations(), 1, "a violation that lasts is counted once");
    log.append(&change("b", 1));
    drain(&mut runner).await;
    assert_eq!(invariants.check().await[0].violations, 2);
    assert_eq!(violations(), 2);
}
