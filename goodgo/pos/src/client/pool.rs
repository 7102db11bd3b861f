//! Connections that are kept for each authority.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{Answer, Error, Request};

/// The bounds of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a request may take from its beginning to the end of its answer.
    pub time: Duration,
    /// Bytes of an answer's body.
    pub body: usize,
    /// Connections that are kept for each authority.
    pub kept: usize,
}

impl Default for Limits {
    /// 35 s, longer than a server may wait at a client's wish; 8 MiB; 64 connections.
    fn default() -> Self {
        Self { time: Duration::from_secs(35), body: 8 * 1024 * 1024, kept: 64 }
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// A client; its clones share the connections, which end with the last of them.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    kept: Mutex<HashMap<String, Vec<Sender>>>,
    tasks: TaskTracker,
}

impl Default for Client {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Client {
    /// A client within these bounds.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, kept: Mutex::default(), tasks: TaskTracker::new() }))
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Sends a request and reads the whole answer. A kept connection that turns out to be closed before anything was
    /// written to it is replaced; nothing else is sent twice.
    pub async fn send(&self, request: &Request) -> Result<Answer, Error> {
        let limit = self.0.limits.time;
        let late = || Error::TimedOut { authority: request.authority().to_owned(), limit };
        timeout(limit, self.exchange(request)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, Error> {
        let authority = request.authority();
        let cut =
            |source: Box<dyn std::error::Error + Send + Sync>| Error::Cut { authority: authority.to_owned(), source };
        let mut message = request.to_http()?;
        loop {
            let (mut sender, reused) = match self.kept(authority).await {
                Some(sender) => (sender, true),
                None => (self.connect(authority).await?, false),
            };
            let response = match sender.try_send_request(message).await {
                Ok(response) => response,
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if reused => {
                        message = unsent;
                        continue;
                    }
                    _ => return Err(cut(failed.into_error().into())),
                },
            };
            let (head, body) = response.into_parts();
            let body = Limited::new(body, self.0.limits.body).collect().await.map_err(cut)?.to_bytes();
            self.keep(authority, sender);
            return Ok(Answer { status: head.status, headers: head.headers, body });
        }
    }

    /// A kept connection that is ready for a request.
    async fn kept(&self, authority: &str) -> Option<Sender> {
        loop {
            let mut sender = self.lock().get_mut(authority)?.pop()?;
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, authority: &str, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut kept = self.lock();
        let senders = kept.entry(authority.to_owned()).or_default();
        if senders.len() < self.0.limits.kept {
            senders.push(sender);
        }
    }

    async fn connect(&self, authority: &str) -> Result<Sender, Error> {
        let unreachable = |source| Error::Connect { authority: authority.to_owned(), source };
        let stream = TcpStream::connect(authority).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::Cut { authority: authority.to_owned(), source: error.into() })?;
        self.0.tasks.spawn(async move {
            // How it ends is seen by who uses it.
            let _seen_by_its_user = connection.await;
        });
        Ok(sender)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<Sender>>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
