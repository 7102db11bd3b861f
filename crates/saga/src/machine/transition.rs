//! One turn of the machine: what all cases share.

use std::time::Duration;

use steadfast_core::{Knowledge, Op, Timestamp};

use super::Saga;
use super::cause::{Cause, Why};
use super::entry::Entry;
use super::input::{Call, Conditions, Input, Output, Status};
use super::live::Flight;
use super::plan::{Kind, Plan};
use super::state::{Action, State};

/// How much later than the client the machine gives up an attempt: the client's own verdict should come first.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Turn<'a> {
    pub(super) saga: &'a mut Saga,
    pub(super) plan: &'a Plan,
    pub(super) conditions: &'a dyn Conditions,
    pub(super) now: Timestamp,
    pub(super) random: u64,
    pub(super) out: Output,
    /// Something waits for a commit.
    pub(super) waiting: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        saga: &'a mut Saga,
        plan: &'a Plan,
        conditions: &'a dyn Conditions,
        now: Timestamp,
        random: u64,
    ) -> Self {
        Self { saga, plan, conditions, now, random, out: Output::default(), waiting: false }
    }

    pub(super) fn take(&mut self, input: Input) {
        match input {
            Input::Verdict { step, op, attempt, verdict } => self.verdict(step, op, attempt, verdict),
            Input::Deferred { step, op, attempt, until } => self.defer(step, op, attempt, until),
            Input::Committed { entries } => {
                self.saga.committed = self.saga.committed.max(entries.min(self.state().entries));
            }
            Input::Tick => {}
            act => {
                let answer = self.act(act);
                self.out.answer = Some(answer);
                // Whoever acted is told once it is durable.
                self.waiting |= !self.saga.is_durable(self.state().entries);
            }
        }
    }

    /// Does all that can be done now.
    pub(super) fn finish(mut self) -> Output {
        if self.state().is_active() {
            self.expire();
            self.check_timeouts();
        }
        if self.state().status == Status::Running {
            self.go_forward();
        }
        if self.state().status == Status::Compensating {
            self.go_back();
        }
        self.report();
        self.saga.wake = self.next_wake();
        self.out.urgent = self.waiting;
        self.out
    }

    pub(super) fn state(&self) -> &State {
        &self.saga.state
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.saga.state.apply(self.plan, &entry);
        self.out.entries.push(entry);
    }

    /// Whether the entry is durable; where not, somebody now waits for it.
    pub(super) fn passes(&mut self, entry: u64) -> bool {
        let durable = self.saga.is_durable(entry);
        self.waiting |= !durable;
        durable
    }

    pub(super) fn is_in_flight(&self, step: usize, op: Op) -> bool {
        self.saga.live[step].asking(op).flight.is_some()
    }

    /// Whether a pause, or a call on the way, keeps the step from being asked.
    pub(super) fn is_due(&self, step: usize, op: Op) -> bool {
        let asking = self.saga.live[step].asking(op);
        asking.flight.is_none() && asking.next.is_none_or(|next| next <= self.now)
    }

    /// Hands out one call.
    pub(super) fn ask(&mut self, step: usize, op: Op) {
        let now = self.now;
        let knowledge = (op == Op::Compensate).then(|| self.knowledge(step));
        let state = &self.state().steps[step];
        if state.side(op).first.is_none() || (op == Op::Action && state.action == Action::Idle) {
            self.push(Entry::Asked { step, op, at: now, knowledge });
        }
        let timeout = self.plan.step(step).attempt_timeout;
        let live = &mut self.saga.live[step];
        let probe = op == Op::Action && live.probe_next;
        let asking = live.asking_mut(op);
        asking.asks += 1;
        asking.since.get_or_insert(now);
        asking.next = None;
        asking.flight = Some(Flight { attempt: asking.asks, until: now + timeout + PATIENCE, probe });
        let attempt = asking.asks;
        self.out.calls.push(Call { step, op, attempt, knowledge, probe, timeout });
    }

    /// What a compensation says of the action; the first one's word stands for all.
    fn knowledge(&self, step: usize) -> Knowledge {
        let state = &self.state().steps[step];
        let known = state.action == Action::Done && !state.assumed && !state.voiding;
        state.knowledge.unwrap_or(if known { Knowledge::Done } else { Knowledge::Unknown })
    }

    fn defer(&mut self, step: usize, op: Op, attempt: u32, until: Timestamp) {
        let Some(live) = self.saga.live.get_mut(step) else { return };
        if let Some(flight) = live.asking_mut(op).flight.as_mut().filter(|flight| flight.attempt == attempt) {
            flight.until = flight.until.max(until + PATIENCE);
        }
    }

    /// The decision to turn back.
    pub(super) fn decide(&mut self, cause: Cause) {
        self.push(Entry::Compensating { at: self.now, cause });
        for live in &mut self.saga.live {
            live.action.next = None;
            live.compensation.renew();
        }
    }

    pub(super) fn park(&mut self, step: usize, op: Op, why: Why) {
        self.saga.live[step].asking_mut(op).next = None;
        self.push(Entry::Parked { step, op, at: self.now, why });
    }

    /// The definition is at fault at a step whose action was not sent.
    pub(super) fn fault(&mut self, step: usize, why: Why) {
        if self.state().commit_point.is_some() {
            return self.park(step, Op::Action, why);
        }
        let detail = match why {
            Why::Request { detail } | Why::Condition { detail } => detail,
            other => other.name().to_owned(),
        };
        self.decide(Cause::Fault { step, detail });
    }

    /// Whether a step before the commit point is parked: then nothing more is sent forward.
    pub(super) fn is_stopped(&self) -> bool {
        self.state().commit_point.is_none() && self.state().steps.iter().any(|step| step.parked.is_some())
    }

    pub(super) fn nothing_in_flight(&self) -> bool {
        !self.saga.live.iter().any(super::live::Live::in_flight)
    }

    pub(super) fn kind(&self, step: usize) -> Kind {
        self.plan.step(step).kind
    }

    /// Says once that the saga has ended, when that is durable.
    fn report(&mut self) {
        let entry = self.state().ended;
        if self.state().is_active() || self.saga.reported == entry {
            return;
        }
        if self.passes(if self.saga.rules().end_wait { entry } else { 0 }) {
            self.saga.reported = entry;
            self.out.ended = true;
        }
    }
}
