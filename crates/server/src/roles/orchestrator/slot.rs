//! A place for the API in a server that already listens.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use steadfast_host::problem::Reply;
use tower::{ServiceExt, service_fn};

use super::not_yet;

/// Empty until the API is there; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<OnceLock<Router>>);

impl Slot {
    /// Answers what `router` does not: with a 503 until [`fill`](Self::fill).
    pub(super) fn behind(&self, router: Router) -> Router {
        let slot = self.clone();
        let service = service_fn(move |request: Request| {
            let router = slot.0.get().cloned();
            async move { Ok::<Response, Infallible>(answer(router, request).await) }
        });
        // As a fallback, not as a route: the parameters of a route would be added to those of the API's own.
        router.fallback_service(service)
    }

    /// From now on requests are answered by `router`. The first call counts.
    pub(super) fn fill(&self, router: Router) {
        if self.0.set(steadfast_host::problem::with_fallbacks(router)).is_err() {
            tracing::error!("the API was put into its place twice");
        }
    }
}

async fn answer(router: Option<Router>, request: Request) -> Response {
    match router {
        Some(router) => match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => Reply::from(not_yet()).into_response(),
    }
}
