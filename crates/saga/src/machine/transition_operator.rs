//! What people do to a saga. Each act is safe if repeated or raced: whoever is first in the journal wins.

use serde_json::Value;
use steadfast_core::Op;

use super::cause::{Act, Cause};
use super::entry::Entry;
use super::input::{Answer, Conflict, Input, Status};
use super::plan::Kind;
use super::state::Action;
use super::transition::Turn;

impl Turn<'_> {
    pub(super) fn act(&mut self, input: Input) -> Answer {
        match input {
            Input::Admit => self.admit(),
            Input::Cancel(act) => self.turn_back(Cause::Cancelled(act)),
            Input::PermissionRevoked { permission } => self.turn_back(Cause::Permission { permission }),
            Input::Hold(act) => self.hold(act),
            Input::Release(act) => self.release(act),
            Input::Retry(act) => self.retry(act),
            Input::Void { step, act } => self.void(step, act),
            Input::AssumeDone { step, output, act } => self.assume_done(step, output, act),
            Input::Resolve { step, act } => self.resolve(step, &act),
            Input::Verdict { .. } | Input::Deferred { .. } | Input::Committed { .. } | Input::Tick => Answer::Unchanged,
        }
    }

    fn admit(&mut self) -> Answer {
        match self.state().status {
            Status::Pending => self.accept(Entry::Admitted { at: self.now }),
            Status::Running => Answer::Unchanged,
            _ => Answer::Conflict(Conflict::NotPending),
        }
    }

    fn accept(&mut self, entry: Entry) -> Answer {
        self.push(entry);
        Answer::Accepted
    }

    fn turn_back(&mut self, cause: Cause) -> Answer {
        let state = self.state();
        match state.status {
            Status::Completed => Answer::Conflict(Conflict::Settled(Status::Completed)),
            Status::Compensated | Status::Compensating => Answer::Unchanged,
            Status::Failed if state.decided.is_some() => Answer::Unchanged,
            _ if state.commit_point.is_some() => Answer::Conflict(Conflict::CommitPointPassed),
            Status::Pending | Status::Running | Status::Failed => {
                self.decide(cause);
                Answer::Accepted
            }
        }
    }

    fn hold(&mut self, act: Act) -> Answer {
        match self.state().status {
            settled if settled.is_settled() => Answer::Conflict(Conflict::Settled(settled)),
            Status::Failed => Answer::Unchanged,
            _ if self.state().held.is_some() => Answer::Unchanged,
            _ => self.accept(Entry::Held { at: self.now, act }),
        }
    }

    fn release(&mut self, act: Act) -> Answer {
        if self.state().held.is_none() {
            return Answer::Unchanged;
        }
        self.accept(Entry::Released { at: self.now, act })
    }

    fn retry(&mut self, act: Act) -> Answer {
        let state = self.state();
        if state.status.is_settled() {
            return Answer::Conflict(Conflict::Settled(state.status));
        }
        let waits = |step: usize| {
            let live = &self.saga.live[step];
            state.steps[step].parked.is_some() || live.action.next.is_some() || live.compensation.next.is_some()
        };
        if !(0..state.steps.len()).any(waits) {
            return Answer::Unchanged;
        }
        for live in &mut self.saga.live {
            live.action.renew();
            live.compensation.renew();
        }
        self.accept(Entry::Retried { at: self.now, act })
    }

    /// Acts on a single step only make sense on the way forward.
    fn forward_step(&self, step: usize) -> Result<(), Conflict> {
        let state = self.state();
        match state.status {
            settled if settled.is_settled() => Err(Conflict::Settled(settled)),
            _ if step >= state.steps.len() => Err(Conflict::NoSuchStep),
            _ if state.decided.is_some() => Err(Conflict::Compensating),
            Status::Pending => Err(Conflict::NotAsked),
            // What comes after it may have been sent with the real output.
            _ if self.plan.descendants(step).iter().any(|then| state.steps[then].doubt) => {
                Err(Conflict::DependentsSent)
            }
            _ => Ok(()),
        }
    }

    fn void(&mut self, step: usize, act: Act) -> Answer {
        if let Err(conflict) = self.forward_step(step) {
            return Answer::Conflict(conflict);
        }
        let state = &self.state().steps[step];
        if state.voiding || state.action == Action::Voided {
            return Answer::Unchanged;
        }
        if state.parked.is_none() && !matches!(state.action, Action::Idle | Action::Asked) {
            return Answer::Conflict(Conflict::StepEnded);
        }
        let sent = state.doubt || state.action != Action::Idle;
        let is = self.plan.step(step);
        if sent && is.kind != Kind::Compensatable {
            return Answer::Conflict(Conflict::NoCompensation);
        }
        let calls = sent && is.compensable;
        let live = &mut self.saga.live[step];
        live.action.flight = None;
        live.action.next = None;
        live.compensation.renew();
        self.push(Entry::Voiding { step, at: self.now, act });
        if !calls {
            self.push(Entry::Voided { step, at: self.now });
        }
        Answer::Accepted
    }

    fn assume_done(&mut self, step: usize, output: Value, act: Act) -> Answer {
        if let Err(conflict) = self.forward_step(step) {
            return Answer::Conflict(conflict);
        }
        let state = &self.state().steps[step];
        if state.assumed {
            return Answer::Unchanged;
        }
        let parked = matches!(state.parked, Some((Op::Action, _)));
        match state.action {
            Action::Asked if !state.voiding => {}
            _ if parked => {}
            Action::Idle => return Answer::Conflict(Conflict::NotAsked),
            _ => return Answer::Conflict(Conflict::StepEnded),
        }
        let live = &mut self.saga.live[step];
        live.action.flight = None;
        live.action.next = None;
        let attempts = live.action.attempts;
        self.accept(Entry::Done { step, at: self.now, attempts, output: output.into(), assumed: Some(act) })
    }

    fn resolve(&mut self, step: Option<usize>, act: &Act) -> Answer {
        let state = self.state();
        if state.status.is_settled() {
            return Answer::Conflict(Conflict::Settled(state.status));
        }
        if step.is_some_and(|step| step >= state.steps.len()) {
            return Answer::Conflict(Conflict::NoSuchStep);
        }
        let parked: Vec<(usize, Op)> = (0..state.steps.len())
            .filter(|index| step.is_none_or(|step| step == *index))
            .filter_map(|index| state.steps[index].parked.as_ref().map(|(op, _)| (index, *op)))
            .collect();
        if parked.is_empty() {
            return Answer::Conflict(Conflict::NotParked);
        }
        let mut turns = false;
        for (step, op) in parked {
            self.push(Entry::Resolved { step, op, at: self.now, act: act.clone() });
            turns |= op == Op::Action && self.kind(step) == Kind::Pivot;
        }
        if turns {
            self.decide(Cause::Resolved(act.clone()));
        }
        Answer::Accepted
    }
}
