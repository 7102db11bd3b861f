//! Servers of a measurement on free ports, and a caller with a connection of its own, the same on all sides.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use steadfast_core::header;
use steadfast_host::serve;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bench::load::Work;

/// Posts one body to one path.
#[derive(Debug)]
pub(super) struct Caller {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    path: &'static str,
    bearer: Option<HeaderValue>,
    prefer: Option<HeaderValue>,
    /// What the keys of the requests begin with, and how many there have been.
    keys: Option<(String, u64)>,
    body: Bytes,
    /// What must be in an answer.
    expects: &'static [&'static str],
}

impl Caller {
    pub(super) async fn connect(
        address: SocketAddr,
        path: &'static str,
        body: Bytes,
        expects: &'static [&'static str],
        tasks: &TaskTracker,
    ) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true).context("connecting")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("connecting")?;
        tasks.spawn(async move {
            // An error shows itself at the request.
            connection.await.ok();
        });
        let host = HeaderValue::from_str(&address.to_string()).context("an address")?;
        Ok(Self { sender, host, path, bearer: None, prefer: None, keys: None, body, expects })
    }

    /// As a user who waits for the saga's end.
    pub(super) fn waiting(mut self, token: &str) -> Result<Self> {
        self.bearer = Some(HeaderValue::from_str(&format!("Bearer {token}")).context("a token")?);
        self.prefer = Some(HeaderValue::from_static("wait=30"));
        Ok(self)
    }

    /// With an idempotency key of its own for each request.
    #[must_use]
    pub(super) fn keyed(mut self, prefix: String) -> Self {
        self.keys = Some((prefix, 0));
        self
    }
}

impl Work for Caller {
    async fn once(&mut self) -> Result<()> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(self.path);
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(bearer) = &self.bearer {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        if let Some(prefer) = &self.prefer {
            headers.insert("prefer", prefer.clone());
        }
        if let Some((prefix, number)) = &mut self.keys {
            let key = HeaderValue::from_str(&format!("{prefix}-{number}")).context("a key")?;
            headers.insert(header::IDEMPOTENCY_KEY, key);
            *number += 1;
        }
        self.sender.ready().await.context("a connection was closed")?;
        let response = self.sender.send_request(request).await.context("a request failed")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("an answer was cut")?.to_bytes();
        let text = std::str::from_utf8(&body).unwrap_or_default();
        if !status.is_success() || !self.expects.iter().any(|expected| text.contains(expected)) {
            bail!("{} answered {status}: {text}", self.path);
        }
        Ok(())
    }
}

/// Serves on a free port.
pub(super) async fn serve_at(router: Router, stop: &CancellationToken, tasks: &TaskTracker) -> Result<SocketAddr> {
    let listener = serve::bind("127.0.0.1:0", "bench").await?;
    let address = listener.local_addr()?;
    let limits = serve::Limits { request_time: Duration::from_mins(1), ..serve::Limits::default() };
    let serving = serve::serve(listener, router, limits, stop.clone());
    tasks.spawn(async move { serving.await.map_err(|error| tracing::error!(%error, "a server of the measurement")) });
    Ok(address)
}
