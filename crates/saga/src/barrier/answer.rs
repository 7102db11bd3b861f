//! What a step's route answers, so that the same answer can be given again.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use steadfast_core::{Problem, header, problem};

pub(crate) const JSON: &str = "application/json";

/// An answer: status, content type and body, and nothing that a replay would have to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    content_type: Cow<'static, str>,
    body: Bytes,
    retry_after: Option<u32>,
    replayed: bool,
    altered: bool,
    refused: bool,
}

impl Answer {
    /// Any answer.
    pub fn new(status: u16, content_type: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: content_type.into(),
            body: body.into(),
            retry_after: None,
            replayed: false,
            altered: false,
            refused: false,
        }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self::new(status, JSON, Bytes::new())
    }

    /// An answer whose body is this JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, JSON, body.to_string())
    }

    /// An answer whose body is this value as JSON.
    ///
    /// # Errors
    /// When the value has no form in JSON, such as a map with keys that are no strings.
    pub fn serialize<T: Serialize + ?Sized>(status: u16, body: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::new(status, JSON, serde_json::to_vec(body)?))
    }

    /// A problem. With a status that means "the business said no" ([`problem::BUSINESS_REFUSAL`] and its like) it is a
    /// refusal: what the work wrote is taken back and the refusal is stored.
    pub fn problem(problem: &Problem) -> Self {
        let mut answer = Self::new(problem.status, problem::CONTENT_TYPE, problem.to_json());
        answer.retry_after = problem.retry_after;
        answer
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The content type.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether it was stored by an earlier attempt.
    pub fn is_replayed(&self) -> bool {
        self.replayed
    }

    /// Whether it was stored for a request with another body: a fault of the orchestrator's rendering, for an operator
    /// to look at. The answer is the right one nevertheless.
    pub fn is_altered(&self) -> bool {
        self.altered
    }

    pub(crate) fn is_problem(&self) -> bool {
        let essence = self.content_type.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(problem::CONTENT_TYPE)
    }

    /// The last part of the problem's type, where it is one of ours.
    pub(crate) fn problem_code(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("type")?.as_str()?.strip_prefix(problem::TYPE_PREFIX)?.to_owned())
    }

    /// Says that this refusal is stored: it holds for every attempt, whatever type of problem it is.
    pub(crate) fn refused(mut self) -> Self {
        self.refused = true;
        self
    }

    pub(crate) fn replay(mut self, altered: bool) -> Self {
        self.replayed = true;
        self.altered = altered;
        self
    }
}

impl From<Answer> for Response<Bytes> {
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(answer.body);
        // A status outside 100..=999 is a fault of the service that no client should take for an answer.
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let (Ok(value), false) = (HeaderValue::from_str(&answer.content_type), answer.status == 204) {
            headers.insert(CONTENT_TYPE, value);
        }
        if answer.replayed {
            headers.insert(header::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        if answer.refused {
            headers.insert(header::SAGA_OUTCOME, HeaderValue::from_static("refused"));
        }
        if let Some(seconds) = answer.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_says_so_and_is_otherwise_the_same() {
        let answer = Answer::json(201, &serde_json::json!({"id": 1}));
        let first = Response::<Bytes>::from(answer.clone());
        let again = Response::<Bytes>::from(answer.replay(false));
        assert_eq!((first.status(), first.body()), (again.status(), again.body()));
        assert!(!first.headers().contains_key(header::IDEMPOTENCY_REPLAYED));
        assert_eq!(again.headers()[header::IDEMPOTENCY_REPLAYED], "true");
        assert_eq!(first.headers()[CONTENT_TYPE], JSON);
    }

    #[test]
    fn a_stored_refusal_says_so_in_a_header() {
        let problem = Answer::problem(&problem::BUSINESS_REFUSAL.with("out of stock"));
        assert!(!Response::<Bytes>::from(problem.clone()).headers().contains_key(header::SAGA_OUTCOME));
        assert_eq!(Response::<Bytes>::from(problem.refused()).headers()[header::SAGA_OUTCOME], "refused");
    }

    #[test]
    fn a_problem_keeps_its_media_type_its_code_and_its_wait() {
        let answer = Answer::problem(&problem::RATE_LIMITED.with("slow down").retry_after(7));
        assert!(answer.is_problem());
        assert_eq!(answer.problem_code().as_deref(), Some("rate-limited"));
        assert_eq!(Response::<Bytes>::from(answer).headers()[RETRY_AFTER], "7");
        assert!(Answer::new(409, "Application/Problem+JSON; charset=utf-8", "{}").is_problem());
    }

    #[test]
    fn no_content_has_no_content_type() {
        assert!(Response::<Bytes>::from(Answer::empty(204)).headers().is_empty());
    }
}
