//! Reasons: who acted, why a saga turns back, what troubles a step, why it waits for an operator.

use serde::{Deserialize, Serialize};

/// Who did something to a saga, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The principal.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Why a saga compensates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A step was refused.
    Refused {
        /// The step.
        step: usize,
        /// The problem's type, or the status.
        code: String,
        /// What the participant said.
        detail: String,
    },
    /// A step's attempts are spent and its outcome is unknown.
    Exhausted {
        /// The step.
        step: usize,
    },
    /// A step's deadline passed.
    Deadline {
        /// The step.
        step: usize,
    },
    /// The saga's timeout passed.
    Timeout,
    /// The saga's timeout passed while a step's route or credentials were at fault.
    Misconfigured {
        /// The step.
        step: usize,
    },
    /// Somebody cancelled it.
    Cancelled(Act),
    /// A permission that the saga needs was taken from its user.
    Permission {
        /// The permission.
        permission: String,
    },
    /// The definition is at fault: a condition or a request could not be evaluated.
    Fault {
        /// The step.
        step: usize,
        /// What failed.
        detail: String,
    },
    /// An operator stated that the commit point's step is not done.
    Resolved(Act),
}

impl Cause {
    /// The cause in one word, for labels and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Exhausted { .. } => "exhausted",
            Self::Deadline { .. } => "deadline",
            Self::Timeout => "timeout",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Cancelled(_) => "cancelled",
            Self::Permission { .. } => "permission",
            Self::Fault { .. } => "fault",
            Self::Resolved(_) => "resolved",
        }
    }

    /// The step that it is about.
    pub const fn step(&self) -> Option<usize> {
        match self {
            Self::Refused { step, .. }
            | Self::Exhausted { step }
            | Self::Deadline { step }
            | Self::Misconfigured { step }
            | Self::Fault { step, .. } => Some(*step),
            Self::Timeout | Self::Cancelled(_) | Self::Permission { .. } | Self::Resolved(_) => None,
        }
    }
}

/// What kept an attempt from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trouble {
    /// It may or may not have been done.
    Unknown,
    /// It surely was not sent.
    NotSent,
    /// Route or credentials are at fault: somebody must look at once.
    Misconfigured,
    /// Refused, where a refusal is no end: a compensation or a retriable step.
    Refused,
}

/// Why a step waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// Refused until the budget was spent.
    Refused {
        /// The problem's type, or the status.
        code: String,
    },
    /// No answer until the budget was spent.
    Exhausted,
    /// Route or credentials were at fault until the budget was spent.
    Misconfigured,
    /// Done, but its output does not map.
    Output {
        /// What did not map.
        detail: String,
    },
    /// The request could not be rendered.
    Request {
        /// What failed.
        detail: String,
    },
    /// The condition could not be evaluated.
    Condition {
        /// What failed.
        detail: String,
    },
    /// The commit point was refused after an attempt that may have been done, and nobody can be asked.
    Doubtful,
    /// The participant does not know the action that is to be taken back.
    ActionNotFound,
}

impl Why {
    /// In one word, for labels and lists.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Exhausted => "exhausted",
            Self::Misconfigured => "misconfigured",
            Self::Output { .. } => "output",
            Self::Request { .. } => "request",
            Self::Condition { .. } => "condition",
            Self::Doubtful => "doubtful",
            Self::ActionNotFound => "action-not-found",
        }
    }
}
