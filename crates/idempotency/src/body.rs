//! The body of a response: read to its end and kept, or, where it is too large or has no end, passed on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// The body of a response that has passed a layer of this crate.
#[derive(Debug)]
pub struct AnswerBody<B>(Kind<B>);

#[derive(Debug)]
enum Kind<B> {
    Whole(Option<Bytes>),
    /// What was read of it already, and what is still to come.
    Passed(Option<Bytes>, Pin<Box<B>>),
}

impl<B> AnswerBody<B> {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(crate) fn passed(body: B) -> Self {
        Self(Kind::Passed(None, Box::pin(body)))
    }
}

impl<B: Body> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.get_mut().0 {
            Kind::Whole(bytes) | Kind::Passed(bytes @ Some(_), _) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Kind::Passed(None, rest) => rest.as_mut().poll_frame(cx).map(|frame| {
                frame.map(|frame| frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Passed(bytes, rest) => bytes.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(length(bytes)),
            Kind::Passed(bytes, rest) => {
                let mut hint = rest.size_hint();
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper + length(bytes));
                }
                hint.set_lower(hint.lower() + length(bytes));
                hint
            }
        }
    }
}

/// A response's body, as far as it was read.
pub(crate) enum Read<B> {
    /// All of it. Trailers are dropped.
    Whole(Bytes),
    /// It is larger than the limit, or has no end.
    Endless(AnswerBody<B>),
    /// It broke off.
    Broken,
}

/// Reads up to `limit` bytes of a body; of a stream of events none.
pub(crate) async fn read<B: Body>(headers: &HeaderMap, body: B, limit: usize) -> Read<B> {
    let stream = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    let mut body = Box::pin(body);
    if stream {
        return Read::Endless(AnswerBody(Kind::Passed(None, body)));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Read::Broken };
        let Ok(mut data) = frame.into_data() else { continue };
        let chunk = data.copy_to_bytes(data.remaining());
        if read.is_empty() && chunk.len() <= limit && body.is_end_stream() {
            return Read::Whole(chunk);
        }
        read.extend_from_slice(&chunk);
        if read.len() > limit {
            return Read::Endless(AnswerBody(Kind::Passed(Some(read.freeze()), body)));
        }
    }
    Read::Whole(read.freeze())
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn chunks(chunks: &[&'static [u8]]) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + use<> {
        let frames: Vec<_> = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk)))).collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read_and_a_larger_one_is_passed_on_whole() {
        let none = HeaderMap::new();
        assert!(matches!(read(&none, chunks(&[b"ab", b"cd"]), 4).await, Read::Whole(bytes) if bytes == "abcd"));
        assert!(
            matches!(read(&none, Full::new(Bytes::from_static(b"abcd")), 4).await, Read::Whole(bytes) if bytes == "abcd")
        );
        assert!(matches!(read(&none, chunks(&[]), 4).await, Read::Whole(bytes) if bytes.is_empty()));
        let Read::Endless(body) = read(&none, chunks(&[b"ab", b"cd", b"ef"]), 3).await else { panic!("too large") };
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdef");
    }
}
