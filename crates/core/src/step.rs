//! The identity of one effect of a saga, and the headers that carry it from the orchestrator to a participant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::SagaId;

/// Names of the headers of the saga protocol and of the idempotency protocol.
pub mod header {
    /// On saga calls [`StepKey`](crate::StepKey) in text; on public routes the client's key.
    pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
    /// `true` on an answer that was stored before.
    pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
    /// The saga's id.
    pub const SAGA_ID: &str = "saga-id";
    /// The step's name.
    pub const SAGA_STEP: &str = "saga-step";
    /// 1 for the first attempt.
    pub const SAGA_ATTEMPT: &str = "saga-attempt";
    /// When the saga started, milliseconds since the Unix epoch.
    pub const SAGA_STARTED: &str = "saga-started";
    /// The owner's epoch; for logs only.
    pub const SAGA_EPOCH: &str = "saga-epoch";
    /// On compensations: `done` or `unknown`, what the orchestrator knows of the action.
    pub const SAGA_ACTION: &str = "saga-action";
    /// On answers: `done`, `refused` or `unknown`, and `absent` on answers to a probe; above everything else that the
    /// answer says.
    pub const SAGA_OUTCOME: &str = "saga-outcome";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
}

/// Which of a step's two effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The step's own effect.
    Action,
    /// The effect that takes it back.
    Compensate,
}

impl Op {
    /// As it stands in a [`StepKey`] and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Compensate => "compensate",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Op {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "action" => Ok(Self::Action),
            "compensate" => Ok(Self::Compensate),
            _ => Err(()),
        }
    }
}

/// What the orchestrator knows of a step's action when it asks for the compensation (`Saga-Action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Knowledge {
    /// The action is known to have been done.
    Done,
    /// The action may have been done, may arrive late, or may never arrive.
    Unknown,
}

impl Knowledge {
    /// As it stands in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unknown => "unknown",
        }
    }
}

/// The text is not a step key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a step key: expected {{saga}}:{{step}}:action or {{saga}}:{{step}}:compensate")]
pub struct StepKeyError(String);

/// The identity of one effect: `{saga}:{step}:action` or `{saga}:{step}:compensate`. It is the idempotency key of every
/// attempt and the key of the participant's barrier.
///
/// ```
/// use steadfast_core::{Op, SagaId, StepKey};
///
/// let saga = SagaId::derive("till-7", "place_order", "receipt-1");
/// let key = StepKey { saga, step: "process_payment".into(), op: Op::Action };
/// assert_eq!(key.to_string().parse::<StepKey>()?, key);
/// # Ok::<(), steadfast_core::StepKeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey {
    /// The saga.
    pub saga: SagaId,
    /// The step's name in the definition.
    pub step: String,
    /// Which of its two effects.
    pub op: Op,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.saga, self.step, self.op)
    }
}

impl FromStr for StepKey {
    type Err = StepKeyError;

    fn from_str(text: &str) -> Result<Self, StepKeyError> {
        let fault = || StepKeyError(text.chars().take(128).collect());
        let mut parts = text.split(':');
        let (Some(saga), Some(step), Some(op), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(fault());
        };
        if step.is_empty() {
            return Err(fault());
        }
        Ok(Self {
            saga: saga.parse().map_err(|_| fault())?,
            step: step.to_owned(),
            op: op.parse().map_err(|()| fault())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_key_that_is_none_is_refused() {
        let saga = SagaId::derive("a", "b", "c");
        for text in [
            "",
            "x",
            &format!("{saga}:step"),
            &format!("{saga}::action"),
            &format!("{saga}:s:undo"),
            &format!("{saga}:s:action:"),
        ] {
            assert!(text.parse::<StepKey>().is_err(), "{text}");
        }
    }
}
