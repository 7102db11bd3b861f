//! What a verdict does: to the step, to its budget, to the saga.

use std::time::Duration;

use serde_json::Value;
use steadfast_core::retry::Backoff;
use steadfast_core::{Op, Timestamp};

use super::cause::{Cause, Trouble, Why};
use super::entry::Entry;
use super::input::{Status, Verdict};
use super::plan::{Kind, Retry};
use super::state::Action;
use super::transition::Turn;

/// Pauses while a route or credentials are at fault: somebody has to come and mend them.
const SLOW: Backoff = Backoff { base: Duration::from_secs(5), cap: Duration::from_mins(1) };
/// The longest pause that a participant may ask for.
const LONGEST_WISH: Duration = Duration::from_mins(5);
/// Late replies that are journalled for one saga; more tell nothing new.
const LATE_KEPT: u32 = 32;

/// A verdict that is no end.
struct Setback {
    trouble: Trouble,
    costs: bool,
    wish: Option<Duration>,
    detail: String,
}

impl Turn<'_> {
    pub(super) fn verdict(&mut self, step: usize, op: Op, attempt: u32, verdict: Verdict) {
        let Some(live) = self.saga.live.get_mut(step) else { return };
        let asking = live.asking_mut(op);
        let flight = asking.flight.filter(|flight| flight.attempt == attempt);
        let asked = attempt <= asking.asks;
        let open = match op {
            Op::Action => self.takes_action(step, flight.is_some()),
            Op::Compensate => self.takes_compensation(step),
        };
        let is = self.plan.step(step);
        let stored =
            matches!(verdict, Verdict::Refused { stored: true, .. }) && is.barrier && is.kind != Kind::Retriable;
        let tells = match op {
            Op::Action => matches!(verdict, Verdict::Done { .. }) || stored,
            Op::Compensate => matches!(verdict, Verdict::Done { .. }),
        };
        // Of an attempt that was given up only what is final for all attempts counts.
        if !open || !asked || (flight.is_none() && !tells) {
            return self.late(step, op, attempt, &verdict);
        }
        let probe = flight.is_some_and(|flight| flight.probe);
        let asking = self.saga.live[step].asking_mut(op);
        asking.flight = None;
        match op {
            Op::Action => self.action_verdict(step, probe, verdict),
            Op::Compensate => self.compensation_verdict(step, verdict),
        }
    }

    fn takes_action(&self, step: usize, current: bool) -> bool {
        let state = &self.state().steps[step];
        let status = self.state().status;
        state.action == Action::Asked
            && !state.voiding
            && state.parked.is_none()
            && (status == Status::Running || (status == Status::Compensating && current))
    }

    fn takes_compensation(&self, step: usize) -> bool {
        let state = &self.state().steps[step];
        let status = self.state().status;
        state.knowledge.is_some()
            && !state.undone
            && state.parked.is_none()
            && (status == Status::Compensating || (status == Status::Running && state.voiding))
    }

    fn late(&mut self, step: usize, op: Op, attempt: u32, verdict: &Verdict) {
        if self.state().late < LATE_KEPT {
            self.push(Entry::Late { step, op, at: self.now, attempt, said: verdict.name().to_owned() });
        }
    }

    fn action_verdict(&mut self, step: usize, probe: bool, verdict: Verdict) {
        match verdict {
            Verdict::Done { output, fault } => self.done(step, output, fault),
            Verdict::Refused { code, detail, stored } if !probe => self.refused(step, code, detail, stored),
            Verdict::Absent if probe => self.absent(step),
            Verdict::Refused { detail, .. } => self.unknown(step, false, None, detail),
            Verdict::Absent => self.unknown(step, false, None, "absent".to_owned()),
            Verdict::Unknown { free, retry_after, detail } => self.unknown(step, free, retry_after, detail),
            Verdict::NotSent { retry_after, detail } => {
                let setback = Setback { trouble: Trouble::NotSent, costs: false, wish: retry_after, detail };
                self.set_back(step, Op::Action, setback);
            }
            Verdict::Misconfigured { detail } => self.misconfigured(step, detail),
            Verdict::Unrenderable { detail } => {
                if self.state().status == Status::Running {
                    self.fault(step, Why::Request { detail });
                }
            }
        }
    }

    fn done(&mut self, step: usize, output: Value, fault: Option<String>) {
        let attempts = self.spent(step, Op::Action);
        let live = &mut self.saga.live[step];
        live.action.flight = None;
        live.action.next = None;
        self.push(Entry::Done { step, at: self.now, attempts, output: output.into(), assumed: None });
        if let Some(detail) = fault
            && self.state().status == Status::Running
        {
            self.park(step, Op::Action, Why::Output { detail });
        }
    }

    fn refused(&mut self, step: usize, code: String, detail: String, stored: bool) {
        let is = self.plan.step(step);
        let doubt = self.state().steps[step].doubt && self.saga.rules().doubtful_refusal;
        let certain = (stored && is.barrier) || !doubt;
        match is.kind {
            Kind::Compensatable => self.end_refused(step, code, detail, certain),
            Kind::Pivot if certain => self.end_refused(step, code, detail, true),
            Kind::Pivot if is.probe => {
                let live = &mut self.saga.live[step];
                live.refusal = Some((code, detail));
                live.probe_next = true;
                live.action.next = None;
            }
            Kind::Pivot => self.park(step, Op::Action, Why::Doubtful),
            Kind::Retriable => {
                let setback = Setback { trouble: Trouble::Refused, costs: true, wish: None, detail };
                if self.set_back(step, Op::Action, setback) {
                    self.park(step, Op::Action, Why::Refused { code });
                }
            }
        }
    }

    fn end_refused(&mut self, step: usize, code: String, detail: String, certain: bool) {
        let attempts = self.spent(step, Op::Action);
        let live = &mut self.saga.live[step];
        live.action.flight = None;
        live.action.next = None;
        let (code_kept, detail_kept) = (code.clone(), detail.clone());
        self.push(Entry::Refused { step, at: self.now, attempts, code, detail, certain });
        if self.state().status == Status::Running {
            self.decide(Cause::Refused { step, code: code_kept, detail: detail_kept });
        }
    }

    /// The probe found nothing: believe the refusal that it was asked for, or ask for the action.
    fn absent(&mut self, step: usize) {
        let live = &mut self.saga.live[step];
        live.probe_next = false;
        live.action.next = None;
        if let Some((code, detail)) = live.refusal.take() {
            self.end_refused(step, code, detail, true);
        }
    }

    fn unknown(&mut self, step: usize, free: bool, wish: Option<Duration>, detail: String) {
        let costs = !(free && self.in_grace(step, Op::Action));
        let setback = Setback { trouble: Trouble::Unknown, costs, wish, detail };
        let spent = self.set_back(step, Op::Action, setback);
        if self.kind(step) == Kind::Compensatable {
            if spent && self.state().status == Status::Running {
                self.decide(Cause::Exhausted { step });
            }
        } else if self.plan.step(step).probe {
            self.saga.live[step].probe_next = true;
        }
    }

    fn misconfigured(&mut self, step: usize, detail: String) {
        let before = self.kind(step) == Kind::Compensatable;
        // Where the saga has no timeout, the step's budget ends it.
        let costs = !before || self.plan.timeout().is_none();
        let setback = Setback { trouble: Trouble::Misconfigured, costs, wish: None, detail };
        if self.set_back(step, Op::Action, setback) && self.state().status == Status::Running {
            if before {
                self.decide(Cause::Misconfigured { step });
            } else {
                self.park(step, Op::Action, Why::Misconfigured);
            }
        }
    }

    fn compensation_verdict(&mut self, step: usize, verdict: Verdict) {
        let op = Op::Compensate;
        let (setback, why) = match verdict {
            Verdict::Done { .. } => return self.undone(step),
            Verdict::Unrenderable { detail } => return self.park(step, op, Why::Request { detail }),
            Verdict::Refused { code, .. } if code.ends_with("action-not-found") => {
                return self.park(step, op, Why::ActionNotFound);
            }
            Verdict::Refused { code, detail, .. } => {
                (Setback { trouble: Trouble::Refused, costs: true, wish: None, detail }, Why::Refused { code })
            }
            Verdict::Unknown { free, retry_after: wish, detail } => {
                let costs = !(free && self.in_grace(step, op));
                (Setback { trouble: Trouble::Unknown, costs, wish, detail }, Why::Exhausted)
            }
            Verdict::Absent => {
                let detail = "absent".to_owned();
                (Setback { trouble: Trouble::Unknown, costs: true, wish: None, detail }, Why::Exhausted)
            }
            Verdict::NotSent { retry_after: wish, detail } => {
                (Setback { trouble: Trouble::NotSent, costs: false, wish, detail }, Why::Exhausted)
            }
            Verdict::Misconfigured { detail } => {
                (Setback { trouble: Trouble::Misconfigured, costs: true, wish: None, detail }, Why::Misconfigured)
            }
        };
        if self.set_back(step, op, setback) {
            self.park(step, op, why);
        }
    }

    fn undone(&mut self, step: usize) {
        let attempts = self.spent(step, Op::Compensate);
        let live = &mut self.saga.live[step];
        live.compensation.flight = None;
        live.compensation.next = None;
        if self.state().status == Status::Running {
            self.push(Entry::Voided { step, at: self.now });
        } else {
            self.push(Entry::Undone { step, at: self.now, attempts });
        }
    }

    fn spent(&self, step: usize, op: Op) -> u32 {
        self.saga.live[step].asking(op).attempts
    }

    /// What is free is free until one attempt's timeout after the first call.
    fn in_grace(&self, step: usize, op: Op) -> bool {
        let since = self.saga.live[step].asking(op).since.unwrap_or(self.now);
        self.now < since + self.plan.step(step).attempt_timeout
    }

    /// Counts, journals a change, and sets the pause. Returns whether the budget is spent.
    fn set_back(&mut self, step: usize, op: Op, setback: Setback) -> bool {
        let Setback { trouble, costs, wish, detail } = setback;
        let retry = self.budget(step, op);
        let next = self.pause(step, op, trouble, wish, retry);
        let asking = self.saga.live[step].asking_mut(op);
        asking.attempts += u32::from(costs);
        let attempts = asking.attempts;
        asking.next = Some(next);
        if trouble == Trouble::NotSent {
            // What is not sent takes none of the time in which an answer may be missing: a breaker's pause is nobody's attempt.
            asking.since = asking.since.map(|since| since + next.since(self.now));
        }
        if self.state().steps[step].side(op).trouble != Some(trouble) {
            self.push(Entry::Troubled { step, op, at: self.now, trouble, attempts, detail });
        }
        costs && attempts >= retry.attempts
    }

    fn budget(&self, step: usize, op: Op) -> Retry {
        match op {
            Op::Action => self.plan.step(step).retry,
            Op::Compensate => self.plan.step(step).compensation_retry,
        }
    }

    /// Between half the ceiling and the ceiling: never at once, never all together.
    fn pause(&self, step: usize, op: Op, trouble: Trouble, wish: Option<Duration>, retry: Retry) -> Timestamp {
        let backoff = if trouble == Trouble::Misconfigured { SLOW } else { retry.backoff() };
        let asks = self.saga.live[step].asking(op).asks;
        let random = self.random.rotate_left(u32::try_from(step).unwrap_or_default());
        let pause = backoff.ceiling(asks) / 2 + backoff.pause(asks, random) / 2;
        let wish = wish.unwrap_or_default().min(LONGEST_WISH);
        self.now + pause.max(wish).max(Duration::from_millis(1))
    }
}
