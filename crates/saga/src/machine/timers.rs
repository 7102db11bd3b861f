//! Time: attempts given up, deadlines, the saga's timeout, and when to look again.

use std::time::Duration;

use steadfast_core::{Op, Timestamp};

use super::cause::{Cause, Trouble};
use super::entry::Entry;
use super::input::{Status, Verdict};
use super::plan::Kind;
use super::state::Action;
use super::transition::Turn;

/// How long an unsettled saga may go without being looked at where nothing else is due: while it is held or waits for a
/// commit.
const REVIEW: Duration = Duration::from_mins(1);

impl Turn<'_> {
    /// Gives up attempts that nobody brought an answer of.
    pub(super) fn expire(&mut self) {
        for step in 0..self.saga.live.len() {
            for op in [Op::Action, Op::Compensate] {
                let flight = self.saga.live[step].asking(op).flight;
                if let Some(flight) = flight.filter(|flight| flight.until <= self.now) {
                    let detail = "no answer in time".to_owned();
                    self.verdict(step, op, flight.attempt, Verdict::Unknown { free: false, retry_after: None, detail });
                    // Also where the verdict counts as late, as of a step that is being left out.
                    self.saga.live[step].asking_mut(op).flight = None;
                }
            }
        }
    }

    pub(super) fn check_timeouts(&mut self) {
        if self.state().held.is_some() {
            return;
        }
        if self.saga_is_over_time() {
            let turns =
                matches!(self.state().status, Status::Pending | Status::Running) && self.state().commit_point.is_none();
            if !turns {
                self.overdue();
            } else if !self.is_stopped() {
                let misconfigured = self.state().steps.iter().position(|step| {
                    step.action == Action::Asked && step.asking.trouble == Some(Trouble::Misconfigured)
                });
                let cause = misconfigured.map_or(Cause::Timeout, |step| Cause::Misconfigured { step });
                self.decide(cause);
            }
        }
        if self.state().status == Status::Running && !self.is_stopped() {
            self.check_deadlines();
        }
    }

    fn saga_is_over_time(&self) -> bool {
        self.over_time_at().is_some_and(|at| at <= self.now)
    }

    /// When the saga's own time is up: of the way forward, then of the way back.
    fn over_time_at(&self) -> Option<Timestamp> {
        let from = self.state().decided.map_or(self.state().clock, |mark| mark.at);
        self.plan.timeout().map(|timeout| from + timeout)
    }

    fn overdue(&mut self) {
        if !self.state().overdue {
            self.push(Entry::Overdue { at: self.now });
        }
    }

    fn check_deadlines(&mut self) {
        for step in 0..self.plan.steps().len() {
            if self.deadline_of(step).is_some_and(|at| at <= self.now) {
                if self.kind(step) == Kind::Compensatable {
                    return self.decide(Cause::Deadline { step });
                }
                self.overdue();
            }
        }
    }

    fn deadline_of(&self, step: usize) -> Option<Timestamp> {
        let state = &self.state().steps[step];
        let first = state.asking.first.filter(|_| state.action == Action::Asked && !state.voiding)?;
        self.plan.step(step).deadline.map(|deadline| first + deadline)
    }

    /// The next moment at which time alone changes something. Every saga that is neither settled nor parked has one.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let state = self.state();
        if !state.is_active() {
            return None;
        }
        let mut wake = self.now + REVIEW;
        let mut at = |moment: Option<Timestamp>| {
            if let Some(moment) = moment.filter(|moment| *moment > self.now) {
                wake = wake.min(moment);
            }
        };
        let held = state.held.is_some();
        if !held {
            at(self.over_time_at());
        }
        for (step, live) in self.saga.live.iter().enumerate() {
            at(live.action.flight.map(|flight| flight.until));
            at(live.compensation.flight.map(|flight| flight.until));
            if !held {
                at(live.action.next);
                at(live.compensation.next);
                at(self.deadline_of(step));
            }
        }
        Some(wake)
    }
}
