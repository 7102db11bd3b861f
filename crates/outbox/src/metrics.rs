//! What an outbox shows: handles, looked up once.

use metrics::{Counter, Gauge, counter, gauge};
use steadfast_core::metric;

use crate::lag::QUANTILES;

/// Events that only the check of the relay's own position has found: must stay 0, unless an operator unmarks rows.
const MISSED: &str = "outbox_missed_events_total";

/// The metrics of one source, which is their only label beside `quantile`.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Events that the relay has met. An append cannot know whether its transaction commits, so they are counted when the
    /// relay first reads them: each once in the life of a process.
    pub(crate) events: Counter,
    pub(crate) published: Counter,
    pub(crate) failed: Counter,
    pub(crate) missed: Counter,
    pub(crate) size: Gauge,
    pub(crate) parked: Gauge,
    pub(crate) lag: [Gauge; QUANTILES.len()],
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new(source: &str) -> Self {
        let source = source.to_owned();
        Self {
            events: counter!(metric::OUTBOX_EVENTS, "source" => source.clone()),
            published: counter!(metric::OUTBOX_PUBLISHED, "source" => source.clone()),
            failed: counter!(metric::OUTBOX_FAILED, "source" => source.clone()),
            missed: counter!(MISSED, "source" => source.clone()),
            size: gauge!(metric::OUTBOX_TABLE_SIZE, "source" => source.clone()),
            parked: gauge!(metric::OUTBOX_PARKED, "source" => source.clone()),
            lag: QUANTILES
                .map(|(_, label)| gauge!(metric::OUTBOX_LAG, "source" => source.clone(), "quantile" => label)),
        }
    }
}
