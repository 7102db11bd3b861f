//! What a runner shows.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use steadfast_core::metric;

/// What became of the events of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Given to the projection.
    pub applied: u64,
    /// Met before.
    pub duplicate: u64,
    /// Put aside until an earlier one has come.
    pub parked: u64,
    /// Of a type that the projection does not know.
    pub unknown: u64,
    /// Failed, and holding their aggregate; or not an event at all.
    pub poison: u64,
    /// Passed over, each with a record.
    pub skipped: u64,
}

impl Tally {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.applied + self.duplicate + self.parked + self.unknown + self.poison + self.skipped
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    applied: Counter,
    duplicate: Counter,
    parked: Counter,
    unknown: Counter,
    poison: Counter,
    skipped: Counter,
    lag: Gauge,
    waiting: Gauge,
}

impl Metrics {
    pub(crate) fn new(projection: &str) -> Self {
        let result = |result: &'static str| counter!(metric::PROJECTION_EVENTS, "projection" => projection.to_owned(), "result" => result);
        Self {
            applied: result("applied"),
            duplicate: result("duplicate"),
            parked: result("parked"),
            unknown: result("unknown"),
            poison: result("poison"),
            skipped: result("skipped"),
            lag: gauge!(metric::PROJECTION_LAG, "projection" => projection.to_owned()),
            waiting: gauge!(metric::PROJECTION_PARKED, "projection" => projection.to_owned()),
        }
    }

    pub(crate) fn count(&self, tally: &Tally) {
        for (counter, by) in [
            (&self.applied, tally.applied),
            (&self.duplicate, tally.duplicate),
            (&self.parked, tally.parked),
            (&self.unknown, tally.unknown),
            (&self.poison, tally.poison),
            (&self.skipped, tally.skipped),
        ] {
            if by > 0 {
                counter.increment(by);
            }
        }
    }

    pub(crate) fn lag(&self, lag: Duration) {
        self.lag.set(lag.as_secs_f64());
    }

    pub(crate) fn parked(&self, events: u32) {
        self.waiting.set(f64::from(events));
    }
}
