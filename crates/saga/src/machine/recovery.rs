//! Taking a saga up from its journal. What the former owner did in memory only is unknown, and is taken for done.

use steadfast_core::Timestamp;

use super::Saga;
use super::entry::Entry;
use super::input::{Conditions, Output, Status};
use super::plan::{Kind, Plan, StepSet};
use super::state::Action;
use super::transition::Turn;

impl Saga {
    pub(super) fn take_up(&mut self, plan: &Plan, conditions: &dyn Conditions, now: Timestamp, random: u64) -> Output {
        for (step, live) in self.live.iter_mut().enumerate() {
            live.action.attempts = self.state.steps[step].asking.attempts;
            live.compensation.attempts = self.state.steps[step].undoing.attempts;
        }
        let doubtful = self.possibly_sent(plan);
        let mut turn = Turn::new(self, plan, conditions, now, random);
        if !doubtful.is_empty() {
            turn.push(Entry::Recovered { at: now, doubtful });
        }
        for step in 0..plan.steps().len() {
            let asks = plan.step(step).probe && plan.step(step).kind != Kind::Compensatable;
            turn.saga.live[step].probe_next = asks && turn.state().steps[step].doubt;
        }
        turn.finish()
    }

    /// The steps whose action may have been sent without a result in the journal, and that are not yet in doubt.
    fn possibly_sent(&self, plan: &Plan) -> StepSet {
        let mut sent = StepSet::EMPTY;
        if !self.rules().possibly_sent {
            return sent;
        }
        match self.state.status {
            Status::Running => {
                for &step in plan.order() {
                    if self.may_be_sent(plan, step, sent) {
                        sent.insert(step);
                    }
                }
            }
            // All first calls came before the decision, and are in the journal with it.
            Status::Compensating => {
                for (step, state) in self.state.steps.iter().enumerate() {
                    if state.action == Action::Asked {
                        sent.insert(step);
                    }
                }
            }
            _ => {}
        }
        let known = self.state.steps.iter().enumerate().filter(|(_, state)| state.doubt);
        known.fold(sent, |sent, (step, _)| sent.without(step))
    }

    /// `sent` holds what was found of the steps before this one. A step that a condition may have skipped counts too:
    /// what comes after it may have been sent all the same.
    fn may_be_sent(&self, plan: &Plan, step: usize, sent: StepSet) -> bool {
        let state = &self.state.steps[step];
        if state.action == Action::Asked {
            return true;
        }
        if state.action != Action::Idle || (plan.step(step).kind != Kind::Compensatable && !self.is_committed()) {
            return false;
        }
        let ended = |step: usize| self.state.steps[step].is_finished();
        plan.ancestors(step).iter().all(|above| ended(above) || (sent.contains(above) && !plan.waits(above, step)))
            && plan.step(step).reads.iter().all(|&read| ended(read))
    }

    fn is_committed(&self) -> bool {
        self.state.commit_point.is_some()
    }
}
