//! A body that is either the service's or none at all, not even a head.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The reply is lost on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reply is lost on purpose")]
pub struct Cut;

/// The body of an answer that a fault may have touched.
///
/// A lost reply's body fails at once. A server writes the head when it has something to send with it; this one fails
/// before that, so the client sees the connection cut with no byte of an answer.
#[derive(Debug)]
pub enum Body<B> {
    /// The service's own.
    Inner(B),
    /// Another answer in its place.
    Own(Full<Bytes>),
    /// Nothing: the connection is cut.
    Lost,
}

impl<B> HttpBody for Body<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Inner(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Lost => Poll::Ready(Some(Err(Cut.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Inner(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
            Self::Lost => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Inner(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
            Self::Lost => SizeHint::default(),
        }
    }
}
