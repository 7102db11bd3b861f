//! What a reply means: pure, one table.
//!
//! | verdict | when |
//! |---|---|
//! | done | 2xx |
//! | refused | 400 402 409 410 412 422 **with** problem+json, or `Saga-Outcome: refused` |
//! | unknown, asked again | 408 425 429 5xx, cut or timed out after sending, 202 with `Saga-Async: true`; free of charge (no attempt) where the participant says that it merely is not ready: our `in-flight`, `conflict` and rate-limit problems, and any `Retry-After`; so is what became of a trial, the one call a second that asks a participant whether it still is down |
//! | not sent | DNS, refused connect, TLS |
//! | misconfigured | every other status, a 4xx that is no problem+json, our `idempotency-mismatch` and missing-key problems |
//!
//! Precedence: the header `Saga-Outcome`, the problem's type where it is one of ours, the step's `outcomes:` map, the
//! table. A bare 4xx never means refused: a missing route would unwind sagas. A body in a `Content-Encoding`, which no call
//! asks for, is not read: 2xx is done without a body, a refusal without a readable problem is none.

mod reading;
mod retry_after;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;
use steadfast_core::Timestamp;

use reading::{Reading, clip};

pub use retry_after::parse_retry_after;

/// What a definition may say about a status or a problem's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The effect has taken place.
    Done,
    /// The effect has not taken place and will not.
    Refused,
    /// It is not known: ask again.
    Unknown,
}

impl Outcome {
    /// As it stands in a definition and in `Saga-Outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Done, Self::Refused, Self::Unknown].into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// The `outcomes:` map of a step: by a problem's type first, then by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// By the full type of a problem.
    pub types: Vec<(String, Outcome)>,
    /// By HTTP status.
    pub statuses: Vec<(u16, Outcome)>,
}

impl Outcomes {
    fn find(&self, status: u16, problem_type: Option<&str>) -> Option<Outcome> {
        let by_type = problem_type.and_then(|uri| self.types.iter().find(|(known, _)| known == uri));
        by_type
            .map(|(_, outcome)| *outcome)
            .or_else(|| self.statuses.iter().find(|(known, _)| *known == status).map(|(_, outcome)| *outcome))
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug)]
pub enum Exchange<'a> {
    /// The request surely never left: no address, no connection, no TLS session.
    NotSent(&'a str),
    /// The request may have arrived, and no whole reply came: a time-out, a cut, a reset.
    Cut {
        /// Why.
        reason: &'a str,
        /// As in [`Reply::trial`].
        trial: bool,
    },
    /// A reply came.
    Replied(Reply<'a>),
}

/// A reply, reduced to what bears meaning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The header `Saga-Outcome`.
    pub outcome: Option<&'a str>,
    /// The header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// The header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The header `Content-Encoding`.
    pub content_encoding: Option<&'a str>,
    /// The header `Saga-Async`.
    pub saga_async: Option<&'a str>,
    /// The header `Idempotency-Replayed`.
    pub replayed: Option<&'a str>,
    /// The body.
    pub body: Body<'a>,
    /// The call was let through while the participant was taken for down, to see whether it still is. That costs no
    /// attempt: a few sagas would otherwise pay for an outage of all.
    pub trial: bool,
}

/// A reply's body, as far as it was read.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It broke off.
    Cut,
    /// It was longer than the reader takes.
    TooLarge,
}

impl Default for Body<'_> {
    fn default() -> Self {
        Self::Whole(&[])
    }
}

/// What a reply means.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// The effect has taken place.
    Done {
        /// The reply's status, for the step's `output`.
        status: u16,
        /// The reply's body, for the step's `output`; null where it was empty or no JSON.
        body: Value,
        /// The answer was stored by an earlier attempt.
        replayed: bool,
        /// Why there is no body although the reply had one.
        fault: Option<&'static str>,
    },
    /// The effect has not taken place, and asking again would give the same answer.
    Refused {
        /// The code of our problem type, else the whole type, else `http-<status>`.
        code: String,
        /// What the participant says about it.
        detail: String,
        /// A barrier has stored this refusal: it holds for every attempt, also for one still on its way.
        stored: bool,
        /// The answer was stored by an earlier attempt.
        replayed: bool,
    },
    /// The effect may or may not have taken place: ask again.
    Unknown {
        /// Costs no attempt, until one attempt's time after the first has passed.
        free: bool,
        /// When the participant wants to be asked again.
        retry_after: Option<Duration>,
        /// Why.
        reason: Cow<'static, str>,
    },
    /// The request never left; costs no attempt.
    NotSent {
        /// Why.
        reason: String,
    },
    /// The participant or its address is set up wrongly: asked again slowly, alarm at once.
    Misconfigured {
        /// The code of our problem type, else the whole type, else `http-<status>`.
        code: String,
        /// What is wrong.
        detail: String,
    },
}

/// The meaning of what came of a call. `barrier`: the participant guards its effects by a barrier. `now`: for a
/// `Retry-After` that is a date.
pub fn read(exchange: Exchange<'_>, outcomes: &Outcomes, barrier: bool, now: Timestamp) -> Meaning {
    match exchange {
        Exchange::NotSent(reason) => Meaning::NotSent { reason: clip(reason) },
        Exchange::Cut { reason, trial } => {
            Meaning::Unknown { free: trial, retry_after: None, reason: Cow::Owned(clip(reason)) }
        }
        Exchange::Replied(reply) => Reading::new(reply, barrier, now).meaning(outcomes),
    }
}
