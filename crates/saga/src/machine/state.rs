//! The durable state: nothing but the fold of the entries.

use steadfast_core::{Knowledge, Op, Timestamp};

use super::cause::{Cause, Trouble, Why};
use super::entry::Json;
use super::input::Status;
use super::plan::Plan;

/// Entries that no saga can have written: the journal is damaged, or not of this plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corrupt {
    /// The first entry is not a start, or a later one is.
    #[error("a saga's journal begins with one start: entry {0} breaks this")]
    Start(u64),
    /// An entry names a step that the plan does not have.
    #[error("entry {entry} names step {step}, which the definition does not have")]
    Step {
        /// Which entry, from 1.
        entry: u64,
        /// The step.
        step: usize,
    },
}

/// What is known of a step's action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Action {
    #[default]
    Idle,
    Asked,
    Done,
    Refused {
        certain: bool,
    },
    Skipped,
    Voided,
}

/// How asking for one of a step's effects went.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Side {
    pub(super) first: Option<Timestamp>,
    pub(super) attempts: u32,
    pub(super) trouble: Option<Trouble>,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts, each set by an entry of its own")]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StepState {
    pub(super) action: Action,
    /// The action may have been done by an attempt whose end is not known.
    pub(super) doubt: bool,
    pub(super) condition: Option<bool>,
    pub(super) output: Option<Json>,
    /// Done because an operator said so.
    pub(super) assumed: bool,
    /// Number of the entry by which the action came to its end.
    pub(super) resolved: u64,
    pub(super) asking: Side,
    pub(super) undoing: Side,
    /// What the first compensation said; all attempts say the same.
    pub(super) knowledge: Option<Knowledge>,
    pub(super) undone: bool,
    /// Number of the entry by which the compensation came to its end.
    pub(super) undone_by: u64,
    /// Left out by an operator, its compensation on the way.
    pub(super) voiding: bool,
    /// Number of the entry by which it was to be left out: its compensation knows what was known then.
    pub(super) voided_by: Option<u64>,
    pub(super) parked: Option<(Op, Why)>,
}

impl StepState {
    /// Whether what comes after it may go on.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.action, Action::Done | Action::Skipped | Action::Voided) && self.parked.is_none() && !self.voiding
    }

    /// Whether an effect may be there that nobody has taken back.
    pub(super) fn may_be_done(&self) -> bool {
        !self.undone
            && match self.action {
                Action::Done => true,
                Action::Idle | Action::Asked | Action::Skipped => self.doubt,
                Action::Refused { certain } => !certain,
                Action::Voided => false,
            }
    }

    pub(super) fn side(&self, op: Op) -> &Side {
        match op {
            Op::Action => &self.asking,
            Op::Compensate => &self.undoing,
        }
    }

    pub(super) fn side_mut(&mut self, op: Op) -> &mut Side {
        match op {
            Op::Action => &mut self.asking,
            Op::Compensate => &mut self.undoing,
        }
    }
}

/// A point in the journal: the moment and the number of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: Timestamp,
    pub(super) entry: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    pub(super) status: Status,
    pub(super) started: Timestamp,
    /// From when its timeout counts: its start, moved on by the time that it was held or parked.
    pub(super) clock: Timestamp,
    pub(super) parked_at: Option<Timestamp>,
    pub(super) held: Option<Timestamp>,
    pub(super) overdue: bool,
    /// How many entries were folded.
    pub(super) entries: u64,
    /// Number of the entry that let it run.
    pub(super) admitted: u64,
    /// Number of the last entry by which an operator set it going.
    pub(super) acted: u64,
    /// Number of the entry by which it was settled or parked.
    pub(super) ended: u64,
    pub(super) cause: Option<Cause>,
    pub(super) decided: Option<Mark>,
    pub(super) commit_point: Option<(usize, Mark)>,
    pub(super) late: u32,
    pub(super) steps: Vec<StepState>,
}

impl State {
    pub(super) fn new(steps: usize) -> Self {
        Self {
            status: Status::Pending,
            started: Timestamp::default(),
            clock: Timestamp::default(),
            parked_at: None,
            held: None,
            overdue: false,
            entries: 0,
            admitted: 0,
            acted: 0,
            ended: 0,
            cause: None,
            decided: None,
            commit_point: None,
            late: 0,
            steps: vec![StepState::default(); steps],
        }
    }

    pub(super) fn is_active(&self) -> bool {
        !self.status.is_settled() && !self.status.is_parked()
    }

    /// Whether compensating the step still stands out.
    pub(super) fn owes(&self, plan: &Plan, step: usize) -> bool {
        plan.step(step).compensable && self.steps[step].may_be_done()
    }
}
