//! Whether a runner moves, for `/readyz`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_core::Timestamp;

/// A runner that has not ended a turn for so long is stuck. Together with the interval of a readiness probe it turns
/// `/readyz` red within ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a runner is doing; clones show the same runner.
#[derive(Clone, Debug)]
pub struct Status(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    projection: String,
    // When the last turn ended well.
    progress: Timestamp,
    fault: Option<String>,
    parked: u32,
    poison: u32,
    alarms: u32,
    stopped: bool,
}

/// What a runner is doing at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The projection.
    pub projection: String,
    /// Since when it has not moved; `None` while it does.
    pub stuck_since: Option<Timestamp>,
    /// The last error, while it lasts.
    pub fault: Option<String>,
    /// Events that wait.
    pub parked: u32,
    /// Of those, events that failed.
    pub poison: u32,
    /// Aggregates whose gap has lasted too long.
    pub alarms: u32,
    /// Whether it was told to stop and has.
    pub stopped: bool,
}

impl Status {
    pub(crate) fn new(projection: &str, now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            projection: projection.to_owned(),
            progress: now,
            fault: None,
            parked: 0,
            poison: 0,
            alarms: 0,
            stopped: false,
        })))
    }

    /// Since when the runner has not moved: its turns fail, or one hangs, or the task is gone. `None` while it moves.
    pub fn stuck_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.read(|inner| inner.stuck_since(now))
    }

    /// All there is to show.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        self.read(|inner| Snapshot {
            projection: inner.projection.clone(),
            stuck_since: inner.stuck_since(now),
            fault: inner.fault.clone(),
            parked: inner.parked,
            poison: inner.poison,
            alarms: inner.alarms,
            stopped: inner.stopped,
        })
    }

    /// A turn ended well. Says whether that ends a fault.
    pub(crate) fn moved(&self, now: Timestamp) -> bool {
        self.read(|inner| {
            inner.progress = now;
            inner.fault.take().is_some()
        })
    }

    /// A turn failed. Says whether this fault is news.
    pub(crate) fn failed(&self, fault: String) -> bool {
        self.read(|inner| {
            let news = inner.fault.as_ref() != Some(&fault);
            inner.fault = Some(fault);
            news
        })
    }

    /// What is parked. Says whether there are more alarms than before.
    pub(crate) fn parked(&self, parked: u32, poison: u32, alarms: u32) -> bool {
        self.read(|inner| {
            let more = alarms > inner.alarms;
            (inner.parked, inner.poison, inner.alarms) = (parked, poison, alarms);
            more
        })
    }

    pub(crate) fn stopped(&self) {
        self.read(|inner| inner.stopped = true);
    }

    fn read<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn stuck_since(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.stopped && now.since(self.progress) >= PATIENCE).then_some(self.progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_that_does_not_move_is_stuck_since_its_last_move() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let status = Status::new("orders", at(100));
        assert_eq!(status.stuck_since(at(104)), None);
        status.moved(at(110));
        assert!(status.failed("locked".into()));
        assert!(!status.failed("locked".into()), "the same fault is no news");
        assert_eq!(status.stuck_since(at(114)), None);
        assert_eq!(status.stuck_since(at(115)), Some(at(110)));
        assert!(status.moved(at(116)));
        assert_eq!(status.snapshot(at(117)).fault, None);
        status.stopped();
        assert_eq!(status.stuck_since(at(999)), None);
    }
}
