//! What is counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge};
use steadfast_core::metric;

use crate::decision::{Decision, Prior};

/// The handles, resolved once; one set for each layer.
pub(crate) struct Metrics {
    checks: Counter,
    hits: Counter,
    takeovers: Counter,
    ttl: Gauge,
    keys: AtomicU64,
    ttl_seconds: AtomicU64,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Handles whose series bear the store's name.
    pub(crate) fn new(store: &'static str) -> Self {
        Self {
            checks: metrics::counter!(metric::IDEMPOTENCY_CHECKS, "store" => store),
            hits: metrics::counter!(metric::IDEMPOTENCY_HITS, "store" => store),
            takeovers: metrics::counter!(metric::IDEMPOTENCY_TAKEOVERS, "store" => store),
            ttl: metrics::gauge!(metric::IDEMPOTENCY_TTL, "store" => store),
            keys: AtomicU64::new(0),
            ttl_seconds: AtomicU64::new(0),
        }
    }

    /// A key was looked up on behalf of a request.
    pub(crate) fn checked(&self) {
        self.checks.increment(1);
    }

    /// A request was decided upon: a duplicate that did not execute is a hit.
    pub(crate) fn decided(&self, decision: &Decision) {
        match decision {
            Decision::Execute { prior: Prior::Lapsed, .. } => self.takeovers.increment(1),
            Decision::InFlight | Decision::Held | Decision::Replay(_) | Decision::Gone(_) => self.hits.increment(1),
            Decision::Execute { .. } | Decision::Mismatch | Decision::Foreign => {}
        }
    }

    /// A record was completed and lives that long; the gauge shows the average of all so far.
    pub(crate) fn kept(&self, ttl: Duration) {
        let keys = self.keys.fetch_add(1, Ordering::Relaxed) + 1;
        let seconds = self.ttl_seconds.fetch_add(ttl.as_secs(), Ordering::Relaxed) + ttl.as_secs();
        #[expect(clippy::cast_precision_loss, reason = "an average for a graph")]
        self.ttl.set(seconds as f64 / keys as f64);
    }
}
