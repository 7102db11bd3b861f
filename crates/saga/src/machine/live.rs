//! What is only in memory: calls in flight, pauses, and attempts since the last entry that counted them. A crash loses
//! it, and recovery needs none of it.

use steadfast_core::{Op, Timestamp};

/// A call that was handed out and has not come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) attempt: u32,
    pub(super) until: Timestamp,
    pub(super) probe: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Asking {
    /// Calls handed out.
    pub(super) asks: u32,
    /// Calls that cost an attempt.
    pub(super) attempts: u32,
    /// The first call of this ownership or budget: what is free is free for one attempt's timeout from here.
    pub(super) since: Option<Timestamp>,
    pub(super) flight: Option<Flight>,
    /// Not before.
    pub(super) next: Option<Timestamp>,
}

impl Asking {
    pub(super) fn renew(&mut self) {
        self.attempts = 0;
        self.since = None;
        self.next = None;
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    pub(super) action: Asking,
    pub(super) compensation: Asking,
    /// The next call of a commit point asks whether it was done.
    pub(super) probe_next: bool,
    /// A commit point's refusal that is believed once the probe says that nothing is there.
    pub(super) refusal: Option<(String, String)>,
}

impl Live {
    pub(super) fn asking(&self, op: Op) -> &Asking {
        match op {
            Op::Action => &self.action,
            Op::Compensate => &self.compensation,
        }
    }

    pub(super) fn asking_mut(&mut self, op: Op) -> &mut Asking {
        match op {
            Op::Action => &mut self.action,
            Op::Compensate => &mut self.compensation,
        }
    }

    pub(super) fn in_flight(&self) -> bool {
        self.action.flight.is_some() || self.compensation.flight.is_some()
    }
}
