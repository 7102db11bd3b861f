//! Decisions as HTTP answers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use steadfast_core::{Problem, header, problem};

use crate::options::Options;
use crate::record::RecordId;
use crate::{Answer, Error};

/// What older clients know the header of a replay by.
const OLDER: HeaderName = HeaderName::from_static("idempotent-replayed");
const REPLAYED: HeaderName = HeaderName::from_static(header::IDEMPOTENCY_REPLAYED);

/// When a client may ask again about something that is being executed, in seconds.
const SOON: u32 = 1;

/// A problem, with the status that the route has chosen for its type.
pub(crate) fn problem(options: &Options, mut problem: Problem) -> Response<Bytes> {
    if let Some((_, status)) = options
        .statuses
        .iter()
        .rev()
        .find(|(code, _)| problem.type_uri.strip_prefix(problem::TYPE_PREFIX) == Some(*code))
    {
        problem.status = status.as_u16();
    }
    response(&Answer::problem(&problem))
}

/// The stored answer. Its headers are those that may be replayed; its length is reckoned anew.
pub(crate) fn replay(options: &Options, answer: &Answer) -> Response<Bytes> {
    mark(options, response(answer))
}

/// What is left of an answer.
pub(crate) fn gone(options: &Options, answer: &Answer) -> Response<Bytes> {
    let problem = problem(
        options,
        problem::RESULT_UNAVAILABLE
            .with("the request was executed and is not executed again; its answer was too large to be kept, or ended with the login: read the resource instead")
            .member("original_status", answer.status.as_u16()),
    );
    let mut response = mark(options, problem);
    for (name, value) in &answer.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}

pub(crate) fn in_flight() -> Problem {
    problem::IN_FLIGHT
        .with("a request with this key is being executed: send the same request again after Retry-After seconds")
        .retry_after(SOON)
}

/// `asked_again` is whether the route executes, or finds out, what becomes of such a request when it is sent again.
pub(crate) fn held(id: RecordId, asked_again: bool) -> Problem {
    let problem = if asked_again {
        let again =
            "a request with this key ended without a known outcome: send the same request with the same key again";
        problem::OUTCOME_UNKNOWN.with(again).retry_after(SOON)
    } else {
        problem::OUTCOME_UNKNOWN
            .with("the first request with this key ended without a known outcome and is not executed again: have an operator look whether it took effect, and resolve the record")
    };
    problem.member("record", id.to_string())
}

pub(crate) fn mismatch() -> Problem {
    problem::MISMATCH.with(
        "this key was used for another request: send a new key for a new intent, or the same request for the same key",
    )
}

/// Corruption: the same for every reader, without saying whose the record is.
pub(crate) fn foreign(id: RecordId) -> Problem {
    tracing::error!(record = %id, security = true, "an idempotency record bears another owner or scope than its name says");
    problem::INTERNAL.with("the idempotency record of this request contradicts itself: it has been reported")
}

pub(crate) fn unavailable(error: &Error) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "the idempotency store did not answer");
    problem::UNAVAILABLE
        .with("the idempotency store does not answer, so nothing was executed: send the same request with the same key again")
        .retry_after(SOON)
}

pub(crate) fn panicked() -> Problem {
    problem::INTERNAL.with(
        "the handler broke off: whether it took effect is not known, send the same request with the same key again",
    )
}

/// An answer as a response.
pub(crate) fn response(answer: &Answer) -> Response<Bytes> {
    let mut response = Response::new(answer.body.clone().unwrap_or_default());
    *response.status_mut() = answer.status;
    for (name, value) in &answer.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}

fn mark(options: &Options, mut response: Response<Bytes>) -> Response<Bytes> {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    if options.older_header {
        response.headers_mut().insert(OLDER, HeaderValue::from_static("true"));
    }
    response
}

/// Whether a status may bear a body at all.
pub(crate) fn bears_body(status: StatusCode) -> bool {
    !(status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED)
}
