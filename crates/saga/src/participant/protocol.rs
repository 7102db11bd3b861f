//! What a reply means: pure, one table.
//!
//! | verdict | when |
//! |---|---|
//! | done | 2xx |
//! | refused | 400 402 409 410 412 422 **with** problem+json, or `Saga-Outcome: refused` |
//! | unknown, asked again | 408 425 429 5xx, cut or timed out after sending, 202 with `Saga-Async: true`; free of charge (no attempt) where the participant says that it merely is not ready: our `in-flight`, `conflict` and rate-limit problems, and any `Retry-After` |
//! | not sent | DNS, refused connect, TLS |
//! | misconfigured | every other status, a 4xx that is no problem+json, our `idempotency-mismatch` and missing-key problems |
//!
//! Precedence: the header `Saga-Outcome`, the problem's type where it is one of ours, the step's `outcomes:` map, the
//! table. A bare 4xx never means refused: a missing route would unwind sagas.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;
use steadfast_core::{Timestamp, problem};

/// The longest pause that a participant can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// The longest detail that is kept of a problem, in characters.
const DETAIL_MAX: usize = 500;

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
    Cut(&'a str),
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
    /// The header `Saga-Async`.
    pub saga_async: Option<&'a str>,
    /// The header `Idempotency-Replayed`.
    pub replayed: Option<&'a str>,
    /// The body.
    pub body: Body<'a>,
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
        Exchange::Cut(reason) => Meaning::Unknown { free: false, retry_after: None, reason: Cow::Owned(clip(reason)) },
        Exchange::Replied(reply) => Reading::new(reply, barrier, now).meaning(outcomes),
    }
}

/// A reply with the parts that several rules look at.
struct Reading<'a> {
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
    fn new(reply: Reply<'a>, barrier: bool, now: Timestamp) -> Self {
        Self {
            reply,
            problem: problem_of(&reply),
            retry_after: reply.retry_after.and_then(|text| parse_retry_after(text, now)),
            barrier,
        }
    }

    fn meaning(&self, outcomes: &Outcomes) -> Meaning {
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
            400 | 402 | 409 | 410 | 412 | 422 => self.misconfigured(format!(
                "status {} without a body of type {}: a refusal must say so by a problem, or by Saga-Outcome: refused",
                self.reply.status,
                problem::CONTENT_TYPE
            )),
            _ => self.misconfigured(self.detail()),
        }
    }

    /// `spoken`: the participant itself, not only its status, says so.
    fn settle(&self, outcome: Outcome, spoken: bool) -> Meaning {
        let replayed = self.reply.replayed.is_some_and(is_true);
        match outcome {
            Outcome::Done => match self.reply.body {
                // The effect stands, its result is lost on the way: a barrier replays it, and so does any
                // idempotent participant.
                Body::Cut => self.unknown(false, "the reply broke off"),
                Body::TooLarge => Meaning::Done {
                    status: self.reply.status,
                    body: Value::Null,
                    replayed,
                    fault: Some("the reply's body is too large"),
                },
                Body::Whole([]) => {
                    Meaning::Done { status: self.reply.status, body: Value::Null, replayed, fault: None }
                }
                Body::Whole(bytes) => {
                    let parsed = serde_json::from_slice(bytes);
                    let fault = parsed.is_err().then_some("the reply's body is no JSON");
                    Meaning::Done { status: self.reply.status, body: parsed.unwrap_or(Value::Null), replayed, fault }
                }
            },
            Outcome::Refused => Meaning::Refused {
                code: self.code(),
                detail: self.detail(),
                stored: self.barrier && (spoken || replayed),
                replayed,
            },
            Outcome::Unknown => self.unknown(false, self.code()),
        }
    }

    fn unknown(&self, free: bool, reason: impl Into<Cow<'static, str>>) -> Meaning {
        Meaning::Unknown {
            free: free || self.retry_after.is_some(),
            retry_after: self.retry_after,
            reason: reason.into(),
        }
    }

    fn misconfigured(&self, detail: String) -> Meaning {
        Meaning::Misconfigured { code: self.code(), detail }
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
    let Body::Whole(bytes) = reply.body else { return None };
    let Ok(Value::Object(mut members)) = serde_json::from_slice(bytes) else { return None };
    // RFC 9457, section 3.1: a member of another type than the specified one is ignored.
    let mut text = |name: &str| match members.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    Some(ProblemBody { type_uri: text("type"), title: text("title"), detail: text("detail") })
}

fn is_true(header: &str) -> bool {
    header.trim().eq_ignore_ascii_case("true")
}

/// What a stranger wrote, short and on one line.
fn clip(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_MAX).collect()
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date in any of the three forms of section 5.6.7. What is
/// neither is as if absent; a date in the past means at once.
pub fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds are a long pause all the same.
        return Some(text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs).min(RETRY_AFTER_MAX));
    }
    let seconds = http_date(text)?;
    let at = Timestamp::from_millis(seconds.checked_mul(1_000)?);
    Some(at.since(now).min(RETRY_AFTER_MAX))
}

/// Seconds since the Unix epoch of an HTTP date: `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or
/// `Sun Nov  6 08:49:37 1994`.
fn http_date(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split([' ', ',', '-']).filter(|word| !word.is_empty()).collect();
    let ([_, day, month, year, clock, "GMT"] | [_, month, day, clock, year]) = words.as_slice() else {
        return None;
    };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
    let year = match (year.len(), number(year)?) {
        // RFC 9110: a year that seems more than 50 years ahead is the past one; no such header outlives this rule.
        (2, short) if short < 70 => 2000 + short,
        (2, short) => 1900 + short,
        (4, full) => full,
        _ => return None,
    };
    let month = 1 + MONTHS.iter().position(|name| name == month)?;
    let day = number(day).filter(|day| (1..=31).contains(day))?;
    let mut clock = clock.split(':').map(number);
    let (Some(Some(hour)), Some(Some(minute)), Some(Some(second)), None) =
        (clock.next(), clock.next(), clock.next(), clock.next())
    else {
        return None;
    };
    let valid = hour < 24 && minute < 60 && second <= 60;
    valid.then(|| days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: usize, day: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let past = year - 1;
    let days_to_year = past * 365 + past / 4 - past / 100 + past / 400 - 719_162;
    days_to_year + BEFORE[month - 1] + i64::from(month > 2 && leap(year)) + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

    fn problem_json(code: &str) -> String {
        let kind = problem::ALL.iter().find(|kind| kind.code == code).unwrap();
        String::from_utf8(kind.with("said so").to_json()).unwrap()
    }

    fn reply(status: u16, body: &str) -> Reply<'_> {
        let problem = body.starts_with('{');
        Reply {
            status,
            content_type: problem.then_some("application/problem+json; charset=utf-8"),
            body: Body::Whole(body.as_bytes()),
            ..Reply::default()
        }
    }

    fn meaning(reply: Reply<'_>) -> Meaning {
        read(Exchange::Replied(reply), &Outcomes::default(), false, NOW)
    }

    fn word(meaning: &Meaning) -> &'static str {
        match meaning {
            Meaning::Done { .. } => "done",
            Meaning::Refused { .. } => "refused",
            Meaning::Unknown { free: false, .. } => "unknown",
            Meaning::Unknown { free: true, .. } => "unknown, free",
            Meaning::NotSent { .. } => "not sent",
            Meaning::Misconfigured { .. } => "misconfigured",
        }
    }

    const THEIRS: &str = r#"{"type": "https://shop.example/sold-out", "title": "Sold out", "detail": "none left"}"#;

    /// Every row of the table, for every status, with and without a problem.
    #[test]
    fn every_status() {
        for status in 100..=999 {
            let bare = match status {
                200..=299 => "done",
                408 | 425 | 429 | 500..=599 => "unknown",
                _ => "misconfigured",
            };
            assert_eq!(word(&meaning(reply(status, ""))), bare, "{status} bare");
            assert_eq!(word(&meaning(Reply { content_type: Some("text/html"), ..reply(status, "<p>") })), bare);
            let with_problem = match status {
                400 | 402 | 409 | 410 | 412 | 422 => "refused",
                _ => bare,
            };
            assert_eq!(word(&meaning(reply(status, THEIRS))), with_problem, "{status} with a problem");
            assert_eq!(word(&meaning(reply(status, "{}"))), with_problem, "{status} with an empty problem");
            let later = match status {
                200..=299 => "done",
                400..=599 => "unknown, free",
                _ => "misconfigured",
            };
            for body in ["", THEIRS] {
                let asked = Reply { retry_after: Some("3"), ..reply(status, body) };
                assert_eq!(word(&meaning(asked)), later, "{status} with Retry-After");
            }
            for outcome in ["done", "refused", "unknown"] {
                let spoken = Reply { outcome: Some(outcome), ..reply(status, THEIRS) };
                assert_eq!(word(&meaning(spoken)), outcome, "{status} with Saga-Outcome");
            }
        }
    }

    #[test]
    fn no_reply() {
        let table = [(Exchange::NotSent("refused"), "not sent"), (Exchange::Cut("timed out"), "unknown")];
        for (exchange, expected) in table {
            assert_eq!(word(&read(exchange, &Outcomes::default(), true, NOW)), expected);
        }
    }

    /// Each of our types, at its own status.
    #[test]
    fn every_type_of_ours() {
        for kind in problem::ALL {
            let expected = match kind.code {
                "in-flight" | "conflict" | "rate-limited" | "overloaded" => "unknown, free",
                "outcome-unknown" | "result-unavailable" | "internal" | "unavailable" => "unknown",
                "voided"
                | "too-late"
                | "action-not-found"
                | "refused"
                | "invalid-request"
                | "version-mismatch"
                | "etag-invalid"
                | "version-in-body"
                | "invalid-definition"
                | "invalid-input"
                | "commit-point-passed" => "refused",
                _ => "misconfigured",
            };
            let body = problem_json(kind.code);
            let found = meaning(reply(kind.status, &body));
            assert_eq!(word(&found), expected, "{}", kind.code);
            if let Meaning::Refused { code, detail, .. } | Meaning::Misconfigured { code, detail } = found {
                assert_eq!((code.as_str(), detail.as_str()), (kind.code, "said so"));
            }
        }
    }

    #[test]
    fn the_type_is_found_whatever_its_status() {
        assert_eq!(word(&meaning(reply(422, &problem_json("in-flight")))), "unknown, free");
        assert_eq!(word(&meaning(reply(500, &problem_json("voided")))), "refused");
        assert_eq!(word(&meaning(reply(409, &problem_json("idempotency-mismatch")))), "misconfigured");
    }

    /// header > our type > outcomes by type > outcomes by status > table
    #[test]
    fn precedence() {
        let outcomes = Outcomes {
            types: vec![("https://shop.example/sold-out".to_owned(), Outcome::Unknown)],
            statuses: vec![(404, Outcome::Done), (409, Outcome::Done), (500, Outcome::Refused)],
        };
        let word = |reply| word(&read(Exchange::Replied(reply), &outcomes, true, NOW));
        let in_flight = problem_json("in-flight");
        assert_eq!(word(Reply { outcome: Some("Refused "), ..reply(409, &in_flight) }), "refused");
        assert_eq!(word(reply(409, &in_flight)), "unknown, free");
        assert_eq!(word(reply(409, THEIRS)), "unknown");
        assert_eq!(word(reply(409, "{}")), "done");
        assert_eq!(word(reply(404, "")), "done");
        assert_eq!(word(reply(500, "")), "refused");
        assert_eq!(word(Reply { retry_after: Some("1"), ..reply(404, "") }), "done");
        assert_eq!(word(reply(405, "")), "misconfigured");
    }

    #[test]
    fn an_unreadable_outcome_is_never_taken_for_one() {
        assert_eq!(word(&meaning(Reply { outcome: Some("refsued"), ..reply(200, "") })), "misconfigured");
        assert_eq!(word(&meaning(Reply { outcome: Some(""), ..reply(200, "") })), "misconfigured");
    }

    #[test]
    fn later_is_asked_again() {
        for (header, expected) in [(Some("true"), "unknown, free"), (Some("false"), "done"), (None, "done")] {
            assert_eq!(word(&meaning(Reply { saga_async: header, ..reply(202, "") })), expected);
        }
        assert_eq!(word(&meaning(Reply { saga_async: Some("true"), ..reply(200, "") })), "done");
    }

    #[test]
    fn a_refusal_is_stored_only_where_a_barrier_says_so() {
        let stored = |barrier, reply| match read(Exchange::Replied(reply), &Outcomes::default(), barrier, NOW) {
            Meaning::Refused { stored, .. } => stored,
            other => panic!("{other:?}"),
        };
        let voided = problem_json("voided");
        let business = problem_json("refused");
        let invalid = problem_json("invalid-request");
        for (reply, with_barrier) in [
            (reply(422, THEIRS), false),
            (Reply { outcome: Some("refused"), ..reply(422, THEIRS) }, true),
            (Reply { replayed: Some("true"), ..reply(422, THEIRS) }, true),
            (Reply { replayed: Some("false"), ..reply(422, THEIRS) }, false),
            (reply(409, &voided), true),
            (reply(422, &business), true),
            (reply(400, &invalid), false),
        ] {
            assert_eq!(stored(true, reply), with_barrier, "{reply:?}");
            assert!(!stored(false, reply), "{reply:?}");
        }
    }

    #[test]
    fn what_done_carries() {
        let done = |reply| match meaning(reply) {
            Meaning::Done { status, body, replayed, fault } => (status, body, replayed, fault.is_some()),
            other => panic!("{other:?}"),
        };
        let json = Reply { replayed: Some("true"), ..reply(201, r#"{"id": 9007199254740991}"#) };
        assert_eq!(done(json), (201, serde_json::json!({"id": 9_007_199_254_740_991_i64}), true, false));
        assert_eq!(done(reply(204, "")), (204, Value::Null, false, false));
        assert_eq!(done(reply(200, "hello")), (200, Value::Null, false, true));
        assert_eq!(done(Reply { body: Body::TooLarge, ..reply(200, "") }), (200, Value::Null, false, true));
    }

    #[test]
    fn a_body_that_broke_off_is_asked_for_again() {
        for status in [200, 201, 409, 422, 503] {
            let cut = Reply { body: Body::Cut, ..reply(status, THEIRS) };
            assert_eq!(word(&meaning(cut)), "unknown", "{status}");
        }
    }

    #[test]
    fn only_the_media_type_of_problems_makes_a_refusal() {
        for (content_type, expected) in [
            ("application/problem+json", "refused"),
            ("Application/Problem+JSON ; charset=UTF-8", "refused"),
            ("application/json", "misconfigured"),
            ("application/problem+xml", "misconfigured"),
            ("text/plain, application/problem+json", "misconfigured"),
        ] {
            let reply = Reply { content_type: Some(content_type), ..reply(409, "{}") };
            assert_eq!(word(&meaning(reply)), expected, "{content_type}");
        }
        for body in ["", "[]", "nothing", "{"] {
            let reply = Reply { content_type: Some("application/problem+json"), ..reply(409, body) };
            assert_eq!(word(&meaning(reply)), "misconfigured", "{body:?}");
        }
    }

    #[test]
    fn what_strangers_write_is_cut_and_on_one_line() {
        let body =
            serde_json::json!({"type": "about:blank", "detail": format!("a\nb{}", "x".repeat(5_000))}).to_string();
        let Meaning::Refused { code, detail, .. } = meaning(reply(409, &body)) else { panic!() };
        assert_eq!(code, "http-409");
        assert!(detail.starts_with("a b") && detail.chars().count() == DETAIL_MAX);
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        let day = RETRY_AFTER_MAX.as_secs();
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(day)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Tue, 29 Feb 2028 00:00:00 GMT", Some(day)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:50:37 CET", None),
            ("Sun, 06 Nov 1994 25:50:37 GMT", None),
            ("Sun, 32 Nov 1994 08:50:37 GMT", None),
            ("Sun, 06 Noe 1994 08:50:37 GMT", None),
            ("Sun, 06 Nov 99999999999999 08:50:37 GMT", None),
        ] {
            assert_eq!(parse_retry_after(text, NOW), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Wed, 31 Dec 1969 23:59:59 GMT"), Some(-1));
        assert_eq!(http_date("Wed, 01 Mar 2000 00:00:00 GMT"), Some(951_868_800));
        assert_eq!(http_date("Tue, 24 Nov 2026 09:10:00 GMT"), Some(1_795_511_400));
    }

    #[test]
    fn an_outcome_has_one_name() {
        for outcome in [Outcome::Done, Outcome::Refused, Outcome::Unknown] {
            assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(Outcome::parse("maybe"), None);
    }
}
