//! Serving HTTP: bounded in connections, heads, bodies and time, and drained at the end.

use std::convert::Infallible;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::{Router, extract::Request};
use futures_util::FutureExt;
use http_body::Body as _;
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use steadfast_core::problem;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::Error;
use crate::json::too_long;
use crate::problem::Reply;

/// The bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; further ones wait in the listener's queue.
    pub connections: usize,
    /// How long a client may take to send a request's head; also how long an idle connection is kept.
    pub head_time: Duration,
    /// Bytes of a request's head; one that comes in few pieces may be twice as long. Heads have at most 100 headers.
    pub head_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a request may take until its answer begins.
    pub request_time: Duration,
    /// How long the end waits for requests that have begun.
    pub drain_time: Duration,
}

impl Default for Limits {
    /// 4,096 connections, heads of 32 KiB within 30 s, bodies of 1 MiB, 30 s for a request, 20 s for the end.
    fn default() -> Self {
        Self {
            connections: 4096,
            head_time: Duration::from_secs(30),
            head_bytes: 32 * 1024,
            body_bytes: 1024 * 1024,
            request_time: Duration::from_secs(30),
            drain_time: Duration::from_secs(20),
        }
    }
}

/// Listens on `address`, such as `127.0.0.1:8080`. `key` is the configuration key or flag that names the address, for
/// the error that says how to change it.
pub async fn bind(address: &str, key: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| {
        let (address, key) = (address.to_owned(), key.to_owned());
        if source.kind() == io::ErrorKind::AddrInUse {
            Error::AddressInUse { address, key }
        } else {
            Error::Bind { address, key, source }
        }
    })
}

/// Serves HTTP/1.1 until `stop` is cancelled. Then no connection is accepted any more, requests that have begun are
/// answered, and after [`Limits::drain_time`] what is left is cut.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), Error> {
    let room = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let (tracker, cut) = (TaskTracker::new(), CancellationToken::new());
    let outcome = loop {
        let (stream, permit) = tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            accepted = accept(&listener, &room) => match accepted {
                Ok(Some(accepted)) => accepted,
                Ok(None) => continue,
                Err(error) => break Err(Error::Listen(error)),
            },
        };
        tracker.spawn(connection(stream, permit, router.clone(), limits, stop.clone(), cut.clone()));
    };
    drop(listener);
    tracker.close();
    // After a failure of the listener, too, what has begun is finished.
    stop.cancel();
    if timeout(limits.drain_time, tracker.wait()).await.is_err() {
        tracing::warn!(connections = tracker.len(), "requests did not end in time and are cut");
        cut.cancel();
        tracker.wait().await;
    }
    outcome
}

/// The next connection; `None` where a client was gone already or the process has too many files open for the moment.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<Option<(TcpStream, Option<OwnedSemaphorePermit>)>> {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    match listener.accept().await {
        Ok((stream, _)) => Ok(Some((stream, permit))),
        Err(error) if is_of_one_client(&error) => Ok(None),
        Err(error) if is_of_too_many_files(&error) => {
            tracing::warn!(error = %error, "no further connection for the moment");
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}

/// ENFILE, EMFILE, ENOBUFS, ENOMEM: they pass when others close theirs.
fn is_of_too_many_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 105 | 12))
}

async fn connection(
    stream: TcpStream,
    permit: Option<OwnedSemaphorePermit>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    // An answer is one small write: waiting to fill a packet would only delay it. Without it, too, all works.
    let _slower = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(router.clone(), request, limits));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes.max(8 * 1024))
        .keep_alive(true)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    // How a connection ends is the client's affair: it may go at any time.
    let ended = tokio::select! {
        biased;
        ended = serving.as_mut() => Some(ended),
        () = stop.cancelled() => None,
    };
    if ended.is_none() {
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            _ = serving => {}
            () = cut.cancelled() => {}
        }
    }
    drop(permit);
}

async fn answer(mut router: Router, request: http::Request<Incoming>, limits: Limits) -> Result<Response, Infallible> {
    if request.body().size_hint().lower() > limits.body_bytes as u64 {
        return Ok(Reply::from(too_long(limits.body_bytes)).into_response());
    }
    let request: Request = request.map(|body| {
        if body.is_end_stream() { Body::empty() } else { Body::new(Limited::new(body, limits.body_bytes)) }
    });
    match timeout(limits.request_time, AssertUnwindSafe(router.call(request)).catch_unwind()).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_)) => {
            tracing::error!("a handler panicked: the message stands on stderr");
            Ok(Reply::from(problem::INTERNAL.with("an error of the service: its log tells more")).into_response())
        }
        Err(_) => Ok(Reply::from(problem::UNAVAILABLE.with(format!(
            "no answer within {:?}: whether the request took effect is not known; repeat it with the same Idempotency-Key",
            limits.request_time
        )))
        .into_response()),
    }
}
