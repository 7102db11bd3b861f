//! Back: compensations in reverse order of the graph, independent ones in parallel.

use steadfast_core::Op;

use super::entry::Entry;
use super::transition::Turn;

impl Turn<'_> {
    pub(super) fn go_back(&mut self) {
        if self.state().held.is_none() {
            for step in (0..self.plan.steps().len()).rev() {
                if self.can_be_undone(step) && self.passes(self.saga.back_gate(self.plan, step)) {
                    self.ask(step, Op::Compensate);
                }
            }
        }
        self.end_back();
    }

    /// Undone when all that comes after it is undone, or surely was not sent.
    fn can_be_undone(&self, step: usize) -> bool {
        self.state().owes(self.plan, step)
            && self.state().steps[step].parked.is_none()
            && !self.is_in_flight(step, Op::Action)
            && self.is_due(step, Op::Compensate)
            && self
                .plan
                .descendants(step)
                .iter()
                .all(|then| !self.is_in_flight(then, Op::Action) && !self.state().owes(self.plan, then))
    }

    fn end_back(&mut self) {
        if !self.nothing_in_flight() {
            return;
        }
        let state = self.state();
        let mut owing = (0..self.plan.steps().len()).filter(|&step| state.owes(self.plan, step)).peekable();
        if owing.peek().is_none() {
            return self.push(Entry::Compensated { at: self.now });
        }
        let parked = |step: usize| state.steps[step].parked.is_some();
        let moves = owing.any(|step| !parked(step) && !self.plan.descendants(step).iter().any(parked));
        if !moves {
            self.push(Entry::Failed { at: self.now });
        }
    }
}
