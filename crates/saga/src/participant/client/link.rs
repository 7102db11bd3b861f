//! One connection, driven by the call that uses it.
//!
//! No task of its own reads it: the call polls the connection and its own reply in one go, so a call needs no wake-up of
//! another task, and a call that is dropped takes its connection with it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use tokio::time::Instant;

use super::raw::RawBody;
use super::wire::{Counted, Seen, Stream};

/// The longest head of a reply.
const HEAD_MAX: usize = 32 * 1024;

/// The buffer of a connection; bodies pass through it in pieces.
const BUFFER_MAX: usize = 64 * 1024;

/// A connection to a participant.
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<Counted, Full<Bytes>>,
    seen: Arc<Seen>,
    /// The connection must not be polled any more.
    ended: bool,
    /// Bytes written before the present call.
    before: u64,
    pub(super) idle_since: Instant,
    /// How long it may wait for its next call.
    pub(super) idle_max: Duration,
}

impl Link {
    pub(super) async fn new(stream: Stream, now: Instant, idle_max: Duration) -> Result<Box<Self>, hyper::Error> {
        let seen = Arc::<Seen>::default();
        let io = Counted::new(stream, Arc::clone(&seen));
        let (sender, connection) =
            Builder::new().max_header_size(HEAD_MAX).max_buf_size(BUFFER_MAX).handshake(io).await?;
        Ok(Box::new(Self { sender, connection, seen, ended: false, before: 0, idle_since: now, idle_max }))
    }

    /// Whether the connection can take a request: it has not been closed meanwhile, and nothing has come on it that
    /// would be taken for a reply.
    pub(super) async fn is_free(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(())
        })
        .await;
        !self.ended && self.sender.is_ready()
    }

    /// Whether the socket has taken a byte of the present call's request. Until then it has surely not been sent.
    pub(super) fn is_sent(&self) -> bool {
        self.seen.written() != self.before
    }

    /// What the other side speaks, where it is not HTTP/1.1.
    pub(super) fn foreign(&self) -> Option<&'static str> {
        self.seen.foreign()
    }

    /// Sends a request; gives the head of the reply.
    pub(super) async fn head(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        self.before = self.seen.written();
        let mut reply = pin!(self.sender.try_send_request(request));
        let (connection, ended) = (&mut self.connection, &mut self.ended);
        poll_fn(|cx| {
            if !*ended {
                *ended = Pin::new(&mut *connection).poll(cx).is_ready();
            }
            match reply.as_mut().poll(cx) {
                Poll::Ready(reply) => Poll::Ready(reply.map_err(|failure| describe(failure.error()))),
                Poll::Pending if *ended => Poll::Ready(Err("the connection ended".to_owned())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The body of a reply, up to `limit` bytes.
    pub(super) async fn body(&mut self, mut body: Incoming, limit: usize) -> RawBody {
        if body.size_hint().lower() > limit as u64 {
            return RawBody::TooLarge;
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        loop {
            let data = match self.frame(&mut body).await {
                None if all.is_empty() => return RawBody::Whole(first),
                None => return RawBody::Whole(all.freeze()),
                Some(Err(())) => return RawBody::Cut,
                // Trailers say nothing that we read.
                Some(Ok(None)) => continue,
                Some(Ok(Some(data))) => data,
            };
            if first.len().max(all.len()) + data.len() > limit {
                return RawBody::TooLarge;
            }
            // The usual body is one piece and is not copied.
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                if all.is_empty() {
                    all.extend_from_slice(&std::mem::take(&mut first));
                }
                all.extend_from_slice(&data);
            }
        }
    }

    async fn frame(&mut self, body: &mut Incoming) -> Option<Result<Option<Bytes>, ()>> {
        if body.is_end_stream() {
            return None;
        }
        poll_fn(|cx| {
            // Asking for a piece is what allows the connection to read it.
            let mut polled = Pin::new(&mut *body).poll_frame(cx);
            if polled.is_pending() {
                self.drive(cx);
                polled = Pin::new(&mut *body).poll_frame(cx);
            }
            match polled {
                Poll::Ready(frame) => Poll::Ready(frame.map(|frame| match frame {
                    Ok(frame) => Ok(frame.into_data().ok()),
                    Err(_) => Err(()),
                })),
                Poll::Pending if self.ended => Poll::Ready(Some(Err(()))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.ended {
            self.ended = Pin::new(&mut self.connection).poll(cx).is_ready();
        }
    }
}

/// An error with its causes, in one line.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
