//! Timers in memory: those that are due soon in a heap, all others found by a sweep once a second. What is durable is
//! each saga's `wake_at`, written with its state; these only fire it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use steadfast_core::{SagaId, Timestamp};
use tokio::sync::Notify;

/// How often the sweep comes round.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

/// What is due within this time is kept in the heap. Longer than a sweep, so that none is found late.
pub(super) const NEAR: Duration = Duration::from_millis(1_500);

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<(Timestamp, SagaId)>>>,
    earlier: Notify,
}

impl Timers {
    /// Holds a saga until `at`.
    pub(super) fn arm(&self, at: Timestamp, saga: SagaId) {
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let first = heap.peek().is_none_or(|Reverse((first, _))| at < *first);
        heap.push(Reverse((at, saga)));
        drop(heap);
        if first {
            self.earlier.notify_one();
        }
    }

    /// The sagas whose time has come, and when the next one is due.
    pub(super) fn due(&self, now: Timestamp) -> (Vec<SagaId>, Option<Timestamp>) {
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while let Some(Reverse((at, saga))) = heap.peek().copied() {
            if at > now {
                return (due, Some(at));
            }
            heap.pop();
            due.push(saga);
        }
        (due, None)
    }

    /// Until something earlier than before was armed.
    pub(super) async fn earlier(&self) {
        self.earlier.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_out_in_order() {
        let timers = Timers::default();
        let saga = |key: &str| SagaId::derive("t", "t", key);
        let at = Timestamp::from_millis;
        timers.arm(at(30), saga("c"));
        timers.arm(at(10), saga("a"));
        timers.arm(at(20), saga("b"));
        assert_eq!(timers.due(at(5)), (vec![], Some(at(10))));
        assert_eq!(timers.due(at(20)), (vec![saga("a"), saga("b")], Some(at(30))));
        assert_eq!(timers.due(at(30)), (vec![saga("c")], None));
    }
}
