//! `/metrics` in Prometheus's text format, with every name of [`steadfast_core::metric`] described.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use steadfast_core::metric::{self, Kind};
use tokio_util::sync::CancellationToken;

use crate::Error;

/// The upper bounds of every histogram, in seconds: from a commit on a fast disk to an operator's patience.
const BUCKETS: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Metrics that exist only with labels that their owners know. An unlabelled series would stand beside them for ever: as a
/// percentage or an age that nobody measured, and in every average.
const LABELLED: [&str; 11] = [
    metric::SAGA_EXECUTIONS,
    metric::SAGA_OLDEST_ACTIVE,
    metric::OUTBOX_LAG,
    metric::IDEMPOTENCY_TTL,
    metric::LOCK_SUCCESS_RATE,
    metric::PROJECTION_EVENTS,
    metric::PROJECTION_LAG,
    metric::PROJECTION_PARKED,
    metric::CONSISTENCY_RATE,
    metric::CONSISTENCY_VIOLATIONS,
    metric::CONFLICT_RESOLUTION,
];

/// How often recorded values are folded, so that they do not pile up where nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

static INSTALLED: Mutex<Option<Exporter>> = Mutex::new(None);

/// The process's metrics; cheap to clone.
#[derive(Clone, Debug)]
pub struct Exporter(PrometheusHandle);

/// Collects metrics from now on. Called again, it gives the same exporter: several roles in one process share it.
pub fn install() -> Result<Exporter, Error> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(exporter) = &*installed {
        return Ok(exporter.clone());
    }
    let recorder = builder().build_recorder();
    let exporter = Exporter(recorder.handle());
    metrics::set_global_recorder(recorder).map_err(|_| Error::Installed("a metrics recorder"))?;
    describe();
    *installed = Some(exporter.clone());
    Ok(exporter)
}

fn builder() -> PrometheusBuilder {
    metric::ALL.iter().filter(|it| it.kind == Kind::Histogram).fold(PrometheusBuilder::new(), |builder, it| {
        // Only an empty list of bounds is an error, and ours is not.
        builder
            .set_buckets_for_metric(Matcher::Full(it.name.to_owned()), &BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new())
    })
}

/// Describes all names and makes counters and gauges exist before the first event, so that rates and alerts see them
/// start from zero.
fn describe() {
    for it in metric::ALL {
        match it.kind {
            Kind::Counter => metrics::describe_counter!(it.name, it.help),
            Kind::Gauge => metrics::describe_gauge!(it.name, it.help),
            Kind::Histogram => metrics::describe_histogram!(it.name, metrics::Unit::Seconds, it.help),
        }
        if LABELLED.contains(&it.name) {
            continue;
        }
        match it.kind {
            Kind::Counter => metrics::counter!(it.name).increment(0),
            Kind::Gauge => metrics::gauge!(it.name).set(0.0),
            Kind::Histogram => {}
        }
    }
    for outcome in ["success", "failure"] {
        metrics::counter!(metric::SAGA_EXECUTIONS, "outcome" => outcome).increment(0);
    }
}

impl Exporter {
    /// All metrics in the classic text format.
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        if let Some(bytes) = resident_bytes() {
            text.push_str("# HELP process_resident_memory_bytes Resident memory of the process.\n");
            text.push_str("# TYPE process_resident_memory_bytes gauge\n");
            // Writing to a string cannot fail.
            let _ok = writeln!(text, "process_resident_memory_bytes {bytes}");
        }
        text
    }

    /// The route `/metrics`.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let exporter = self.clone();
        Router::new().route(
            "/metrics",
            get(move || {
                let text = exporter.render();
                async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response() }
            }),
        )
    }

    /// Folds what was recorded every few seconds, until `stop`. Run it where `/metrics` may go unscraped.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.0.run_upkeep(),
                () = stop.cancelled() => return,
            }
        }
    }
}

/// From `/proc`, where there is one. Pages are of 4 KiB on the platforms that we build for.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rendered() -> String {
        let exporter = install().unwrap();
        metrics::histogram!(metric::SAGA_DURATION).record(0.3);
        exporter.render()
    }

    #[test]
    fn it_is_installed_once_for_all_roles() {
        let (first, second) = (install().unwrap(), install().unwrap());
        metrics::counter!("shared_total").increment(1);
        assert!(first.render().contains("shared_total") && second.render().contains("shared_total"));
    }

    #[test]
    fn counters_and_gauges_exist_before_the_first_event() {
        let text = rendered();
        for it in metric::ALL.iter().filter(|it| it.kind != Kind::Histogram && !LABELLED.contains(&it.name)) {
            let line = format!("\n{} 0\n", it.name);
            assert!(text.contains(&line), "{} is missing", it.name);
            assert!(text.contains(&format!("# HELP {} {}", it.name, it.help)), "{} is not described", it.name);
        }
        assert!(text.contains("saga_executions_total{outcome=\"success\"} 0"), "{text}");
    }

    #[test]
    fn histograms_have_buckets() {
        let text = rendered();
        assert!(text.contains("# TYPE saga_duration_seconds histogram"), "{text}");
        assert!(text.contains("saga_duration_seconds_bucket{le=\"0.5\"}"), "{text}");
        assert!(text.contains("saga_duration_seconds_bucket{le=\"+Inf\"}"), "{text}");
    }

    /// The rules of the text format that a parser relies on.
    #[test]
    fn the_text_is_well_formed() {
        let text = rendered();
        assert!(text.ends_with('\n'));
        let (mut families, mut series, mut kind) = (BTreeSet::new(), BTreeSet::new(), String::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, of) = rest.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned()), "{name} twice");
                assert!(["counter", "gauge", "histogram", "summary"].contains(&of), "{line}");
                name.clone_into(&mut kind);
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                value.parse::<f64>().unwrap();
                assert!(name.starts_with(&kind), "{line} stands outside its family {kind}");
                assert!(series.insert(name.to_owned()), "{name} twice");
            }
        }
        assert!(text.contains("process_resident_memory_bytes "), "no memory gauge");
    }
}
