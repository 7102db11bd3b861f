//! What placing an order and returning goods have in common: one call to the orchestrator, and its answer told to the
//! client.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use steadfast::core::{Principal, Problem, SagaId, problem};
use steadfast::host::json::{self, Json};
use steadfast::host::problem::Reply;
use steadfast::idempotency::{Context, ResponseExt};
use steadfast::locking::refuse_version_in_body;
use uuid::Uuid;

use crate::orchestrator::{Answer, Failure, Orchestrator, Saga, Start};
use crate::order::Fault;

/// The longest that a client may wait for a saga's end.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// When to ask again after a failure, in seconds.
const AGAIN: u32 = 1;

/// The request behind the saga.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) definition: &'static str,
    /// The name of the id in the answer: `order_id`.
    pub(crate) id_name: &'static str,
    pub(crate) id: Uuid,
    pub(crate) location: Option<&'a str>,
}

/// The id of what this user asks for under this key: the same for every repeat.
pub(crate) fn derive(kind: &str, principal: &Principal, context: &Context) -> Uuid {
    Uuid::from_bytes(*SagaId::derive(principal.subject(), kind, context.idempotency_key()).as_bytes())
}

/// The body, without a version.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    let value: Value = json::parse(body)?;
    refuse_version_in_body(&value)?;
    json::parse(body)
}

/// A fault of the request.
pub(crate) fn invalid(fault: &Fault) -> Problem {
    problem::INVALID.with(fault.to_string()).member("field", fault.field.clone())
}

/// Starts the saga and answers: 202 while it runs; with `Prefer: wait`, 201 when it is completed and 200 when it ended
/// otherwise.
pub(crate) async fn start(
    orchestrator: &Orchestrator,
    asked: Asked<'_>,
    context: &Context,
    caller: &HeaderMap,
    input: &Value,
) -> Response {
    let wait = wait(caller);
    let key = context.key(asked.definition);
    let start = Start { definition: asked.definition, key: &key, caller, wait, input };
    match orchestrator.start(&start).await {
        Ok(Answer::Saga(saga)) => told(asked, saga, wait),
        Ok(Answer::Refused { status, retry_after, problem }) => passed_on(status, retry_after, problem),
        Err(failure) => failed(&failure),
    }
}

fn told(asked: Asked<'_>, saga: Saga, wait: Option<Duration>) -> Response {
    let ended = matches!(saga.status.as_str(), "completed" | "compensated" | "failed");
    let status = match saga.status.as_str() {
        "completed" => StatusCode::CREATED,
        _ if ended => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    let shown = if ended { saga.status.as_str() } else { "running" };
    let mut body = json!({ "saga_id": saga.id, "status": shown });
    body[asked.id_name] = asked.id.to_string().into();
    if let Some(cause) = saga.cause.filter(|cause| !cause.is_null()) {
        body["cause"] = cause;
    }
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    if let Some(Ok(location)) = asked.location.map(HeaderValue::from_str) {
        headers.insert(LOCATION, location);
    }
    if let Some(wait) = wait
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
    {
        headers.insert(HeaderName::from_static("preference-applied"), applied);
    }
    // Who waits for the end may wait again with the same key.
    if wait.is_some() && !ended { response.not_final() } else { response }
}

/// Nothing was started. What may pass later is not kept, so that the same key may ask again.
fn passed_on(status: StatusCode, retry_after: Option<HeaderValue>, problem: Bytes) -> Response {
    let mut response = Response::new(Body::from(problem));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    match status {
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => response,
        _ => response.not_final(),
    }
}

fn failed(failure: &Failure) -> Response {
    tracing::warn!(error = failure as &dyn std::error::Error, "no saga was started");
    let unavailable = problem::UNAVAILABLE
        .with("the orchestrator cannot be asked at present: send the same request with the same key again")
        .retry_after(AGAIN);
    let response = Reply::from(unavailable).into_response();
    match failure {
        Failure::NotSent(_) => response.not_executed(),
        Failure::NoAnswer(_) | Failure::Failed(_) => response,
    }
}

/// `Prefer: wait=N` (RFC 7240, 4.3), at most 30 seconds. A preference that cannot be read is none.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all("prefer").iter().filter_map(|line| line.to_str().ok());
    let mut preferences = lines.flat_map(|line| line.split(','));
    let seconds: u64 = preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
    })?;
    (seconds > 0).then(|| Duration::from_secs(seconds).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert("prefer", HeaderValue::from_static(text));
        wait(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_read_and_bounded() {
        assert_eq!(of("wait=10"), Some(10));
        assert_eq!(of("respond-async, Wait = \"5\"; x=y"), Some(5));
        assert_eq!(of("wait=3600"), Some(30));
        for none in ["", "wait", "wait=0", "wait=-1", "wait=soon", "return=minimal"] {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert_eq!(wait(&HeaderMap::new()), None);
    }
}
