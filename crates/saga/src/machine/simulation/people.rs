//! What people do to a saga, at any time.

use serde_json::Value;
use steadfast_core::Op;

use super::super::{Act, Answer, Conflict, Input, Kind, Status};
use super::mark::Mark;
use super::scenario::Deed;
use super::world::{Checked, Event, World};

impl World<'_> {
    /// An act, given to the owner; lost where there is none.
    pub(super) fn instruct(&mut self, input: Input) -> Checked<()> {
        if self.owner.is_none() {
            if matches!(input, Input::Admit | Input::Release(_)) && !self.lost {
                let again = if matches!(input, Input::Admit) { Event::Deed(usize::MAX) } else { Event::Release };
                self.schedule(500, again);
            }
            return Ok(());
        }
        self.feed(self.epoch, input)
    }

    pub(super) fn deed(&mut self, deed: &Deed) -> Checked<()> {
        let random = self.rng.u64(..);
        let Some(owner) = self.owner.as_mut() else { return Ok(()) };
        let now = owner.clock(self.now);
        let (before, held) = (owner.saga.status(), owner.saga.is_held());
        let input = match *deed {
            Deed::Cancel => Input::Cancel(act()),
            Deed::Hold => Input::Hold(act()),
            Deed::Release => Input::Release(act()),
            Deed::Retry => Input::Retry(act()),
            Deed::Void(step) => Input::Void { step, act: act() },
            Deed::AssumeDone(step) => Input::AssumeDone { step, output: Value::from(7), act: act() },
            Deed::Revoke => Input::PermissionRevoked { permission: String::from("order.place") },
        };
        let output = owner.saga.handle(self.plan, self.scenario, input, now, random);
        let answer = output.answer;
        self.tell(|| format!("    {deed:?}: {answer:?}"));
        let accepted = answer == Some(Answer::Accepted);
        match deed {
            Deed::Void(step) | Deed::AssumeDone(step) if accepted => {
                self.meddled.insert(*step);
                self.marks.hit(if matches!(deed, Deed::Void(_)) { Mark::Voided } else { Mark::AssumedDone });
            }
            Deed::Hold if accepted => self.marks.hit(Mark::Held),
            Deed::Revoke if accepted => self.marks.hit(Mark::PermissionRevoked),
            Deed::Cancel => match (before, answer) {
                (Status::Pending, _) => self.marks.hit(Mark::CancelPending),
                (Status::Running, Some(Answer::Accepted)) if held => self.marks.hit(Mark::CancelHeld),
                (Status::Running, Some(Answer::Accepted)) => self.marks.hit(Mark::CancelRunning),
                (Status::Compensating, Some(Answer::Unchanged)) => self.marks.hit(Mark::CancelCompensating),
                (_, Some(Answer::Conflict(Conflict::CommitPointPassed))) => self.marks.hit(Mark::CancelPastCommitPoint),
                _ => {}
            },
            _ => {}
        }
        self.emit(self.epoch, output)
    }

    /// Somebody comes to a parked saga, mends what was broken, and tries again or does the rest by hand.
    pub(super) fn operator(&mut self) -> Checked<()> {
        let Some(owner) = self.owner.as_ref().filter(|owner| owner.saga.is_parked()) else { return Ok(()) };
        for habit in &mut self.habits {
            habit.unmappable = false;
            habit.refuses_compensation &= self.scenario.operator == 2;
        }
        if self.scenario.operator == 1 {
            for (step, habit) in self.habits.iter_mut().enumerate() {
                habit.refuses &= self.plan.step(step).kind != Kind::Retriable;
                habit.refuses_twice = false;
            }
            return self.feed(self.epoch, Input::Retry(act()));
        }
        for step in 0..self.plan.steps().len() {
            let Some((op, _)) = &owner.saga.state.steps[step].parked else { continue };
            self.meddled.insert(step);
            self.by_hand.insert(step);
            if *op == Op::Compensate || self.plan.step(step).kind == Kind::Pivot {
                self.sites[step].by_hand();
            }
        }
        self.marks.hit(Mark::ResolvedByHand);
        self.feed(self.epoch, Input::Resolve { step: None, act: act() })
    }
}

pub(super) fn act() -> Act {
    Act { by: String::from("operator"), reason: String::from("because") }
}
