//! What is journalled. The fold of a saga's entries is its state: nothing that a decision rests on is kept elsewhere.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use steadfast_core::{Knowledge, Op, Timestamp};

use super::cause::{Act, Cause, Trouble, Why};
use super::plan::StepSet;

/// A JSON value that entries and the state share without copying it.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(Arc<Value>);

impl Json {
    /// The value.
    pub fn get(&self) -> &Value {
        &self.0
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl Deref for Json {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

/// One fact of a saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Entry {
    /// Accepted; always the first. Above the node's bound it is not admitted yet.
    Started {
        /// When.
        at: Timestamp,
        /// Whether it runs at once.
        admitted: bool,
    },
    /// Taken from the queue.
    Admitted {
        /// When.
        at: Timestamp,
    },
    /// A new owner, or the old one after a crash, took it up from the journal.
    Recovered {
        /// When.
        at: Timestamp,
        /// Steps whose action may have been sent, with nothing of it in the journal but perhaps the first attempt.
        doubtful: StepSet,
    },
    /// A step's `when`, evaluated once.
    Condition {
        /// The step.
        step: usize,
        /// What it gave.
        holds: bool,
    },
    /// A step is asked for the first time.
    Asked {
        /// The step.
        step: usize,
        /// Which of its effects.
        op: Op,
        /// When.
        at: Timestamp,
        /// What a compensation says of the action.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        knowledge: Option<Knowledge>,
    },
    /// The verdict on a step's attempts changed, without an end.
    Troubled {
        /// The step.
        step: usize,
        /// Which of its effects.
        op: Op,
        /// When.
        at: Timestamp,
        /// What happened.
        trouble: Trouble,
        /// Attempts spent so far.
        attempts: u32,
        /// What the reply or the client said.
        detail: String,
    },
    /// The intent of the commit point. From its commit on there is no way back but a refusal of its pivot.
    CommitPoint {
        /// The pivot, or the first retriable step.
        step: usize,
        /// When.
        at: Timestamp,
    },
    /// A step is done.
    Done {
        /// The step.
        step: usize,
        /// When.
        at: Timestamp,
        /// Attempts spent.
        attempts: u32,
        /// What it gave.
        output: Json,
        /// Set where an operator said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assumed: Option<Act>,
    },
    /// A step was refused, for good.
    Refused {
        /// The step.
        step: usize,
        /// When.
        at: Timestamp,
        /// Attempts spent.
        attempts: u32,
        /// The problem's type, or the status.
        code: String,
        /// What the participant said.
        detail: String,
        /// Whether it is certain that nothing was done.
        certain: bool,
    },
    /// The decision to compensate.
    Compensating {
        /// When.
        at: Timestamp,
        /// Why.
        #[serde(flatten)]
        cause: Cause,
    },
    /// A step's compensation is done.
    Undone {
        /// The step.
        step: usize,
        /// When.
        at: Timestamp,
        /// Attempts spent.
        attempts: u32,
    },
    /// A step waits for an operator.
    Parked {
        /// The step.
        step: usize,
        /// Which of its effects.
        op: Op,
        /// When.
        at: Timestamp,
        /// Why.
        #[serde(flatten)]
        why: Why,
    },
    /// The saga took longer than its timeout, where that no longer turns it back.
    Overdue {
        /// When.
        at: Timestamp,
    },
    /// Nothing is sent until it is released.
    Held {
        /// When.
        at: Timestamp,
        /// Who and why.
        act: Act,
    },
    /// No longer held.
    Released {
        /// When.
        at: Timestamp,
        /// Who and why.
        act: Act,
    },
    /// An operator gave all waiting and parked steps new budgets.
    Retried {
        /// When.
        at: Timestamp,
        /// Who and why.
        act: Act,
    },
    /// An operator leaves a step out; its compensation is sent first, so that a late action is refused.
    Voiding {
        /// The step.
        step: usize,
        /// When.
        at: Timestamp,
        /// Who and why.
        act: Act,
    },
    /// A step that was to be left out surely takes no effect any more.
    Voided {
        /// The step.
        step: usize,
        /// When.
        at: Timestamp,
    },
    /// An operator did by hand what a parked step still owed.
    Resolved {
        /// The step.
        step: usize,
        /// Which of its effects.
        op: Op,
        /// When.
        at: Timestamp,
        /// Who and why.
        act: Act,
    },
    /// A reply that came too late, twice, or to nobody's question. Changes nothing.
    Late {
        /// The step.
        step: usize,
        /// Which of its effects.
        op: Op,
        /// When.
        at: Timestamp,
        /// Which attempt.
        attempt: u32,
        /// What it said.
        said: String,
    },
    /// All steps are done: settled.
    Completed {
        /// When.
        at: Timestamp,
    },
    /// No effect is left: settled.
    Compensated {
        /// When.
        at: Timestamp,
    },
    /// Out of budget: parked for an operator, not settled.
    Failed {
        /// When.
        at: Timestamp,
    },
}

impl Entry {
    /// Whether it is to be counted as a timeout of the saga.
    pub const fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::Overdue { .. } | Self::Compensating { cause: Cause::Timeout | Cause::Misconfigured { .. }, .. }
        )
    }

    /// The step that it is about.
    pub const fn step(&self) -> Option<usize> {
        match self {
            Self::Condition { step, .. }
            | Self::Asked { step, .. }
            | Self::Troubled { step, .. }
            | Self::CommitPoint { step, .. }
            | Self::Done { step, .. }
            | Self::Refused { step, .. }
            | Self::Undone { step, .. }
            | Self::Parked { step, .. }
            | Self::Voiding { step, .. }
            | Self::Voided { step, .. }
            | Self::Resolved { step, .. }
            | Self::Late { step, .. } => Some(*step),
            Self::Compensating { cause, .. } => cause.step(),
            _ => None,
        }
    }

    /// When it happened; a condition has no time of its own.
    pub const fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Started { at, .. }
            | Self::Admitted { at, .. }
            | Self::Recovered { at, .. }
            | Self::Asked { at, .. }
            | Self::Troubled { at, .. }
            | Self::CommitPoint { at, .. }
            | Self::Done { at, .. }
            | Self::Refused { at, .. }
            | Self::Compensating { at, .. }
            | Self::Undone { at, .. }
            | Self::Parked { at, .. }
            | Self::Overdue { at, .. }
            | Self::Held { at, .. }
            | Self::Released { at, .. }
            | Self::Retried { at, .. }
            | Self::Voiding { at, .. }
            | Self::Voided { at, .. }
            | Self::Resolved { at, .. }
            | Self::Late { at, .. }
            | Self::Completed { at, .. }
            | Self::Compensated { at, .. }
            | Self::Failed { at, .. } => Some(*at),
            Self::Condition { .. } => None,
        }
    }
}
