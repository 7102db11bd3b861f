//! What must be durable before a call is sent.

use super::plan::Plan;
use super::{Saga, state::Action};

impl Saga {
    pub(super) fn is_durable(&self, entry: u64) -> bool {
        entry <= self.committed
    }

    /// What holds for every call: the saga was let run, and what an operator set going is known.
    fn base(&self) -> u64 {
        let rules = self.rules();
        let started = if rules.start_wait { self.state.admitted } else { 0 };
        let acted = if rules.act_wait { self.state.acted } else { 0 };
        started.max(acted)
    }

    /// The entry that must be durable before a compensatable step, or one after the commit point, is sent.
    pub(super) fn forward_gate(&self, plan: &Plan, step: usize) -> u64 {
        let rules = self.rules();
        let mut gate = self.base();
        if rules.strict_wait {
            let waited = plan.ancestors(step).iter().filter(|&above| plan.waits(above, step));
            gate = waited.fold(gate, |gate, above| gate.max(self.state.steps[above].resolved));
        }
        if rules.reads_wait {
            let reads = plan.step(step).reads.iter();
            gate = reads.fold(gate, |gate, &read| gate.max(self.state.steps[read].resolved));
        }
        gate
    }

    /// The entry that must be durable before a step that does not turn back is sent.
    pub(super) fn commit_gate(&self) -> u64 {
        match self.state.commit_point {
            Some((_, mark)) if self.rules().commit_point_wait => mark.entry,
            _ => 0,
        }
    }

    /// The entry that must be durable before a step is sent again.
    pub(super) fn again_gate(&self) -> u64 {
        self.base()
    }

    /// The entry that must be durable before a step's compensation is sent.
    pub(super) fn back_gate(&self, plan: &Plan, step: usize) -> u64 {
        let rules = self.rules();
        let mut gate = self.base();
        if rules.decision_wait {
            gate = gate.max(self.state.decided.map_or(0, |mark| mark.entry));
        }
        let own = &self.state.steps[step];
        if rules.knowledge_wait && own.action == Action::Done {
            gate = gate.max(own.resolved);
        }
        if rules.strict_wait {
            let waited = plan.descendants(step).iter().filter(|&then| plan.waits(step, then));
            gate = waited.fold(gate, |gate, then| {
                let then = &self.state.steps[then];
                gate.max(then.resolved).max(then.undone_by)
            });
        }
        gate
    }
}
