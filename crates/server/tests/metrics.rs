//! What `/metrics` serves: the names of the specification, letter by letter.

use std::collections::BTreeMap;

use crate::support::Served;

/// Section 7 of the specification, without `idempotency_redis_errors_total`: there is no Redis in this path.
const SPECIFIED: [(&str, &str); 17] = [
    ("saga_executions_total", "counter"),
    ("saga_duration_seconds", "histogram"),
    ("saga_compensations_total", "counter"),
    ("saga_timeout_total", "counter"),
    ("saga_pending_count", "gauge"),
    ("outbox_events_total", "counter"),
    ("outbox_published_total", "counter"),
    ("outbox_processing_lag_seconds", "gauge"),
    ("outbox_table_size", "gauge"),
    ("outbox_failed_events_total", "counter"),
    ("idempotency_checks_total", "counter"),
    ("idempotency_hits_total", "counter"),
    ("idempotency_key_ttl_seconds", "gauge"),
    ("optimistic_lock_conflicts_total", "counter"),
    ("optimistic_lock_retries_total", "counter"),
    ("optimistic_lock_success_rate", "gauge"),
    ("optimistic_lock_attempts_total", "counter"),
];

/// Beyond the specification, with a source in this path.
const OURS: [(&str, &str); 14] = [
    ("saga_parked_count", "gauge"),
    ("saga_oldest_active_seconds", "gauge"),
    ("saga_journal_commits_total", "counter"),
    ("saga_invariant_violations_total", "counter"),
    ("outbox_parked_aggregates", "gauge"),
    ("idempotency_takeovers_total", "counter"),
    ("projection_lag_seconds", "gauge"),
    ("projection_events_total", "counter"),
    ("projection_parked_events", "gauge"),
    ("data_consistency_rate", "gauge"),
    ("data_consistency_time_seconds", "histogram"),
    ("conflict_resolution_success_rate", "gauge"),
    ("optimistic_lock_contended_rows", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
];

/// Kinds and the sums of the series of a text.
#[derive(Debug, Default)]
pub(crate) struct Scraped {
    kinds: BTreeMap<String, String>,
    sums: BTreeMap<String, f64>,
}

impl Scraped {
    pub(crate) async fn of(served: &Served, service: &str) -> Self {
        let answer = served.get(service, "/metrics").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        let mut scraped = Self::default();
        scraped.read(std::str::from_utf8(&answer.body).unwrap());
        scraped
    }

    fn read(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').unwrap();
                self.kinds.insert(name.to_owned(), kind.to_owned());
            } else if let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) {
                let name = series.split('{').next().unwrap();
                *self.sums.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap();
            }
        }
    }

    /// Everything that several processes serve.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.kinds.extend(other.kinds);
        for (name, sum) in other.sums {
            *self.sums.entry(name).or_default() += sum;
        }
        self
    }

    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.sums.get(name).copied().unwrap_or_else(|| panic!("no series {name}"))
    }

    /// That each is there under its very name, with a series.
    pub(crate) fn assert_complete(&self) {
        for (name, kind) in SPECIFIED.into_iter().chain(OURS) {
            assert_eq!(self.kinds.get(name).map(String::as_str), Some(kind), "{name}");
            let series = if kind == "histogram" { format!("{name}_bucket") } else { name.to_owned() };
            assert!(self.sums.contains_key(&series), "{series} has no series");
        }
    }
}
