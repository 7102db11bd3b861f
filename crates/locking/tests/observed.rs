//! What an operator sees: metrics that start at 0 with equal labels, and security events.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use steadfast_core::{Principal, metric};
use steadfast_db::tx;
use steadfast_locking::lane::{Bounds, Commit, Committed, Decided, Lane, Seen, Sum};
use steadfast_locking::{
    CONTENDED_ROWS, Entity, EtagKey, Etags, LANE_BATCHES, LANE_CHANGES, LANE_STALE, LANE_WAITING, Star, Subject,
    Version, run,
};
use tracing_subscriber::fmt::MakeWriter;

use crate::shop;

#[derive(Default)]
struct Memory {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

fn cell(map: &Mutex<BTreeMap<String, Arc<AtomicU64>>>, key: &Key) -> Arc<AtomicU64> {
    let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    let name = format!("{}{{{}}}", key.name(), labels.join(","));
    Arc::clone(map.lock().unwrap().entry(name).or_insert_with(|| Arc::new(AtomicU64::new(u64::MAX))))
}

/// Starts at "never touched", so that a counter that was registered and not set to 0 is seen.
#[derive(Debug)]
struct FromNever(Arc<AtomicU64>);

impl metrics::CounterFn for FromNever {
    fn increment(&self, value: u64) {
        let before = self.0.load(Ordering::SeqCst);
        self.0.store(if before == u64::MAX { value } else { before + value }, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }
}

impl Recorder for Memory {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(FromNever(cell(&self.counters, key))))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(cell(&self.gauges, key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl Memory {
    fn counter(&self, name: &str) -> u64 {
        self.counters.lock().unwrap()[&format!("{name}{{entity=product}}")].load(Ordering::SeqCst)
    }

    /// How many changes of a lane had this outcome.
    fn changes(&self, outcome: &str) -> u64 {
        let name = format!("{LANE_CHANGES}{{entity=product,outcome={outcome}}}");
        self.counters.lock().unwrap()[&name].load(Ordering::SeqCst)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.gauges.lock().unwrap()[&format!("{name}{{entity=product}}")].load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn attempts_conflicts_and_retries_are_counted_from_zero() {
    let memory = Memory::default();
    let product = metrics::with_local_recorder(&memory, || Entity::new("product", &["sku"])).unwrap();
    let counters =
        || [metric::LOCK_ATTEMPTS, metric::LOCK_CONFLICTS, metric::LOCK_RETRIES].map(|name| memory.counter(name));
    assert_eq!(counters(), [0, 0, 0]);
    assert!((memory.gauge(metric::LOCK_SUCCESS_RATE) - 100.0).abs() < f64::EPSILON);

    let db = shop().await;
    let attempts = Arc::new(AtomicU32::new(0));
    run(&product, &*db, &tx::Policy::default(), |tx| {
        let (product, attempt) = (product.clone(), attempts.fetch_add(1, Ordering::SeqCst));
        Box::pin(async move {
            let expected = Version::from_stored(if attempt < 2 { 9 } else { 1 });
            product.replace("A", expected).set("price", 5).run(tx).await.map(|saved| saved.version)
        })
    })
    .await
    .unwrap();
    assert_eq!(counters(), [3, 2, 2]);
    assert!((memory.gauge(metric::LOCK_SUCCESS_RATE) - 100.0 / 3.0).abs() < 0.01);
    assert!((memory.gauge(metric::CONFLICT_RESOLUTION) - 100.0).abs() < f64::EPSILON);
    assert!(memory.gauge(CONTENDED_ROWS).abs() < f64::EPSILON, "three attempts are no verdict");

    let mut tx = db.begin().await.unwrap();
    for _ in 0..30 {
        product.replace("A", Version::FIRST).set("price", 5).run(&mut tx).await.unwrap_err();
    }
    assert_eq!(counters(), [33, 32, 2], "a conflict that nobody retries is no retry");
    assert!((memory.gauge(CONTENDED_ROWS) - 1.0).abs() < f64::EPSILON);
    assert_eq!(product.hot_rows()[0].key, "A".into());
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Buffer {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().filter(|line| line.contains(" security: ")).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn conflicts_and_forged_tags_are_security_events() {
    let db = shop().await;
    let buffer = Buffer::default();
    let subscriber = tracing_subscriber::fmt().with_writer(buffer.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let product = Entity::new("product", &["sku"]).unwrap();
    let etags = Etags::new(EtagKey::new("2026q4", &[1; 32]).unwrap());
    let ann = Principal::new("ann", ["edit"]);
    let subject = Subject::new("product", "A").by(&ann);
    let mut headers = HeaderMap::new();
    headers.insert("if-match", etags.issue(&subject, Version::from_stored(8)));
    let expected = etags.if_match(&headers, &subject, Star::Refused).unwrap();
    let mut tx = db.begin().await.unwrap();
    product.replace("A", expected).set("price", 5).run(&mut tx).await.unwrap_err();
    let [line] = &buffer.lines()[..] else { panic!("one event for one conflict") };
    for part in ["event=\"version_conflict\"", "entity=\"product\"", "user=\"ann\"", "key_id=\"2026q4\""] {
        assert!(line.contains(part), "{part} in {line}");
    }

    headers.insert("if-match", HeaderValue::from_static("\"2026q4.AAAA\""));
    etags.if_match(&headers, &subject, Star::Refused).unwrap_err();
    let [line] = &buffer.lines()[..] else { panic!("one event for one forged tag") };
    for part in ["event=\"etag_invalid\"", "entity=\"product\"", "user=\"ann\"", "key_id=\"2026q4\""] {
        assert!(line.contains(part), "{part} in {line}");
    }

    product.replace("A", Version::FIRST).set("price", 5).run(&mut tx).await.unwrap();
    assert_eq!(buffer.lines(), [""; 0], "what succeeds is no event");
}

/// A shelf with one piece on it, which takes whatever the lane has decided.
struct Shelf;

#[async_trait]
impl Commit for Shelf {
    type Payload = ();
    type Error = steadfast_db::Error;

    fn entity(&self) -> &'static str {
        "product"
    }

    async fn read(&self, keys: &[steadfast_locking::Key]) -> Result<Vec<Option<Seen>>, steadfast_db::Error> {
        Ok(keys.iter().map(|_| Some(Seen { free: 1, version: Version::FIRST })).collect())
    }

    async fn commit(&self, _: &[Sum], _: &[Decided<'_, ()>]) -> Result<Committed, steadfast_db::Error> {
        Ok(Committed::All)
    }
}

#[tokio::test]
async fn a_lane_counts_its_batches_and_what_became_of_changes_from_zero() {
    let memory = Memory::default();
    let lane = metrics::with_local_recorder(&memory, || Lane::open(Shelf, Bounds { queue: 3, ..Bounds::default() }));
    let changes = || ["taken", "refused", "known", "failed", "turned_away"].map(|outcome| memory.changes(outcome));
    assert_eq!(changes(), [0; 5]);
    assert_eq!((memory.counter(LANE_BATCHES), memory.counter(LANE_STALE)), (0, 0));
    join_all((0..4).map(|_| lane.take([("a".into(), 1)].into(), ()))).await;
    assert_eq!(changes(), [1, 2, 0, 0, 1]);
    assert_eq!((memory.counter(LANE_BATCHES), memory.counter(LANE_STALE)), (1, 0));
    assert!(memory.gauge(LANE_WAITING).abs() < f64::EPSILON);
}
