//! What the machine is told and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steadfast_core::{Knowledge, Op, Timestamp};

use super::cause::Act;
use super::entry::Entry;

/// Where a saga stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, in the queue; nothing was sent.
    Pending,
    /// Goes forward.
    Running,
    /// Takes back what was done.
    Compensating,
    /// Settled: all steps are done.
    Completed,
    /// Settled: no effect is left.
    Compensated,
    /// Out of budget, parked for an operator; not settled.
    Failed,
}

impl Status {
    /// As it stands in tables and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Failed => "failed",
        }
    }

    /// Completed or compensated: nothing will ever change.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Completed | Self::Compensated)
    }

    /// Failed: waits for an operator.
    pub const fn is_parked(self) -> bool {
        matches!(self, Self::Failed)
    }
}

/// What a reply, or its absence, means.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Done. On a compensation the output is of no use.
    Done {
        /// The mapped output; `Null` where it did not map.
        output: Value,
        /// Why the output did not map.
        fault: Option<String>,
    },
    /// Refused by a rule of the business.
    Refused {
        /// The problem's type, or the status.
        code: String,
        /// What the participant said.
        detail: String,
        /// Whether the refusal stands in the participant's barrier and so is final for all attempts.
        stored: bool,
    },
    /// May have been done.
    Unknown {
        /// Whether it costs no attempt within the grace of one attempt's timeout.
        free: bool,
        /// When the participant wants to be asked again.
        retry_after: Option<Duration>,
        /// What the reply or the client said.
        detail: String,
    },
    /// Surely not sent. Costs no attempt.
    NotSent {
        /// When to ask again at the earliest, for example after a breaker's pause.
        retry_after: Option<Duration>,
        /// What the client said.
        detail: String,
    },
    /// Route or credentials are at fault.
    Misconfigured {
        /// What the reply said.
        detail: String,
    },
    /// The answer to a probe: the action is not there.
    Absent,
    /// The request could not be rendered: the definition is at fault, nothing was sent.
    Unrenderable {
        /// What failed.
        detail: String,
    },
}

impl Verdict {
    /// In one word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Refused { .. } => "refused",
            Self::Unknown { .. } => "unknown",
            Self::NotSent { .. } => "not-sent",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Absent => "absent",
            Self::Unrenderable { .. } => "unrenderable",
        }
    }
}

/// Something that happened to a saga.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// A call ended.
    Verdict {
        /// Of which step.
        step: usize,
        /// Which of its effects.
        op: Op,
        /// As in [`Call`].
        attempt: u32,
        /// What it means.
        verdict: Verdict,
    },
    /// A call still waits for its turn (a bound on concurrency): its attempt must not be given up before `until`.
    Deferred {
        /// Of which step.
        step: usize,
        /// Which of its effects.
        op: Op,
        /// As in [`Call`].
        attempt: u32,
        /// Until when.
        until: Timestamp,
    },
    /// The first so many of this saga's entries are durable.
    Committed {
        /// How many.
        entries: u64,
    },
    /// [`Saga::wake_at`](super::Saga::wake_at) has come. Safe at any time.
    Tick,
    /// Taken from the queue by a node that has room.
    Admit,
    /// Turn back.
    Cancel(Act),
    /// Send nothing until released.
    Hold(Act),
    /// Go on.
    Release(Act),
    /// New budgets; all waiting and parked steps are asked again at once.
    Retry(Act),
    /// Leave a step out; its compensation goes first.
    Void {
        /// The step.
        step: usize,
        /// Who and why.
        act: Act,
    },
    /// Take a step that is being asked, or parked, as done.
    AssumeDone {
        /// The step.
        step: usize,
        /// What it is assumed to have given.
        output: Value,
        /// Who and why.
        act: Act,
    },
    /// What a parked step still owed was done by hand; a parked pivot is thereby *not* done, and its saga compensates.
    Resolve {
        /// The step; all parked ones where `None`.
        step: Option<usize>,
        /// Who and why.
        act: Act,
    },
    /// The saga's user lost a permission that it needs.
    PermissionRevoked {
        /// Which.
        permission: String,
    },
}

/// A call to make. It may be sent at once: what must wait for a commit is held back by the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of which step.
    pub step: usize,
    /// Which of its effects.
    pub op: Op,
    /// 1 for the first in this ownership; to be given back with the verdict.
    pub attempt: u32,
    /// On compensations: what is known of the action.
    pub knowledge: Option<Knowledge>,
    /// Ask by our key whether the action was done, instead of asking for it.
    pub probe: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// What became of an operator's act. To be told only once all entries so far are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It takes effect.
    Accepted,
    /// It already was so.
    Unchanged,
    /// It came too late or does not apply.
    Conflict(Conflict),
}

/// Why an act does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// No way back any more.
    CommitPointPassed,
    /// The saga is settled.
    Settled(Status),
    /// The saga is on its way back.
    Compensating,
    /// The step is done, skipped or refused already.
    StepEnded,
    /// The step was not asked yet.
    NotAsked,
    /// The step may have been done and has no compensation.
    NoCompensation,
    /// No such step is parked.
    NotParked,
    /// A step that comes after it may have been sent with what it gave: only a cancel is safe.
    DependentsSent,
    /// There is no such step.
    NoSuchStep,
    /// The saga is not in the queue.
    NotPending,
}

impl Conflict {
    /// The problem's type.
    pub const fn code(self) -> &'static str {
        match self {
            Self::CommitPointPassed => "commit-point-passed",
            Self::Settled(_) => "saga-settled",
            Self::Compensating => "saga-compensating",
            Self::StepEnded => "step-ended",
            Self::NotAsked => "step-not-asked",
            Self::NoCompensation => "no-compensation",
            Self::NotParked => "not-parked",
            Self::DependentsSent => "dependents-sent",
            Self::NoSuchStep => "no-such-step",
            Self::NotPending => "not-pending",
        }
    }
}

/// What follows from an input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// To be appended to this saga's journal, in this order.
    pub entries: Vec<Entry>,
    /// Whether something waits for the commit of all entries so far (also of earlier outputs): a call, an end, an answer.
    pub urgent: bool,
    /// To be sent at once.
    pub calls: Vec<Call>,
    /// The saga is settled or parked **and** the entry that says so is durable: it may be reported.
    pub ended: bool,
    /// The answer to an operator's act.
    pub answer: Option<Answer>,
}

/// A definition's `when` expressions.
pub trait Conditions {
    /// Evaluates a step's `when` over the outputs of the steps that it comes after. Must be a function of its arguments.
    fn when(&self, step: usize, outputs: &super::Outputs<'_>) -> Result<bool, String>;
}
