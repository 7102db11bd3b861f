//! What a connection runs on: a socket, or TLS over it, that counts what it takes and looks at how the other side begins.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connected stream.
#[derive(Debug)]
pub(super) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Within TLS.
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Hands a call on to whichever stream it is.
macro_rules! inner {
    ($stream:expr, $io:ident => $call:expr) => {
        match $stream {
            Stream::Plain($io) => $call,
            #[cfg(feature = "tls")]
            Stream::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        inner!(&mut *self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        inner!(&mut *self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(&mut *self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(&mut *self, io => Pin::new(io).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        inner!(self, io => io.is_write_vectored())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inner!(&mut *self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }
}

/// What is known of a connection beside its replies.
#[derive(Debug, Default)]
pub(super) struct Seen {
    written: AtomicU64,
    tongue: AtomicU8,
}

impl Seen {
    /// Bytes that the stream has taken. What waits in a TLS session counts as taken: whether it has left cannot be told.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// What the other side speaks, where its first bytes show that it is not HTTP/1.1.
    pub(super) fn foreign(&self) -> Option<&'static str> {
        match self.tongue.load(Ordering::Relaxed) {
            HTTP2 => Some("HTTP/2 only"),
            TLS => Some("TLS"),
            _ => None,
        }
    }
}

const HTTP2: u8 = 1;
const TLS: u8 = 2;

/// As many bytes as tell what a server speaks: the head of an HTTP/2 frame.
const OPENING: usize = 9;

/// How much is read at once as long as they are not there.
const FIRST_READ: usize = 512;

/// What the other side speaks, by its first bytes. A server of HTTP/2 begins with a SETTINGS frame (RFC 9113, section 3.4),
/// whatever it is sent, and one of TLS answers plain text with an alert (RFC 8446, section 6).
fn tongue(opening: &[u8]) -> u8 {
    match opening {
        [_, _, _, 4, 0, 0, 0, 0, 0, ..] => HTTP2,
        [0x15, 3, 0..=4, ..] => TLS,
        _ => 0,
    }
}

/// A stream with what is [`Seen`] of it.
pub(super) struct Counted {
    io: TokioIo<Stream>,
    seen: Arc<Seen>,
    opening: [u8; OPENING],
    opened: usize,
}

impl Counted {
    pub(super) fn new(stream: Stream, seen: Arc<Seen>) -> Self {
        Self { io: TokioIo::new(stream), seen, opening: [0; OPENING], opened: 0 }
    }

    fn count(&self, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &taken {
            self.seen.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        taken
    }

    /// Reads a little, and looks at it.
    fn poll_opening(&mut self, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; FIRST_READ];
        let room = buf.remaining().min(FIRST_READ);
        let mut read = ReadBuf::new(&mut piece[..room]);
        std::task::ready!(Pin::new(self.io.inner_mut()).poll_read(cx, &mut read))?;
        let came = read.filled();
        let more = came.len().min(OPENING - self.opened);
        self.opening[self.opened..self.opened + more].copy_from_slice(&came[..more]);
        self.opened += more;
        self.seen.tongue.store(tongue(&self.opening[..self.opened]), Ordering::Relaxed);
        buf.put_slice(came);
        Poll::Ready(Ok(()))
    }
}

impl Read for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.opened < OPENING {
            return self.poll_opening(cx, buf);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_a_reply_is_foreign() {
        for (opening, expected) in [
            (&[0, 0, 18, 4, 0, 0, 0, 0, 0][..], HTTP2),
            (&[0, 0, 0, 4, 0, 0, 0, 0, 0], HTTP2),
            (&[0, 0, 18, 4, 1, 0, 0, 0, 0], 0),
            (&[0, 0, 18, 4, 0, 0, 0, 0], 0),
            (&[0x15, 3, 3, 0, 2, 2, 50], TLS),
            (&[0x15, 3], 0),
            (&[0x16, 3, 1], 0),
            (b"HTTP/1.1 2", 0),
            (b"", 0),
        ] {
            assert_eq!(tongue(opening), expected, "{opening:?}");
        }
    }
}
