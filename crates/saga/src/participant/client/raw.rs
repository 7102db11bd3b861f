//! What came of a call, before anyone asks what it means.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use serde_json::Value;
use steadfast_core::{header as saga_header, problem};

use crate::participant::protocol::{Body, Exchange, Reply};

const SAGA_OUTCOME: HeaderName = HeaderName::from_static(saga_header::SAGA_OUTCOME);
const SAGA_ASYNC: HeaderName = HeaderName::from_static("saga-async");
const REPLAYED: HeaderName = HeaderName::from_static(saga_header::IDEMPOTENCY_REPLAYED);

/// What came of a call.
#[derive(Debug)]
pub enum Raw {
    /// The participant's socket took no byte of the request.
    NotSent {
        /// Why.
        reason: String,
        /// How long to stay away: the participant is down, has asked for a pause, or is fully occupied.
        retry_after: Option<Duration>,
    },
    /// The request may have arrived; no head of a reply came.
    Cut {
        /// Why.
        reason: String,
        /// As in [`Replied::trial`].
        trial: bool,
    },
    /// The head of a reply came.
    Replied(Replied),
    /// No request could be made of what was to be sent: the definition or the configuration is at fault. Holds a
    /// problem that says how.
    Unsendable(Vec<u8>),
}

/// A reply.
#[derive(Debug)]
pub struct Replied {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: RawBody,
    /// The call was let through to see whether a participant that is taken for down still is: it costs no attempt.
    pub trial: bool,
}

/// The body of a reply, as far as it came.
#[derive(Debug)]
pub enum RawBody {
    /// All of it.
    Whole(Bytes),
    /// It broke off, or the time was up.
    Cut,
    /// It is longer than is read.
    TooLarge,
}

impl Replied {
    /// The text of this header, where it is text and there only once.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.single(name)?.ok()
    }

    fn single(&self, name: &HeaderName) -> Option<Result<&str, &'static str>> {
        let mut all = self.headers.get_all(name).iter();
        let first = all.next()?;
        Some(match all.next() {
            None => first.to_str().map_err(|_| "(no text)"),
            Some(_) => Err("(there twice)"),
        })
    }

    /// One that is no text, or there twice, is none that we read.
    fn encoding(&self) -> Option<&str> {
        self.single(&header::CONTENT_ENCODING).map(|text| text.unwrap_or_else(|fault| fault))
    }

    /// What contradicts itself must not be passed over in favour of the status: it reads as no outcome that there is.
    fn outcome(&self) -> Option<&str> {
        self.single(&SAGA_OUTCOME).map(|text| text.unwrap_or_else(|fault| fault))
    }
}

impl Raw {
    pub(super) fn unsendable(fault: &str) -> Self {
        Self::Unsendable(
            serde_json::json!({ "title": "The request cannot be sent", "detail": fault }).to_string().into(),
        )
    }

    pub(super) const fn cut(reason: String) -> Self {
        Self::Cut { reason, trial: false }
    }

    /// Says that the call was a trial, where it left.
    pub(super) fn of_trial(mut self) -> Self {
        if let Self::Cut { trial, .. } | Self::Replied(Replied { trial, .. }) = &mut self {
            *trial = true;
        }
        self
    }

    /// In the words of the protocol, which knows what it means. What is unsendable reads as misconfigured.
    pub fn exchange(&self) -> Exchange<'_> {
        match self {
            Self::NotSent { reason, .. } => Exchange::NotSent(reason),
            Self::Cut { reason, trial } => Exchange::Cut { reason, trial: *trial },
            // No participant answers with status 0, so this stays apart from anything that came over the wire.
            Self::Unsendable(problem) => Exchange::Replied(Reply {
                content_type: Some(problem::CONTENT_TYPE),
                body: Body::Whole(problem),
                ..Reply::default()
            }),
            Self::Replied(replied) => Exchange::Replied(Reply {
                status: replied.status.as_u16(),
                outcome: replied.outcome(),
                retry_after: replied.header(&header::RETRY_AFTER),
                content_type: replied.header(&header::CONTENT_TYPE),
                content_encoding: replied.encoding(),
                saga_async: replied.header(&SAGA_ASYNC),
                replayed: replied.header(&REPLAYED),
                body: match &replied.body {
                    RawBody::Whole(bytes) => Body::Whole(bytes),
                    RawBody::Cut => Body::Cut,
                    RawBody::TooLarge => Body::TooLarge,
                },
                trial: replied.trial,
            }),
        }
    }

    /// How long to stay away from the participant after a call that was not sent. What a reply asks for stands in its
    /// meaning.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotSent { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The answer to a probe: the action was not done. It must be said in so many words, by the problem
    /// `action-not-found` or by `Saga-Outcome: absent`: any 404 would also come from a route that is missing, and the
    /// saga would take a payment for not made.
    pub fn is_absent(&self) -> bool {
        let Self::Replied(replied) = self else { return false };
        if let Some(outcome) = replied.outcome() {
            return outcome.trim().eq_ignore_ascii_case("absent");
        }
        let is_problem = replied
            .header(&header::CONTENT_TYPE)
            .and_then(|text| text.split(';').next())
            .is_some_and(|media| media.trim().eq_ignore_ascii_case(problem::CONTENT_TYPE));
        let RawBody::Whole(bytes) = &replied.body else { return false };
        is_problem
            && serde_json::from_slice::<Value>(bytes).is_ok_and(|body| {
                body["type"].as_str().and_then(|uri| uri.strip_prefix(problem::TYPE_PREFIX))
                    == Some(problem::ACTION_NOT_FOUND.code)
            })
    }
}
