//! JSON in and out of handlers, with faults that name the field and never repeat a value.

use std::error::Error as StdError;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use steadfast_core::{Problem, problem};

use crate::problem::Reply;

/// No JSON body of a request is longer, whatever the server's own limit allows.
pub const MAX_BODY: usize = 1024 * 1024;

/// A JSON body: as an extractor with problems for answers, as a response like axum's.
///
/// Unknown fields are the type's own business (`#[serde(deny_unknown_fields)]`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Reply;

    async fn from_request(request: Request, _: &S) -> Result<Self, Reply> {
        if !is_json(request.headers()) {
            return Err(problem::UNSUPPORTED_MEDIA.with("the Content-Type must be application/json").into());
        }
        Ok(Self(parse(&read(request.into_body(), MAX_BODY).await?)?))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 for a longer one, 400 for one that ends too soon.
pub async fn read(body: axum::body::Body, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if is_too_long(error.as_ref()) => Err(too_long(limit)),
        Err(_) => Err(problem::INVALID.with("the request's body ended before its time: send it again")),
    }
}

pub(crate) fn too_long(limit: usize) -> Problem {
    problem::TOO_LARGE.with(format!("the request's body may have at most {limit} bytes"))
}

fn is_too_long(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(it) = next {
        if it.is::<LengthLimitError>() {
            return true;
        }
        next = it.source();
    }
    false
}

/// The value that these bytes say in JSON.
///
/// # Errors
/// 400 with the path of the field that is at fault, line and column, without any value of the body.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    match axum::Json::<T>::from_bytes(bytes) {
        Ok(axum::Json(value)) => Ok(value),
        Err(rejection) => {
            let fault = rejection.source().map_or_else(|| rejection.to_string(), ToString::to_string);
            Err(problem::INVALID.with(format!("the body is not as expected: {}", without_values(&fault))))
        }
    }
}

/// A fault of serde without the value that it quotes: that may be a secret, and the client has it already.
fn without_values(fault: &str) -> String {
    let mut out = fault.to_owned();
    for (opening, close) in [("string \"", "\""), ("integer `", "`"), ("floating point `", "`"), ("character `", "`")] {
        if let Some(start) = out.find(opening)
            && let Some(end) = out.rfind(&format!("{close}, expected"))
            && end >= start + opening.len()
        {
            out.replace_range(start + opening.len()..end, "…");
        }
    }
    out
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(essence) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = essence.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "only parsed")]
        quantity: u32,
    }

    fn fault(body: &str) -> String {
        parse::<Order>(body.as_bytes()).unwrap_err().detail
    }

    #[test]
    fn a_fault_names_the_field_and_not_the_value() {
        let detail = fault(r#"{"lines":[{"quantity":1},{"quantity":"4111 \"1111\", expected"}]}"#);
        assert!(detail.contains("lines[1].quantity") && detail.contains("column"), "{detail}");
        assert!(!detail.contains("4111") && detail.contains("expected u32"), "{detail}");
        let detail = fault(r#"{"lines":[{"quantity":-41111111}]}"#);
        assert!(!detail.contains("41111111") && detail.contains("expected u32"), "{detail}");
        let detail = fault(r#"{"lines":[{"quantity":4111.5}]}"#);
        assert!(!detail.contains("4111"), "{detail}");
        assert!(fault(r#"{"lines":[{"qty":1}]}"#).contains("unknown field `qty`"));
        assert!(fault(r#"{"lines":["#).contains("EOF"));
        assert_eq!(parse::<Order>(br#"{"lines":[{"quantity":1}]}"#).unwrap().lines.len(), 1);
    }

    #[test]
    fn only_json_is_taken_for_json() {
        let of = |value: &'static str| {
            is_json(&HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static(value))]))
        };
        assert!(of("application/json") && of("Application/JSON; charset=utf-8") && of("application/vnd.shop+json"));
        assert!(!of("text/plain") && !of("application/jsonx") && !of("text/x+json") && !is_json(&HeaderMap::new()));
    }
}
