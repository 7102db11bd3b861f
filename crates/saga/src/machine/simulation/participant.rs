//! A participant of one step: its effect in the world, and the barrier that guards it, or not.

use serde_json::Value;
use steadfast_core::{Knowledge, Op};

use super::super::Verdict;
use super::scenario::Habit;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Row {
    Done { output: u64, body: u64 },
    Refused,
    Void,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Site {
    action: Option<Row>,
    undone: Option<u64>,
    /// The effect is in the world.
    pub(super) present: bool,
    /// How often it came into it.
    pub(super) executed: u32,
    /// How often it was taken out of it.
    pub(super) reversed: u32,
    /// A compensation said yes.
    pub(super) compensated: bool,
    /// Without a barrier: an action ran after its compensation, which only a barrier can prevent.
    pub(super) late: bool,
}

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Nothing,
    Executed,
    Reversed,
    Replayed,
    MetVoid,
    MetRefused,
    WroteVoid,
}

/// A call as it arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) op: Op,
    pub(super) probe: bool,
    pub(super) knowledge: Option<Knowledge>,
    pub(super) body: u64,
}

impl Site {
    pub(super) fn serve(
        &mut self,
        request: Request,
        barrier: bool,
        stores_refusals: bool,
        habit: &Habit,
        fresh: u64,
    ) -> Result<(Verdict, Deed), String> {
        match request.op {
            Op::Action if request.probe => Ok((self.probe(fresh), Deed::Nothing)),
            Op::Action if barrier => self.guarded_action(request.body, stores_refusals, habit, fresh),
            Op::Action => Ok(self.bare_action(habit, fresh)),
            Op::Compensate if barrier => self.guarded_compensation(request, habit),
            Op::Compensate => Ok(self.bare_compensation(habit)),
        }
    }

    fn probe(&self, fresh: u64) -> Verdict {
        match self.action {
            Some(Row::Done { output, .. }) => done(output, false),
            _ if self.present => done(fresh, false),
            _ => Verdict::Absent,
        }
    }

    fn guarded_action(
        &mut self,
        body: u64,
        stores_refusals: bool,
        habit: &Habit,
        fresh: u64,
    ) -> Result<(Verdict, Deed), String> {
        match self.action {
            Some(Row::Done { output, body: first }) => {
                if first != body {
                    return Err("the barrier met another body of the same action".to_owned());
                }
                Ok((done(output, habit.unmappable), Deed::Replayed))
            }
            Some(Row::Refused) => Ok((refused("no", true), Deed::MetRefused)),
            Some(Row::Void) => Ok((refused("voided", true), Deed::MetVoid)),
            None if habit.refuses => {
                self.action = stores_refusals.then_some(Row::Refused);
                Ok((refused("no", stores_refusals), Deed::Nothing))
            }
            None => {
                self.action = Some(Row::Done { output: fresh, body });
                self.execute();
                Ok((done(fresh, habit.unmappable), Deed::Executed))
            }
        }
    }

    fn bare_action(&mut self, habit: &Habit, fresh: u64) -> (Verdict, Deed) {
        if habit.refuses || (self.present && habit.refuses_twice) {
            return (refused("no", false), Deed::Nothing);
        }
        self.late |= self.compensated;
        self.execute();
        (done(fresh, habit.unmappable), Deed::Executed)
    }

    fn execute(&mut self) {
        self.present = true;
        self.executed += 1;
    }

    fn guarded_compensation(&mut self, request: Request, habit: &Habit) -> Result<(Verdict, Deed), String> {
        if let Some(first) = self.undone {
            if first != request.body {
                return Err("the barrier met another body of the same compensation".to_owned());
            }
            return Ok((done(0, false), Deed::Replayed));
        }
        let deed = match self.action {
            None if request.knowledge == Some(Knowledge::Done) => {
                return Ok((refused("action-not-found", false), Deed::Nothing));
            }
            None => {
                self.action = Some(Row::Void);
                Deed::WroteVoid
            }
            Some(Row::Refused | Row::Void) => Deed::Nothing,
            Some(Row::Done { .. }) if habit.refuses_compensation => {
                return Ok((refused("locked", false), Deed::Nothing));
            }
            Some(Row::Done { .. }) => Deed::Reversed,
        };
        self.reverse();
        self.undone = Some(request.body);
        Ok((done(0, false), deed))
    }

    fn bare_compensation(&mut self, habit: &Habit) -> (Verdict, Deed) {
        if self.present && habit.refuses_compensation {
            return (refused("locked", false), Deed::Nothing);
        }
        let deed = if self.present { Deed::Reversed } else { Deed::Nothing };
        self.reverse();
        (done(0, false), deed)
    }

    fn reverse(&mut self) {
        self.reversed += u32::from(self.present);
        self.present = false;
        self.compensated = true;
    }

    /// Somebody did by hand what was still owed, and made sure that nothing comes after.
    pub(super) fn by_hand(&mut self) {
        self.reverse();
        self.action = Some(Row::Void);
    }
}

fn done(output: u64, unmappable: bool) -> Verdict {
    let output = if unmappable { Value::Null } else { Value::from(output) };
    Verdict::Done { output, fault: unmappable.then(|| "body.id".to_owned()) }
}

fn refused(code: &str, stored: bool) -> Verdict {
    Verdict::Refused { code: code.to_owned(), detail: String::new(), stored }
}
