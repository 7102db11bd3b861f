//! The report of a run: a table for people, one line of JSON for programs.

mod human;
mod memory;

use std::time::Duration;

use serde::Serialize;

use crate::check::{Checked, Parked, Violation};
use crate::invoice::Summary;
use crate::replay::Outcome;

pub use human::human;
pub use memory::rss_mb;

/// What a run came to. Its JSON has these members in this order; times are in milliseconds where their names say so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Orders that were placed: `completed` + `compensated` + `failed` + `pending`.
    pub orders: u64,
    /// Of them, completed.
    pub completed: u64,
    /// Of them, taken back as a whole.
    pub compensated: u64,
    /// Of them, waiting for an operator.
    pub failed: u64,
    /// Of them, none of these.
    pub pending: u64,
    /// Returns that were sent.
    pub returns: u64,
    /// Orders that reached a service twice and were carried out once.
    pub duplicates_prevented: u64,
    /// Edits of a product that met another's.
    pub conflicts: u64,
    /// Events in the log, each once.
    pub events_published: u64,
    /// Sagas that were settled, published and visible within 60 s of their acceptance, in percent.
    pub consistency_rate: f64,
    /// The mean time from acceptance to consistency.
    pub mean_time_to_consistency_ms: f64,
    /// Sagas that ended per second, from the first one's start to the last one's end.
    pub sagas_per_second: f64,
    /// How long the whole run took, in seconds.
    pub wall_s: f64,
    /// Memory of all processes, in MiB.
    pub rss_mb: f64,
    /// What does not hold; empty when all is well.
    pub violations: Vec<Violation>,
    /// The seed.
    pub seed: u64,
    /// Returns of an order that were sent.
    pub returns_matched: u64,
    /// Returns of no order that is known.
    pub returns_standalone: u64,
    /// Returns that were not sent, since their order did not complete.
    pub skipped_returns: u64,
    /// Returns that were sent and refused.
    pub returns_refused: u64,
    /// Products that were written off.
    pub write_offs: u64,
    /// Products of which more was to be written off than was free.
    pub write_offs_refused: u64,
    /// Accounts that were adjusted.
    pub account_adjustments: u64,
    /// Conflicts that a retry resolved.
    pub conflicts_resolved: u64,
    /// Keys that were used for another order, and refused.
    pub key_reuse_refused: u64,
    /// Times that a till hung up.
    pub hang_ups: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Sagas of orders and returns.
    pub sagas: u64,
    /// Sagas that are parked for a cause that was injected, with what is left.
    pub parked: Vec<Parked>,
    /// What this run did not do, where it is less than a run does; not among the members otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Report {
    /// Puts a report together. `wall` is the whole run, `rss_mb` what [`rss_mb`](fn@rss_mb) says of all processes.
    pub fn new(seed: u64, outcome: &Outcome, checked: Checked, wall: Duration, rss_mb: f64) -> Self {
        Self {
            orders: checked.ends.orders,
            completed: checked.ends.completed,
            compensated: checked.ends.compensated,
            failed: checked.ends.failed,
            pending: checked.ends.pending,
            returns: outcome.returns,
            duplicates_prevented: outcome.duplicates_prevented,
            conflicts: outcome.conflicts,
            events_published: checked.events_published,
            consistency_rate: rounded(checked.consistency.rate),
            mean_time_to_consistency_ms: rounded(checked.consistency.mean_time_ms),
            sagas_per_second: rounded(checked.sagas_per_second()),
            wall_s: rounded(wall.as_secs_f64()),
            rss_mb: rounded(rss_mb),
            seed,
            returns_matched: outcome.returns_matched,
            returns_standalone: outcome.returns_standalone,
            skipped_returns: outcome.skipped_returns,
            returns_refused: outcome.returns_refused,
            write_offs: outcome.write_offs,
            write_offs_refused: outcome.write_offs_refused,
            account_adjustments: outcome.account_adjustments,
            conflicts_resolved: outcome.conflicts_resolved,
            key_reuse_refused: outcome.key_reuse_refused,
            hang_ups: outcome.hang_ups,
            retries: outcome.retries,
            sagas: checked.sagas,
            parked: checked.parked,
            note: None,
            violations: checked.violations,
        }
    }

    /// Whether all invariants hold: the exit code is 0 only then.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// One line of JSON, without the line's end.
    pub fn json(&self) -> String {
        // Strings, numbers that are finite, and lists of these: it always serializes.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A table for people; `plan` says what the invoices were.
    pub fn human(&self, plan: &Summary) -> String {
        human(self, plan)
    }
}

/// Three decimals are enough for people and programs.
fn rounded(value: f64) -> f64 {
    if value.is_finite() { (value * 1_000.0).round() / 1_000.0 } else { 0.0 }
}

#[cfg(test)]
mod tests;
