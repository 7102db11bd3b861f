//! The order of layers: body limit, authentication, look-up (a replay ends here), limiter, precondition, handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ::http::{HeaderMap, StatusCode, header};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use steadfast_idempotency::{Answer, Error, ResponseExt, Scope, Transactional, TransactionalLayer};
use tower_layer::Layer;

use crate::support::{Answered, authenticated, backends, database, request, send};

/// A limiter that lets through so many, a precondition on a version that each update raises, and the update itself.
fn behind<L>(layer: L, limit: u32) -> Router
where
    L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
    L::Service: tower_service::Service<Request, Response: IntoResponse, Error: Into<std::convert::Infallible>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let version = Arc::new(AtomicU32::new(1));
    let passed = Arc::new(AtomicU32::new(0));
    let current = Arc::clone(&version);
    let precondition = from_fn(move |request: Request, next: Next| {
        let expected = format!("\"{}\"", current.load(Ordering::SeqCst));
        async move {
            if request.headers().get(header::IF_MATCH).is_none_or(|tag| tag.as_bytes() != expected.as_bytes()) {
                return StatusCode::PRECONDITION_FAILED.into_response();
            }
            next.run(request).await
        }
    });
    let limiter = from_fn(move |request: Request, next: Next| {
        let within = passed.fetch_add(1, Ordering::SeqCst) < limit;
        async move {
            if within { next.run(request).await } else { StatusCode::TOO_MANY_REQUESTS.into_response().not_executed() }
        }
    });
    let update = async move |request: Request| -> Response {
        let next = version.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = Answer::new(StatusCode::OK).with_header(header::ETAG, format!("\"{next}\"").parse().unwrap());
        match request.extensions().get::<Transactional>() {
            Some(transactional) => transactional
                .run(|_| {
                    let answer = answer.clone();
                    Box::pin(async move { Ok::<_, Error>(answer) })
                })
                .await
                .unwrap()
                .into_response(),
            None => answer.into_response().into_response(),
        }
    };
    authenticated(Router::new().route("/products/1", put(update)).layer(precondition).layer(limiter).layer(layer))
}

async fn update(app: &Router, key: &str, version: &str) -> Answered {
    let mut request = request("PUT", "/products/1", "u", key, "{}");
    request.headers_mut().insert(header::IF_MATCH, version.parse().unwrap());
    send(app, request).await
}

async fn check(app: &Router) {
    let first = update(app, "k", "\"1\"").await;
    assert_eq!((first.status, first.header("etag")), (StatusCode::OK, "\"2\""));
    for _ in 0..5 {
        // A retried PUT does not meet its own new version, and costs no limit.
        let replay = update(app, "k", "\"1\"").await;
        assert_eq!((replay.status, replay.replayed(), replay.header("etag")), (StatusCode::OK, true, "\"2\""));
    }
    assert_eq!(update(app, "l", "\"1\"").await.status, StatusCode::PRECONDITION_FAILED);
    let limited = update(app, "m", "\"2\"").await;
    assert_eq!((limited.status, limited.replayed()), (StatusCode::TOO_MANY_REQUESTS, false));
    let again = update(app, "m", "\"2\"").await;
    assert_eq!((again.status, again.replayed()), (StatusCode::TOO_MANY_REQUESTS, false), "its key stays free");
    let stranger = send(app, {
        let mut request = request("PUT", "/products/1", "u", "n", "{}");
        *request.headers_mut() = HeaderMap::new();
        request
    });
    assert_eq!(stranger.await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_replay_ends_at_the_look_up_in_the_leased_form() {
    for backend in backends().await {
        let store = Arc::clone(&backend.store);
        let layer = steadfast_idempotency::IdempotencyLayer::new(store, Scope::new("PUT /products/{id}"));
        check(&behind(layer, 2)).await;
    }
}

#[tokio::test]
async fn a_replay_ends_at_the_look_up_in_the_transactional_form() {
    let db = database().await;
    let layer =
        TransactionalLayer::new(db.clone(), Arc::new(crate::support::clock()), Scope::new("PUT /products/{id}"));
    check(&behind(layer, 2)).await;
}
