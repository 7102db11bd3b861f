//! What the orchestrator shows: handles, looked up once for each definition.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use steadfast_core::metric;

/// The length of the queue, in which sagas wait for a node that has room: the same number at every node, and counted up to
/// the journal's bound.
const QUEUED: &str = "saga_queued_count";

/// Starts that were answered 429: the queue is full, or too much is under way.
const TURNED_AWAY: &str = "saga_turned_away_total";

/// The orchestrator's metrics. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    commits: Counter,
    invariants: Counter,
    parked: Gauge,
    queued: Gauge,
    families: RwLock<HashMap<String, Arc<Family>>>,
}

/// The metrics of one definition, whose name is their label.
struct Family {
    succeeded: Counter,
    failed: Counter,
    duration: Histogram,
    compensations: Counter,
    timeouts: Counter,
    turned_away: Counter,
    pending: Gauge,
    oldest: Gauge,
}

impl Family {
    fn new(definition: &str) -> Self {
        let name = definition.to_owned();
        let executions = |outcome: &'static str| counter!(metric::SAGA_EXECUTIONS, "definition" => name.clone(), "outcome" => outcome);
        Self {
            succeeded: executions("success"),
            failed: executions("failure"),
            duration: histogram!(metric::SAGA_DURATION, "definition" => name.clone()),
            compensations: counter!(metric::SAGA_COMPENSATIONS, "definition" => name.clone()),
            timeouts: counter!(metric::SAGA_TIMEOUT, "definition" => name.clone()),
            turned_away: counter!(TURNED_AWAY, "definition" => name.clone()),
            pending: gauge!(metric::SAGA_PENDING, "definition" => name.clone()),
            oldest: gauge!(metric::SAGA_OLDEST_ACTIVE, "definition" => name.clone()),
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            commits: counter!(metric::SAGA_COMMITS),
            invariants: counter!(metric::SAGA_INVARIANT),
            parked: gauge!(metric::SAGA_PARKED),
            queued: gauge!(QUEUED),
            families: RwLock::default(),
        }))
    }

    fn family(&self, definition: &str) -> Arc<Family> {
        let families = self.0.families.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(family) = families.get(definition) {
            return Arc::clone(family);
        }
        drop(families);
        let mut families = self.0.families.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(families.entry(definition.to_owned()).or_insert_with(|| Arc::new(Family::new(definition))))
    }

    /// A saga ended: completed, or compensated or parked.
    pub(crate) fn executed(&self, definition: &str, success: bool, took: Duration) {
        let family = self.family(definition);
        if success { &family.succeeded } else { &family.failed }.increment(1);
        family.duration.record(took);
    }

    /// So many compensations were executed.
    pub(crate) fn compensated(&self, definition: &str, count: u64) {
        if count > 0 {
            self.family(definition).compensations.increment(count);
        }
    }

    /// So many sagas timed out.
    pub(crate) fn timed_out(&self, definition: &str, count: u64) {
        if count > 0 {
            self.family(definition).timeouts.increment(count);
        }
    }

    /// A start was answered 429.
    pub(crate) fn turned_away(&self, definition: &str) {
        self.family(definition).turned_away.increment(1);
    }

    /// More sagas are executing, or fewer.
    pub(crate) fn pending(&self, definition: &str, change: f64) {
        self.family(definition).pending.increment(change);
    }

    /// So many sagas wait for an operator.
    pub(crate) fn set_parked(&self, count: i64) {
        // Counts are far below 2^31; a gauge is a double.
        self.0.parked.set(f64::from(i32::try_from(count).unwrap_or(i32::MAX)));
    }

    /// So many sagas wait in the queue.
    pub(crate) fn set_queued(&self, count: usize) {
        self.0.queued.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    /// The age of the oldest executing saga of each definition; 0 for those that are not named.
    pub(crate) fn show_oldest<'a>(&self, ages: impl Iterator<Item = (&'a str, Duration)>) {
        let ages: HashMap<_, _> = ages.collect();
        for name in ages.keys() {
            self.family(name);
        }
        let families = self.0.families.read().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in families.iter() {
            family.oldest.set(ages.get(name.as_str()).map_or(0.0, Duration::as_secs_f64));
        }
    }

    /// The journal was written once.
    pub(crate) fn committed(&self) {
        self.0.commits.increment(1);
    }

    /// Something is not as it must be.
    pub(crate) fn invariant_broken(&self) {
        self.0.invariants.increment(1);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use metrics::{HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;

    /// Keeps what is shown, by name and labels.
    #[derive(Default)]
    struct Shown {
        counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
        gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
        times: Arc<Times>,
    }

    #[derive(Default)]
    struct Times(Mutex<Vec<f64>>);

    impl HistogramFn for Times {
        fn record(&self, value: f64) {
            self.0.lock().unwrap().push(value);
        }
    }

    fn text(key: &Key) -> String {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        format!("{}{{{}}}", key.name(), labels.join(","))
    }

    impl Recorder for Shown {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Arc::clone(self.counters.lock().unwrap().entry(text(key)).or_default()))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::clone(self.gauges.lock().unwrap().entry(text(key)).or_default()))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(Arc::clone(&self.times))
        }
    }

    impl Shown {
        fn counter(&self, name: &str) -> u64 {
            self.counters.lock().unwrap()[name].load(Ordering::SeqCst)
        }

        fn gauge(&self, name: &str) -> f64 {
            f64::from_bits(self.gauges.lock().unwrap()[name].load(Ordering::SeqCst))
        }
    }

    #[test]
    fn each_definition_has_its_own_and_names_are_those_of_core() {
        let shown = Shown::default();
        metrics::with_local_recorder(&shown, || {
            let metrics = Metrics::new();
            metrics.executed("a", true, Duration::from_millis(1_500));
            metrics.executed("a", false, Duration::from_millis(500));
            metrics.executed("b", true, Duration::from_millis(500));
            metrics.compensated("a", 2);
            metrics.compensated("unseen", 0);
            metrics.timed_out("b", 1);
            metrics.pending("a", 1.0);
            metrics.pending("a", 1.0);
            metrics.pending("a", -1.0);
            metrics.set_parked(4);
            metrics.clone().committed();
            metrics.invariant_broken();
        });
        assert_eq!(shown.counter("saga_executions_total{definition=a,outcome=success}"), 1);
        assert_eq!(shown.counter("saga_executions_total{definition=a,outcome=failure}"), 1);
        assert_eq!(shown.counter("saga_executions_total{definition=b,outcome=success}"), 1);
        assert_eq!(shown.counter("saga_compensations_total{definition=a}"), 2);
        assert_eq!(shown.counter("saga_timeout_total{definition=b}"), 1);
        assert_eq!(shown.counter("saga_journal_commits_total{}"), 1);
        assert_eq!(shown.counter("saga_invariant_violations_total{}"), 1);
        assert_eq!((shown.gauge("saga_pending_count{definition=a}"), shown.gauge("saga_parked_count{}")), (1.0, 4.0));
        assert_eq!(*shown.times.0.lock().unwrap(), [1.5, 0.5, 0.5]);
        assert!(!shown.counters.lock().unwrap().keys().any(|key| key.contains("unseen")));
    }

    #[test]
    fn the_oldest_is_none_where_nothing_executes_any_more() {
        let shown = Shown::default();
        let oldest = |name: &str| shown.gauge(&format!("saga_oldest_active_seconds{{definition={name}}}"));
        metrics::with_local_recorder(&shown, || {
            let metrics = Metrics::new();
            metrics.show_oldest([("a", Duration::from_secs(9)), ("b", Duration::from_secs(3))].into_iter());
            assert_eq!((oldest("a"), oldest("b")), (9.0, 3.0));
            metrics.show_oldest([("b", Duration::from_secs(4))].into_iter());
            assert_eq!((oldest("a"), oldest("b")), (0.0, 4.0));
        });
    }
}
