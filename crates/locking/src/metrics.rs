//! The metrics of one entity. Attempts, conflicts and retries carry the same label and all start at 0, so that the ratio
//! of their rates exists from the first scrape.

use metrics::{Counter, Gauge, counter, gauge};
use steadfast_core::metric;

/// Gauge: tracked rows, by `entity`, for which pessimistic locking is to be considered.
pub const CONTENDED_ROWS: &str = "optimistic_lock_contended_rows";

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) attempts: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) retries: Counter,
    pub(crate) success_rate: Gauge,
    pub(crate) contended_rows: Gauge,
    pub(crate) resolution_rate: Gauge,
}

impl Metrics {
    pub(crate) fn new(entity: &'static str) -> Self {
        let this = Self {
            attempts: counter!(metric::LOCK_ATTEMPTS, "entity" => entity),
            conflicts: counter!(metric::LOCK_CONFLICTS, "entity" => entity),
            retries: counter!(metric::LOCK_RETRIES, "entity" => entity),
            success_rate: gauge!(metric::LOCK_SUCCESS_RATE, "entity" => entity),
            contended_rows: gauge!(CONTENDED_ROWS, "entity" => entity),
            resolution_rate: gauge!(metric::CONFLICT_RESOLUTION, "entity" => entity),
        };
        this.attempts.increment(0);
        this.conflicts.increment(0);
        this.retries.increment(0);
        this.success_rate.set(100.0);
        this.contended_rows.set(0.0);
        this.resolution_rate.set(100.0);
        this
    }
}
