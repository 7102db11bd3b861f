//! HTTP as a client of the processes of a run: a connection for each request, everything bounded.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const BODY_MAX: usize = 4 * 1024 * 1024;

/// An answer; a body that is no JSON is its text.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Asks, and waits at most `limit` for the whole answer.
pub(crate) async fn ask(
    to: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
    limit: Duration,
) -> Result<Reply> {
    let mut request = Request::builder().method(method).uri(path).header("host", to.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let text = body.map(Value::to_string).unwrap_or_default();
    let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(text)));
    let request = request.context("a request")?;
    timeout(limit, exchange(to, request)).await.context("no answer in time")?
}

async fn exchange(to: SocketAddr, request: Request<Full<Bytes>>) -> Result<Reply> {
    let stream = timeout(CONNECT_LIMIT, TcpStream::connect(to)).await.context("no connection in time")??;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let talk = async {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
        Ok::<_, anyhow::Error>(Reply { status: head.status.as_u16(), headers: head.headers, body })
    };
    tokio::pin!(connection, talk);
    // The connection carries the talk; it may end first when the other side closes after its answer.
    tokio::select! {
        reply = &mut talk => reply,
        ended = &mut connection => {
            ended.context("the connection was cut")?;
            talk.await
        }
    }
}
