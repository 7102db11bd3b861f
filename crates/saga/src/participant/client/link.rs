//! One connection, driven by the call that uses it.
//!
//! No task of its own reads it: the call polls the connection and its own reply in one go, so a call needs no wake-up of
//! another task, and a call that is dropped takes its connection with it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::raw::RawBody;

/// The longest head of a reply.
const HEAD_MAX: usize = 32 * 1024;

/// The buffer of a connection; bodies pass through it in pieces.
const BUFFER_MAX: usize = 64 * 1024;

/// A connection to a participant.
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<Counted, Full<Bytes>>,
    written: Arc<AtomicU64>,
    /// The connection must not be polled any more.
    ended: bool,
    /// Bytes written before the present call.
    before: u64,
    pub(super) idle_since: Instant,
}

impl Link {
    pub(super) async fn new(stream: TcpStream, now: Instant) -> Result<Box<Self>, hyper::Error> {
        let written = Arc::<AtomicU64>::default();
        let io = Counted { io: TokioIo::new(stream), written: Arc::clone(&written) };
        let (sender, connection) =
            Builder::new().max_header_size(HEAD_MAX).max_buf_size(BUFFER_MAX).handshake(io).await?;
        Ok(Box::new(Self { sender, connection, written, ended: false, before: 0, idle_since: now }))
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
        self.written.load(Ordering::Relaxed) != self.before
    }

    /// Sends a request; gives the head of the reply.
    pub(super) async fn head(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        self.before = self.written.load(Ordering::Relaxed);
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

/// A socket that counts what it takes.
struct Counted {
    io: TokioIo<TcpStream>,
    written: Arc<AtomicU64>,
}

impl Counted {
    fn count(&self, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &taken {
            self.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        taken
    }
}

impl Read for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.io).poll_write(cx, buf);
        self.count(taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.count(taken)
    }
}
