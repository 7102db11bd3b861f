//! A place for routes in a server that already listens.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use steadfast_core::Problem;
use tower::{ServiceExt, service_fn};

use crate::problem::{Reply, with_fallbacks};

/// Empty until what answers is there; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<OnceLock<Router>>);

impl Slot {
    /// Answers what `router` does not: with `not_yet` until [`fill`](Self::fill).
    pub fn behind(&self, router: Router, not_yet: Problem) -> Router {
        let slot = self.clone();
        let service = service_fn(move |request: Request| {
            let (router, not_yet) = (slot.0.get().cloned(), not_yet.clone());
            async move { Ok::<Response, Infallible>(answer(router, not_yet, request).await) }
        });
        // As a fallback, not as a route: the parameters of a route would be added to those of the routes' own.
        router.fallback_service(service)
    }

    /// From now on requests are answered by `router`. The first call counts.
    pub fn fill(&self, router: Router) {
        if self.0.set(with_fallbacks(router)).is_err() {
            tracing::error!("routes were put into their place twice");
        }
    }

    /// Whether somebody has put routes there.
    pub fn is_filled(&self) -> bool {
        self.0.get().is_some()
    }
}

async fn answer(router: Option<Router>, not_yet: Problem, request: Request) -> Response {
    match router {
        Some(router) => match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => Reply::from(not_yet).into_response(),
    }
}
