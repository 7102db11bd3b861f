//! Who may, how often, and on what.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use steadfast::core::{Principal, problem};
use steadfast::host::problem::Reply;
use steadfast::host::room::{self, Room};
use steadfast::idempotency::ResponseExt;
use steadfast::locking::Limiter;

use super::start;

/// Middleware: 403 without the permission.
pub(crate) async fn permitted(
    State(permission): State<&'static str>,
    Extension(principal): Extension<Principal>,
    request: Request,
    next: Next,
) -> Response {
    if principal.may(permission) {
        return next.run(request).await;
    }
    let detail = format!("this requires the permission {permission}: ask whoever grants you yours");
    Reply::from(problem::FORBIDDEN.with(detail)).into_response()
}

/// Middleware: so many updates of one user, and 429 for more. The key of a request that is turned away stays free.
pub(crate) async fn limited(
    State(limiter): State<Arc<Limiter>>,
    Extension(principal): Extension<Principal>,
    request: Request,
    next: Next,
) -> Response {
    let verdict = limiter.check(principal.subject());
    let mut response = match verdict.problem() {
        Some(problem) => Reply::from(problem).into_response().not_executed(),
        None => next.run(request).await,
    };
    response.headers_mut().extend(verdict.headers());
    response
}

/// Middleware: so many at once that do not wait for the saga's end, and 503 for more. Who waits asks for no work meanwhile.
pub(crate) async fn brief(state: State<Room>, request: Request, next: Next) -> Response {
    match start::wait(request.headers()) {
        Some(_) => next.run(request).await,
        None => room::enter(state, request, next).await,
    }
}

/// What a path names. One that is no text names nothing.
#[derive(Debug)]
pub(crate) struct Named(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Reply;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Reply> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let not_found =
            |_| problem::NOT_FOUND.with("the path does not name anything: it must be UTF-8, percent-encoded");
        Ok(Self(path.map_err(not_found)?.0))
    }
}
