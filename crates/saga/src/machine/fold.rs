//! How each entry changes the state. Total: a journal that is not damaged folds without a fault.

use std::time::Duration;

use serde_json::Value;
use steadfast_core::{Op, Timestamp};

use super::cause::{Cause, Trouble, Why};
use super::entry::{Entry, Json};
use super::input::Status;
use super::plan::{Kind, Plan};
use super::state::{Action, Corrupt, Mark, State, StepState};

impl State {
    /// Folds one entry of a journal that may be damaged.
    pub(super) fn replay(&mut self, plan: &Plan, entry: &Entry) -> Result<(), Corrupt> {
        let number = self.entries + 1;
        if matches!(entry, Entry::Started { .. }) != (number == 1) {
            return Err(Corrupt::Start(number));
        }
        if let Some(step) = entry.step().filter(|&step| step >= plan.steps().len()) {
            return Err(Corrupt::Step { entry: number, step });
        }
        if let Entry::Recovered { doubtful, .. } = entry
            && let Some(step) = doubtful.last().filter(|&step| step >= plan.steps().len())
        {
            return Err(Corrupt::Step { entry: number, step });
        }
        self.apply(plan, entry);
        Ok(())
    }

    /// Folds one entry.
    pub(super) fn apply(&mut self, plan: &Plan, entry: &Entry) {
        self.entries += 1;
        let number = self.entries;
        match entry {
            Entry::Started { at, admitted } => {
                self.started = *at;
                self.clock = *at;
                if *admitted {
                    self.admit(number);
                }
            }
            Entry::Admitted { .. } => self.admit(number),
            Entry::Recovered { doubtful, .. } => {
                for step in doubtful.iter() {
                    self.steps[step].doubt = true;
                }
            }
            Entry::CommitPoint { step, at } => self.commit_point = Some((*step, Mark { at: *at, entry: number })),
            Entry::Compensating { at, cause } => self.turn_back(*at, cause),
            Entry::Overdue { .. } => self.overdue = true,
            Entry::Held { at, .. } => self.held = Some(*at),
            Entry::Released { at, .. } => {
                self.release(*at);
                self.acted = number;
            }
            Entry::Retried { at, .. } => self.renew(*at),
            Entry::Late { .. } => self.late += 1,
            Entry::Completed { .. } => self.end(Status::Completed),
            Entry::Compensated { .. } => self.end(Status::Compensated),
            Entry::Failed { at } => {
                self.end(Status::Failed);
                self.parked_at = Some(*at);
            }
            Entry::Condition { .. }
            | Entry::Asked { .. }
            | Entry::Troubled { .. }
            | Entry::Done { .. }
            | Entry::Refused { .. }
            | Entry::Undone { .. }
            | Entry::Parked { .. }
            | Entry::Voiding { .. }
            | Entry::Voided { .. }
            | Entry::Resolved { .. } => self.apply_to_step(plan, entry),
        }
    }

    fn apply_to_step(&mut self, plan: &Plan, entry: &Entry) {
        let number = self.entries;
        let Some(index) = entry.step() else { return };
        let step = &mut self.steps[index];
        match entry {
            Entry::Condition { holds, .. } => {
                step.condition = Some(*holds);
                if !holds {
                    step.action = Action::Skipped;
                    step.resolved = number;
                }
            }
            Entry::Asked { op, at, knowledge, .. } => {
                step.side_mut(*op).first = Some(*at);
                match op {
                    Op::Action => step.action = Action::Asked,
                    Op::Compensate => step.knowledge = *knowledge,
                }
            }
            Entry::Troubled { op, trouble, attempts, .. } => {
                let side = step.side_mut(*op);
                side.trouble = Some(*trouble);
                side.attempts = *attempts;
                if *op == Op::Action && matches!(trouble, Trouble::Unknown | Trouble::Misconfigured) {
                    step.doubt = true;
                }
            }
            Entry::Done { at, attempts, output, assumed, .. } => {
                step.action = Action::Done;
                step.asking.attempts = *attempts;
                step.output = Some(output.clone());
                step.assumed = assumed.is_some();
                step.resolved = number;
                if assumed.is_some() {
                    step.parked = None;
                    self.resume(*at);
                }
            }
            Entry::Refused { attempts, certain, .. } => {
                step.action = Action::Refused { certain: *certain };
                step.asking.attempts = *attempts;
                step.resolved = number;
            }
            Entry::Undone { attempts, .. } => {
                step.undone = true;
                step.undone_by = number;
                step.undoing.attempts = *attempts;
            }
            Entry::Parked { op, why, .. } => step.parked = Some((*op, why.clone())),
            Entry::Voiding { at, .. } => {
                step.voiding = true;
                step.voided_by = Some(number);
                step.parked = None;
                // A call may be on the way that nobody waits for any more.
                step.doubt |= step.action == Action::Asked;
                self.resume(*at);
            }
            Entry::Voided { .. } => step.void(number),
            Entry::Resolved { op, at, .. } => self.resolve(plan, index, *op, *at),
            _ => {}
        }
    }

    fn admit(&mut self, number: u64) {
        self.status = Status::Running;
        self.admitted = number;
    }

    fn turn_back(&mut self, at: Timestamp, cause: &Cause) {
        self.status = Status::Compensating;
        self.decided = Some(Mark { at, entry: self.entries });
        if matches!(cause, Cause::Cancelled(_)) {
            self.held = None;
        }
        self.parked_at = None;
        self.cause = Some(cause.clone());
        for step in &mut self.steps {
            step.parked = None;
            step.undoing.attempts = 0;
        }
    }

    /// New budgets for all.
    fn renew(&mut self, at: Timestamp) {
        self.resume(at);
        for step in &mut self.steps {
            for op in [Op::Action, Op::Compensate] {
                let side = step.side_mut(op);
                side.attempts = 0;
                side.first = side.first.map(|_| at);
            }
            // Done, but with an output that did not map: to have it again, ask again.
            if matches!(step.parked, Some((Op::Action, Why::Output { .. }))) {
                step.action = Action::Asked;
                step.doubt = true;
                step.output = None;
                step.resolved = 0;
            }
            step.parked = None;
        }
    }

    fn release(&mut self, at: Timestamp) {
        if let Some(held) = self.held.take() {
            self.skip_time(at.since(held));
        }
    }

    /// Time that nobody could use does not count.
    fn skip_time(&mut self, pause: Duration) {
        self.clock = self.clock + pause;
        for step in &mut self.steps {
            step.asking.first = step.asking.first.map(|first| first + pause);
        }
    }

    /// An operator's act sets it going.
    fn resume(&mut self, at: Timestamp) {
        self.acted = self.entries;
        if let Some(parked) = self.parked_at.take() {
            self.skip_time(at.since(parked));
        }
        if self.status == Status::Failed {
            self.status = if self.decided.is_some() { Status::Compensating } else { Status::Running };
        }
    }

    fn resolve(&mut self, plan: &Plan, index: usize, op: Op, at: Timestamp) {
        let number = self.entries;
        let returning = self.decided.is_some();
        let step = &mut self.steps[index];
        step.parked = None;
        match op {
            Op::Compensate if returning => {
                step.undone = true;
                step.undone_by = number;
            }
            Op::Compensate => step.void(number),
            Op::Action if plan.step(index).kind == Kind::Pivot => {
                step.action = Action::Refused { certain: true };
                step.resolved = number;
            }
            Op::Action => {
                if step.action != Action::Done {
                    step.action = Action::Done;
                    step.assumed = true;
                }
                step.output.get_or_insert_with(|| Json::from(Value::Null));
                step.resolved = number;
            }
        }
        self.resume(at);
    }

    fn end(&mut self, status: Status) {
        self.status = status;
        self.ended = self.entries;
    }
}

impl StepState {
    fn void(&mut self, number: u64) {
        self.action = Action::Voided;
        self.voiding = false;
        self.doubt = false;
        self.parked = None;
        self.output = None;
        self.resolved = number;
        self.undone_by = number;
    }
}
