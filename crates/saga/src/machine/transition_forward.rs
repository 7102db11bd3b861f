//! Forward: conditions, first calls, the commit point, and the ends of a running saga.

use steadfast_core::Op;

use super::cause::Why;
use super::entry::Entry;
use super::input::Status;
use super::plan::Kind;
use super::state::Action;
use super::transition::Turn;

impl Turn<'_> {
    pub(super) fn go_forward(&mut self) {
        if self.state().held.is_none() && !self.is_stopped() {
            self.send_forward();
        }
        if self.state().status == Status::Running {
            self.end_forward();
        }
    }

    fn send_forward(&mut self) {
        let plan = self.plan;
        for &step in plan.order() {
            let state = &self.state().steps[step];
            if state.parked.is_some() {
                continue;
            }
            if state.voiding {
                if self.is_due(step, Op::Compensate) && self.passes(self.saga.again_gate()) {
                    self.ask(step, Op::Compensate);
                }
                continue;
            }
            match state.action {
                Action::Idle => self.ask_first(step),
                Action::Asked => self.ask_again(step),
                _ => {}
            }
            if self.state().status != Status::Running {
                return;
            }
        }
    }

    fn ask_first(&mut self, step: usize) {
        // All that it comes after, not only what it names: an operator may leave out a step between them at any time.
        if !self.plan.ancestors(step).iter().all(|need| self.state().steps[need].is_finished()) {
            return;
        }
        let decides = self.kind(step) != Kind::Compensatable && self.state().commit_point.is_none();
        // The commit point's own wait covers the results before it: one commit for both.
        if !decides && !self.passes(self.saga.forward_gate(self.plan, step)) {
            return;
        }
        if !self.holds(step) {
            return;
        }
        if self.kind(step) != Kind::Compensatable {
            if decides {
                self.push(Entry::CommitPoint { step, at: self.now });
            }
            if !self.passes(self.saga.commit_gate()) {
                return;
            }
        }
        self.ask(step, Op::Action);
    }

    fn ask_again(&mut self, step: usize) {
        if self.is_due(step, Op::Action) && self.passes(self.saga.again_gate()) {
            self.ask(step, Op::Action);
        }
    }

    /// Evaluates a `when`, once.
    fn holds(&mut self, step: usize) -> bool {
        if !self.plan.step(step).conditional {
            return true;
        }
        if let Some(holds) = self.state().steps[step].condition {
            return holds;
        }
        match self.conditions.when(step, &self.saga.outputs(self.plan, step, Op::Action)) {
            Ok(holds) => {
                self.push(Entry::Condition { step, holds });
                holds
            }
            Err(detail) => {
                self.fault(step, Why::Condition { detail });
                false
            }
        }
    }

    fn end_forward(&mut self) {
        let steps = &self.state().steps;
        if steps.iter().all(super::state::StepState::is_finished) {
            return self.push(Entry::Completed { at: self.now });
        }
        if steps.iter().all(|step| step.parked.is_none()) || !self.nothing_in_flight() {
            return;
        }
        let moves = !self.is_stopped()
            && (0..steps.len()).any(|step| {
                let blocked = self.plan.ancestors(step).iter().any(|above| steps[above].parked.is_some());
                !steps[step].is_finished() && steps[step].parked.is_none() && !blocked
            });
        if !moves {
            self.push(Entry::Failed { at: self.now });
        }
    }
}
