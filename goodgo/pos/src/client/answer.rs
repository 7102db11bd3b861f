//! What was answered.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use steadfast::core::header::IDEMPOTENCY_REPLAYED;
use steadfast::core::problem::{self, Type};

use super::Error;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Whether it is none yet: the service was not ready for the question, which may be sent again under its key.
    pub fn is_for_later(&self) -> bool {
        let status = self.status.as_u16();
        status == 408
            || status == 425
            || status == 429
            || status >= 500
            || status == 409 && (self.is_problem(&problem::IN_FLIGHT) || self.is_problem(&problem::OUTCOME_UNKNOWN))
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON of this shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|source| Error::Json { status: self.status.as_u16(), source })
    }

    /// Whether it is a problem of this type.
    pub fn is_problem(&self, kind: &Type) -> bool {
        let of_problem = self.header("content-type").is_some_and(|found| found.starts_with(problem::CONTENT_TYPE));
        of_problem && self.member("type").as_deref() == Some(kind.uri().as_str())
    }

    /// What a problem says, else the beginning of the body.
    pub fn detail(&self) -> String {
        self.member("detail").unwrap_or_else(|| String::from_utf8_lossy(&self.body).chars().take(200).collect())
    }

    /// Whether it was stored by an earlier request with the same key.
    pub fn is_replayed(&self) -> bool {
        self.header(IDEMPOTENCY_REPLAYED) == Some("true")
    }

    /// How long the service asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }

    /// Whether a client could not tell the two apart: what differs is only whether it was stored, and when it was sent.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let same = |name| self.headers.get(name) == other.headers.get(name);
        self.status == other.status
            && self.body == other.body
            && same("content-type")
            && same("location")
            && same("etag")
    }

    /// Whether both tell of one and the same saga, and one of them from when it still ran: where the first answer could not be
    /// stored, the repeat is carried out again, and finds what was begun.
    pub fn tells_of_the_same(&self, other: &Self) -> bool {
        let is_running = |answer: &Self| answer.member("status").as_deref() == Some("running");
        let saga = self.member("saga_id");
        saga.is_some()
            && saga == other.member("saga_id")
            && self.member("order_id") == other.member("order_id")
            && (is_running(self) || is_running(other))
    }

    fn member(&self, name: &str) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        body.get(name)?.as_str().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(saga: &str, status: &str) -> Answer {
        let body = json!({"order_id": "o", "saga_id": saga, "status": status}).to_string().into();
        Answer { status: StatusCode::ACCEPTED, headers: HeaderMap::new(), body }
    }

    #[test]
    fn an_answer_from_underway_and_one_from_the_end_tell_of_the_same_and_two_ends_do_not() {
        assert!(of("s", "running").tells_of_the_same(&of("s", "completed")));
        assert!(of("s", "compensated").tells_of_the_same(&of("s", "running")));
        assert!(!of("s", "completed").tells_of_the_same(&of("s", "compensated")));
        assert!(!of("s", "running").tells_of_the_same(&of("t", "completed")));
        let other = Answer { body: Bytes::from_static(b"{}"), ..of("s", "running") };
        assert!(!other.tells_of_the_same(&other.clone()));
    }
}
