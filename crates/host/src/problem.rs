//! Problems over HTTP (RFC 9457): one way in which every error of every service looks.

use std::error::Error as StdError;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use steadfast_core::{Classified, ErrorKind, Problem, problem};

/// An answer that is a problem; the error type of handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply(Box<Problem>);

impl Reply {
    /// The answer to an error, by its kind. What the client can do something about is told; what it cannot is logged
    /// here, with its whole chain, and the client learns only that it happened.
    pub fn of<E: StdError + Classified>(error: &E) -> Self {
        let kind = error.kind();
        let detail = match kind {
            ErrorKind::Conflict | ErrorKind::Refused | ErrorKind::Invalid => error.to_string(),
            ErrorKind::Transient => {
                tracing::warn!(error = chain(error), "not available at present");
                "the service cannot do this at present: ask again in a moment".to_owned()
            }
            ErrorKind::Corrupt | ErrorKind::Bug => {
                tracing::error!(error = chain(error), ?kind, "an error that only an operator can mend");
                "an error of the service: its log tells more".to_owned()
            }
        };
        problem::of_kind(kind).with(detail).into()
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.0
    }
}

/// An error and all that caused it, in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0.to_json()));
        *response.status_mut() = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.status == 401 {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Answers problems where no route or no method matches. Call it last: it covers the routes that are there already.
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(|| async {
            Reply::from(problem::NOT_FOUND.with("there is nothing at this path: check its spelling and version"))
        })
        .method_not_allowed_fallback(|| async {
            Reply::from(
                problem::METHOD_NOT_ALLOWED
                    .with("this path exists, but not with this method: the header Allow names those that it knows"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the till is open")]
    struct Fault(ErrorKind, #[source] std::fmt::Error);

    impl Classified for Fault {
        fn kind(&self) -> ErrorKind {
            self.0
        }
    }

    #[test]
    fn what_the_client_cannot_mend_is_not_told() {
        let of = |kind| Reply::of(&Fault(kind, std::fmt::Error)).problem().clone();
        assert_eq!((of(ErrorKind::Invalid).status, of(ErrorKind::Invalid).detail.as_str()), (400, "the till is open"));
        for (kind, status) in [(ErrorKind::Transient, 503), (ErrorKind::Corrupt, 500), (ErrorKind::Bug, 500)] {
            assert_eq!(of(kind).status, status);
            assert!(!of(kind).detail.contains("till"), "{kind:?}");
        }
    }

    #[test]
    fn a_chain_is_told_whole() {
        let error = Fault(ErrorKind::Bug, std::fmt::Error);
        assert!(chain(&error).starts_with("the till is open: an error occurred"), "{}", chain(&error));
    }

    #[test]
    fn headers_follow_the_problem() {
        let response = Reply::from(problem::OVERLOADED.with("x").retry_after(3)).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[RETRY_AFTER]),
            (429, &HeaderValue::from_static("3"))
        );
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        let response = Reply::from(problem::UNAUTHENTICATED.with("x")).into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
