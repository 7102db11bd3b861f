//! The metrics of one entity, and of a lane. Attempts, conflicts and retries carry the same label and all start at 0, so
//! that the ratio of their rates exists from the first scrape.

use metrics::{Counter, Gauge, counter, gauge};
use steadfast_core::metric;

/// Gauge: tracked rows, by `entity`, for which pessimistic locking is to be considered.
pub const CONTENDED_ROWS: &str = "optimistic_lock_contended_rows";

/// Counter: batches that a hot-row lane has committed, by `entity`.
pub const LANE_BATCHES: &str = "hot_row_lane_batches_total";
/// Counter: changes that a hot-row lane was asked for, by `entity` and `outcome` (taken, refused, known, failed,
/// `turned_away`).
pub const LANE_CHANGES: &str = "hot_row_lane_changes_total";
/// Counter: batches that were decided again since another process had changed a row, by `entity`.
pub const LANE_STALE: &str = "hot_row_lane_stale_total";
/// Gauge: changes that wait for the next batch of a hot-row lane, by `entity`.
pub const LANE_WAITING: &str = "hot_row_lane_waiting";

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

/// What becomes of changes in a lane.
#[derive(Clone, Debug)]
pub(crate) struct LaneMetrics {
    pub(crate) batches: Counter,
    pub(crate) stale: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) taken: Counter,
    pub(crate) refused: Counter,
    pub(crate) known: Counter,
    pub(crate) failed: Counter,
    pub(crate) turned_away: Counter,
}

impl LaneMetrics {
    pub(crate) fn new(entity: &'static str) -> Self {
        let changes = |outcome: &'static str| counter!(LANE_CHANGES, "entity" => entity, "outcome" => outcome);
        let this = Self {
            batches: counter!(LANE_BATCHES, "entity" => entity),
            stale: counter!(LANE_STALE, "entity" => entity),
            waiting: gauge!(LANE_WAITING, "entity" => entity),
            taken: changes("taken"),
            refused: changes("refused"),
            known: changes("known"),
            failed: changes("failed"),
            turned_away: changes("turned_away"),
        };
        for counter in
            [&this.batches, &this.stale, &this.taken, &this.refused, &this.known, &this.failed, &this.turned_away]
        {
            counter.increment(0);
        }
        this.waiting.set(0.0);
        this
    }
}
