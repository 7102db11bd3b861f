//! The layer on an echo beside the same echo without it: behind a socket, as a service has it, and without one, which
//! shows what the layer itself costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::body::Body;
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use steadfast_core::{Principal, header};
use steadfast_host::clock::System;
use steadfast_idempotency::{IdempotencyLayer, Memory, Scope, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::{Arguments, WORK};
use crate::bench::beside::{alternate, line, timed};
use crate::bench::http::{Caller, serve_at};
use crate::bench::load::{Run, Work};
use crate::bench::report::Line;

const PATH: &str = "/orders";
const BODY: &[u8] = br#"{"item":"tea","quantity":1}"#;

pub(super) async fn over_memory(arguments: &Arguments) -> Result<Vec<Line>> {
    // A new one for each run: nobody removes what has expired from a store in memory while it fills.
    let store = || -> Arc<dyn Store> { Arc::new(Memory::new(Arc::new(System))) };
    measure("memory", arguments, store).await
}

#[cfg(feature = "redis")]
pub(super) async fn over_redis(server: &super::server::Server, arguments: &Arguments) -> Result<Vec<Line>> {
    measure(server.name(), arguments, || -> Arc<dyn Store> { Arc::clone(&server.store) as _ }).await
}

async fn measure(name: &str, arguments: &Arguments, store: impl Fn() -> Arc<dyn Store>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let pace = &arguments.pace;
    for socket in [true, false] {
        let run = async |router: Router, at_once: usize, length: Duration| {
            if socket {
                behind_socket(router, at_once, length).await
            } else {
                without_socket(router, at_once, length).await
            }
        };
        run(layered(store()), 1, pace.warming()).await?;
        run(plain(), 1, pace.warming()).await?;
        for &at_once in &arguments.at_once {
            let ours = async || run(layered(store()), at_once, pace.length()).await;
            let (ours, bare) =
                alternate(pace.rounds, ours, async || run(plain(), at_once, pace.length()).await).await?;
            let how = if socket { "HTTP" } else { "no socket" };
            lines.push(line(
                WORK,
                format!("layer over {name}, {how}, beside the echo, {at_once} at once"),
                &ours,
                &bare,
            ));
        }
    }
    Ok(lines)
}

fn echo() -> Router {
    Router::new().route(PATH, post(async |body: Bytes| body))
}

/// Both sides know who asks.
fn authenticated(router: Router) -> Router {
    router.layer(Extension(Principal::new("bench", ["bench"])))
}

fn plain() -> Router {
    authenticated(echo())
}

fn layered(store: Arc<dyn Store>) -> Router {
    authenticated(echo().layer(IdempotencyLayer::new(store, Scope::new("POST /orders"))))
}

/// Keys that no other worker and no other run has.
fn prefix() -> String {
    format!("{:032x}", fastrand::u128(..))
}

async fn behind_socket(router: Router, at_once: usize, length: Duration) -> Result<Run> {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let address = serve_at(router, &stop, &tasks).await?;
    let outcome = called(address, at_once, length, &tasks).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    outcome
}

async fn called(address: SocketAddr, at_once: usize, length: Duration, tasks: &TaskTracker) -> Result<Run> {
    let mut callers = Vec::with_capacity(at_once);
    for _ in 0..at_once {
        let caller = Caller::connect(address, PATH, Bytes::from_static(BODY), &["tea"], tasks).await?;
        callers.push(caller.keyed(prefix()));
    }
    timed(callers, length).await
}

async fn without_socket(router: Router, at_once: usize, length: Duration) -> Result<Run> {
    let caller = |_| Direct { router: router.clone(), prefix: prefix(), number: 0 };
    timed((0..at_once).map(caller).collect(), length).await
}

/// Calls the service as a function.
struct Direct {
    router: Router,
    prefix: String,
    number: u64,
}

impl Work for Direct {
    async fn once(&mut self) -> Result<()> {
        let key = format!("{}-{}", self.prefix, self.number);
        self.number += 1;
        let request = Request::post(PATH).header(header::IDEMPOTENCY_KEY, key);
        let request = request.header(CONTENT_TYPE, "application/json").body(Body::from(BODY)).context("a request")?;
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await.context("an answer")?.to_bytes();
        // A call that waits for nothing would keep its thread for ever, and the clock waiting.
        tokio::task::yield_now().await;
        ensure!(status == StatusCode::OK && body == BODY, "the echo answered {status}");
        Ok(())
    }
}
