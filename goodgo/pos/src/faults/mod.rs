//! Faults between the orchestrator and a service, by seed: replies that are lost after the work, late answers, refusals
//! to work for now, and compensations that are refused for good.
//!
//! A [`Faults`] is shared by all services of a run; [`Faults::layer`] goes around each service's saga routes. What a call
//! meets is a pure function of seed and call ([`decide`]); in sum a share `rate` of the sagas meets something. No call
//! meets more than [`MOST_PER_CALL`] faults that pass, so a retry always gets through.
//!
//! ```
//! use goodgo_pos::faults::{Faults, Settings};
//!
//! let faults = Faults::new(Settings { seed: 7, rate: 0.1, refusal_rate: 0.0 });
//! // router.layer(faults.layer()) on the saga routes of each service …
//! faults.stop(); // … and, at the end of the run, no fault any more but compensations that are refused for good
//! assert_eq!(faults.refused(), []);
//! ```

mod body;
mod decide;
mod layer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steadfast::core::StepKey;

pub use body::{Body, Cut};
pub use decide::{Fault, MOST_PER_CALL, decide, is_refused_for_good};
pub use layer::{Faulty, Layer};

/// What to inject.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// Decides all.
    pub seed: u64,
    /// The share of sagas that meet a fault which passes, from 0 to 1.
    pub rate: f64,
    /// The share of compensations that are refused for good, from 0 to 1: each leaves a saga for an operator.
    pub refusal_rate: f64,
}

/// How often each was injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Replies lost after the work.
    pub lost_replies: u64,
    /// Late answers.
    pub late: u64,
    /// Calls turned away before the work.
    pub unavailable: u64,
    /// Attempts of compensations that are refused for good.
    pub refused: u64,
}

/// The faults of a run; its clones are the same.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Visits of the calls that met a fault: an orchestrator that was killed counts its attempts from 1 again.
    visits: BTreeMap<StepKey, u32>,
    refused: BTreeSet<StepKey>,
    counts: Counts,
}

impl Faults {
    /// Faults by these settings.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner { settings, stopped: AtomicBool::new(false), state: Mutex::default() }))
    }

    /// The layer for a service's saga routes.
    pub fn layer(&self) -> Layer {
        Layer::new(self.clone())
    }

    /// No fault from now on, but for compensations that are refused for good: they stay so.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }

    /// The compensations that were refused: why a saga may be parked.
    pub fn refused(&self) -> Vec<StepKey> {
        self.lock().refused.iter().cloned().collect()
    }

    /// How often each was injected so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// What this visit of the call meets; remembered.
    fn meet(&self, key: &StepKey, attempt: u32) -> Fault {
        let Settings { seed, rate, refusal_rate } = self.0.settings;
        if is_refused_for_good(seed, refusal_rate, key) {
            let mut state = self.lock();
            state.refused.insert(key.clone());
            state.counts.refused += 1;
            return Fault::Refused;
        }
        if self.0.stopped.load(Ordering::Relaxed) || decide(seed, rate, key, 1) == Fault::None {
            return Fault::None;
        }
        let mut state = self.lock();
        let visits = state.visits.entry(key.clone()).or_default();
        *visits = attempt.max(*visits + 1);
        let fault = decide(seed, rate, key, *visits);
        match fault {
            Fault::None | Fault::Refused => {}
            Fault::LostReply => state.counts.lost_replies += 1,
            Fault::Late(_) => state.counts.late += 1,
            Fault::Unavailable => state.counts.unavailable += 1,
        }
        fault
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
