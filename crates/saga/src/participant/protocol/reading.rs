//! The rules, in their precedence.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;
use steadfast_core::{Timestamp, problem};

use super::{Body, Meaning, Outcome, Outcomes, Reply, parse_retry_after};

/// The longest detail that is kept of a problem, in characters.
pub(super) const DETAIL_MAX: usize = 500;

/// A reply with the parts that several rules look at.
pub(super) struct Reading<'a> {
    reply: Reply<'a>,
    problem: Option<ProblemBody>,
    retry_after: Option<Duration>,
    barrier: bool,
}

/// The members of a problem (RFC 9457) that we look at.
#[derive(Default)]
struct ProblemBody {
    type_uri: Option<String>,
    title: Option<String>,
    detail: Option<String>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(reply: Reply<'a>, barrier: bool, now: Timestamp) -> Self {
        Self {
            reply,
            problem: problem_of(&reply),
            retry_after: reply.retry_after.and_then(|text| parse_retry_after(text, now)),
            barrier,
        }
    }

    pub(super) fn meaning(&self, outcomes: &Outcomes) -> Meaning {
        if let Some(text) = self.reply.outcome {
            return match Outcome::parse(&text.trim().to_ascii_lowercase()) {
                Some(outcome) => self.settle(outcome, true),
                None => self.misconfigured(format!(
                    "the header Saga-Outcome is {:?}: it must be done, refused or unknown",
                    clip(text)
                )),
            };
        }
        if let Some(meaning) = self.by_our_type() {
            return meaning;
        }
        let type_uri = self.problem.as_ref().and_then(|problem| problem.type_uri.as_deref());
        if let Some(outcome) = outcomes.find(self.reply.status, type_uri) {
            return self.settle(outcome, false);
        }
        self.by_status()
    }

    /// One of our own problem types says more than its status does.
    fn by_our_type(&self) -> Option<Meaning> {
        let code = self.our_code()?;
        let is = |kind: &problem::Type| kind.code == code;
        if is(&problem::IN_FLIGHT) || is(&problem::CONFLICT) || is(&problem::RATE_LIMITED) || is(&problem::OVERLOADED) {
            return Some(self.unknown(true, code.to_owned()));
        }
        if is(&problem::OUTCOME_UNKNOWN) || is(&problem::RESULT_UNAVAILABLE) {
            return Some(self.unknown(false, code.to_owned()));
        }
        if is(&problem::MISMATCH) || is(&problem::MISSING_KEY) || is(&problem::INVALID_KEY) {
            return Some(self.misconfigured(self.detail()));
        }
        // The barrier's own words, and that of a business behind it, which it has stored.
        if is(&problem::VOIDED)
            || is(&problem::TOO_LATE)
            || is(&problem::ACTION_NOT_FOUND)
            || is(&problem::BUSINESS_REFUSAL)
        {
            return Some(self.settle(Outcome::Refused, true));
        }
        None
    }

    fn by_status(&self) -> Meaning {
        match self.reply.status {
            202 if self.reply.saga_async.is_some_and(is_true) => {
                self.unknown(true, "the participant answers later, and is asked again until then")
            }
            200..=299 => self.settle(Outcome::Done, false),
            408 | 425 | 429 | 500..=599 => self.unknown(false, format!("http-{}", self.reply.status)),
            400..=499 if self.retry_after.is_some() => self.unknown(true, format!("http-{}", self.reply.status)),
            400..=499 if matches!(self.reply.body, Body::Cut) => self.unknown(false, "the reply broke off"),
            400 | 402 | 409 | 410 | 412 | 422 if self.problem.is_some() => self.settle(Outcome::Refused, false),
            400 | 402 | 409 | 410 | 412 | 422 => self.misconfigured(self.no_problem()),
            _ => self.misconfigured(self.detail()),
        }
    }

    /// `spoken`: the participant itself, not only its status, says so.
    fn settle(&self, outcome: Outcome, spoken: bool) -> Meaning {
        let replayed = self.reply.replayed.is_some_and(is_true);
        match outcome {
            Outcome::Done => self.done(replayed),
            Outcome::Refused => Meaning::Refused {
                code: self.code(),
                detail: self.detail(),
                stored: self.barrier && (spoken || replayed),
                replayed,
            },
            Outcome::Unknown => self.unknown(false, self.code()),
        }
    }

    fn done(&self, replayed: bool) -> Meaning {
        let status = self.reply.status;
        let without = |fault| Meaning::Done { status, body: Value::Null, replayed, fault: Some(fault) };
        match self.reply.body {
            // The effect stands, its result is lost on the way: a barrier replays it, and so does any idempotent
            // participant.
            Body::Cut => self.unknown(false, "the reply broke off"),
            Body::TooLarge => without("the reply's body is too large"),
            Body::Whole([]) => Meaning::Done { status, body: Value::Null, replayed, fault: None },
            Body::Whole(_) if self.encoding().is_some() => {
                without("the reply's body has a Content-Encoding, which was not asked for")
            }
            Body::Whole(bytes) => match serde_json::from_slice(bytes) {
                Ok(body) => Meaning::Done { status, body, replayed, fault: None },
                Err(_) => without("the reply's body is no JSON"),
            },
        }
    }

    fn unknown(&self, free: bool, reason: impl Into<Cow<'static, str>>) -> Meaning {
        Meaning::Unknown {
            free: free || self.reply.trial || self.retry_after.is_some(),
            retry_after: self.retry_after,
            reason: reason.into(),
        }
    }

    fn misconfigured(&self, detail: String) -> Meaning {
        Meaning::Misconfigured { code: self.code(), detail }
    }

    /// Why a status that could be a refusal is none.
    fn no_problem(&self) -> String {
        let why = match (self.reply.body, self.encoding()) {
            (Body::TooLarge, _) => "with a body that is too large to be read".to_owned(),
            (_, Some(encoding)) => format!("with a body in the encoding {:?}, which was not asked for", clip(encoding)),
            _ => format!("without a body of type {}", problem::CONTENT_TYPE),
        };
        let status = self.reply.status;
        format!("status {status} {why}: a refusal must say so by a problem, or by Saga-Outcome: refused")
    }

    fn encoding(&self) -> Option<&'a str> {
        encoding(&self.reply)
    }

    fn our_code(&self) -> Option<&str> {
        self.problem.as_ref()?.type_uri.as_deref()?.strip_prefix(problem::TYPE_PREFIX)
    }

    fn code(&self) -> String {
        let type_uri = self.problem.as_ref().and_then(|problem| problem.type_uri.as_deref());
        match (self.our_code(), type_uri) {
            (Some(code), _) => clip(code),
            (None, Some(uri)) if !uri.is_empty() && uri != "about:blank" => clip(uri),
            _ => format!("http-{}", self.reply.status),
        }
    }

    fn detail(&self) -> String {
        let said = self.problem.as_ref().and_then(|problem| problem.detail.as_deref().or(problem.title.as_deref()));
        said.map_or_else(|| format!("status {}", self.reply.status), clip)
    }
}

/// The problem in a reply, if it is one.
fn problem_of(reply: &Reply<'_>) -> Option<ProblemBody> {
    let media_type = reply.content_type?.split(';').next()?.trim();
    if !media_type.eq_ignore_ascii_case(problem::CONTENT_TYPE) {
        return None;
    }
    if encoding(reply).is_some() {
        return None;
    }
    let Body::Whole(bytes) = reply.body else { return None };
    let Ok(Value::Object(mut members)) = serde_json::from_slice(bytes) else { return None };
    // RFC 9457, section 3.1: a member of another type than the specified one is ignored.
    let mut text = |name: &str| match members.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    Some(ProblemBody { type_uri: text("type"), title: text("title"), detail: text("detail") })
}

/// What the body would have to be decoded from.
fn encoding<'a>(reply: &Reply<'a>) -> Option<&'a str> {
    let text = reply.content_encoding?.trim();
    (!text.is_empty() && !text.eq_ignore_ascii_case("identity")).then_some(text)
}

fn is_true(header: &str) -> bool {
    header.trim().eq_ignore_ascii_case("true")
}

/// What a stranger wrote, short and on one line.
pub(super) fn clip(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_MAX).collect()
}
