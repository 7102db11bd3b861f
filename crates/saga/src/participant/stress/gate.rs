//! Slots, and the wait for one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steadfast_core::StepKey;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::queue::Queue;
use super::state::{Admission, Class, Pause, Signal, State};

/// The bounds of a gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Calls at a time.
    pub(crate) concurrency: usize,
    /// Calls of each class that wait for their turn.
    pub(crate) queue: usize,
}

impl Limits {
    /// The bounds for so many calls at a time.
    pub(crate) const fn of(concurrency: usize) -> Self {
        Self { concurrency, queue: 16_384 }
    }
}

/// The way to one participant.
#[derive(Debug)]
pub(crate) struct Gate {
    origin: Instant,
    concurrency: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// While there is one, nobody waits.
    free: usize,
    queue: Queue<oneshot::Sender<Slot>>,
}

/// One of the gate's places; given back when dropped.
#[derive(Debug)]
struct Slot(Option<Arc<Gate>>);

/// Leave to make one call.
#[derive(Debug)]
pub(crate) struct Permit {
    slot: Slot,
    call: u64,
    trial: bool,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let inner = Inner { state: State::new(), free: limits.concurrency, queue: Queue::new(limits.queue) };
        Arc::new(Self { origin: Instant::now(), concurrency: limits.concurrency, inner: Mutex::new(inner) })
    }

    /// Waits for a turn, for at most `patience`. Who gets none has to stay away for a while.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        class: Class,
        key: &StepKey,
        now: Instant,
        patience: Duration,
    ) -> Result<Permit, Pause> {
        let call = identity(key);
        let Some(turn) = self.queue_up(class, now)? else {
            return self.admit(Slot(Some(Arc::clone(self))), class, call, now);
        };
        match timeout_at(now + patience, turn).await {
            Ok(Ok(slot)) => self.admit(slot, class, call, Instant::now()),
            // A slot that is handed over at this very moment is given back when the receiver drops it.
            Ok(Err(_)) | Err(_) => Err(self.lock().state.full(self.origin.elapsed(), fastrand::u64(..))),
        }
    }

    /// Takes a slot (`None`), or a place in the queue.
    fn queue_up(&self, class: Class, now: Instant) -> Result<Option<oneshot::Receiver<Slot>>, Pause> {
        let mut inner = self.lock();
        if inner.free > 0 {
            inner.free -= 1;
            return Ok(None);
        }
        let now = self.since(now);
        if let Some(pause) = inner.state.turn_away(now, fastrand::u64(..)) {
            return Err(pause);
        }
        let (hand_over, turn) = oneshot::channel();
        if inner.queue.push(class, hand_over).is_err() {
            return Err(inner.state.full(now, fastrand::u64(..)));
        }
        Ok(Some(turn))
    }

    /// The last word, also for who has waited: the participant may have gone down meanwhile.
    fn admit(&self, slot: Slot, class: Class, call: u64, now: Instant) -> Result<Permit, Pause> {
        let admission = self.lock().state.admit(self.since(now), class, call, fastrand::u64(..));
        match admission {
            Admission::Go => Ok(Permit { slot, call, trial: false }),
            Admission::Trial => Ok(Permit { slot, call, trial: true }),
            // Dropping the slot lets the next one hear the same.
            Admission::Away(pause) => Err(pause),
        }
    }

    /// Calls on their way, calls that wait, and whether the participant is taken for down.
    pub(crate) fn load(&self) -> (usize, usize, bool) {
        let inner = self.lock();
        (self.concurrency - inner.free, inner.queue.len(), inner.state.is_down())
    }

    /// Whether nobody gets an answer from the participant at present.
    pub(crate) fn is_away(&self) -> bool {
        self.lock().state.is_away()
    }

    /// Gives a slot to who waits, else back.
    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut inner = self.lock();
                let Some(next) = inner.queue.pop() else {
                    inner.free += 1;
                    return;
                };
                next
            };
            match next.send(Slot(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // Nobody waits there any more: on to the next, in a loop and not by the slot's own drop.
                Err(mut slot) => slot.0 = None,
            }
        }
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The participant is taken for down, and this call shows whether it still is.
    pub(crate) const fn is_trial(&self) -> bool {
        self.trial
    }

    /// The call has ended. A permit that is dropped instead says nothing of the participant.
    pub(crate) fn finish(self, signal: Signal) {
        if let Some(gate) = &self.slot.0 {
            let now = gate.origin.elapsed();
            gate.lock().state.ended(now, self.call, signal);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.release();
        }
    }
}

/// A call among those of its participant.
fn identity(key: &StepKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
