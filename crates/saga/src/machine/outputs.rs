//! Which outputs the expressions of a step may read. Every attempt must see the same ones, so that it is byte-equal.

use serde_json::Value;
use steadfast_core::{Knowledge, Op};

use super::Saga;
use super::entry::Json;
use super::plan::{Plan, StepSet};
use super::state::State;

/// The outputs that an expression of one step may read: of the steps that it comes after, and in a compensation its own.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    state: &'a State,
    visible: StepSet,
}

impl<'a> Outputs<'a> {
    /// A step's output, where the step is visible and done.
    pub fn get(&self, step: usize) -> Option<&'a Value> {
        if !self.visible.contains(step) {
            return None;
        }
        self.state.steps.get(step)?.output.as_ref().map(Json::get)
    }
}

impl Saga {
    /// The outputs that the request of a step's effect may read. A compensation sees what was known when the saga
    /// turned back, or its step was left out, and its own step's output if it says that the action is done: what comes in later must not make a
    /// second attempt differ from the first.
    pub fn outputs(&self, plan: &Plan, step: usize, op: Op) -> Outputs<'_> {
        let ancestors = plan.ancestors(step);
        let mut visible = ancestors;
        if op == Op::Compensate {
            let own = &self.state.steps[step];
            let turned = own.voided_by.or(self.state.decided.map(|mark| mark.entry)).unwrap_or(u64::MAX);
            let known = |step: usize| self.state.steps[step].resolved <= turned;
            visible = ancestors.iter().filter(|&step| known(step)).collect();
            if known(step) || own.knowledge == Some(Knowledge::Done) {
                visible.insert(step);
            }
        }
        Outputs { state: &self.state, visible }
    }
}
