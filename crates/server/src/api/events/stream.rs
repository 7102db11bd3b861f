//! A body that never waits to be complete: events, and a sign of life where there are none.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep};

/// Proxies end what is silent for half a minute, and a client that is gone is only noticed by writing.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client shall wait before it comes again, in milliseconds.
const COME_AGAIN: &str = "retry: 2000\n\n";

/// Where events are put; whoever puts waits until the client has taken the one before.
#[derive(Debug)]
pub(super) struct Frames(mpsc::Sender<Bytes>);

impl Frames {
    /// Sends an event; false where nobody listens any more.
    pub(super) async fn event(&self, name: &str, id: Option<i64>, data: &impl Serialize) -> bool {
        // JSON has no line breaks of its own, so one line of data holds it.
        let Ok(data) = serde_json::to_string(data) else { return false };
        let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
        self.0.send(Bytes::from(format!("event: {name}\n{id}data: {data}\n\n"))).await.is_ok()
    }
}

/// A stream that `tell` fills. It is polled by whoever writes the body, so it ends with its connection.
pub(super) fn response<F, R>(permit: OwnedSemaphorePermit, life: Duration, tell: F) -> Response
where
    F: FnOnce(Frames) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let (frames, told) = mpsc::channel(1);
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = Events {
        telling: Some(Box::pin(tell(Frames(frames)))),
        told,
        heartbeat,
        end: Box::pin(sleep(life)),
        greeting: Some(Bytes::from_static(COME_AGAIN.as_bytes())),
        _permit: permit,
    };
    let mut response = Response::new(Body::new(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx holds back what it has not been told to pass on.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Events {
    telling: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    told: mpsc::Receiver<Bytes>,
    heartbeat: Interval,
    end: Pin<Box<Sleep>>,
    greeting: Option<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        if let Some(greeting) = self.greeting.take() {
            return frame(greeting);
        }
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Some(telling) = &mut self.telling
            && telling.as_mut().poll(cx).is_ready()
        {
            self.telling = None;
        }
        match self.told.poll_recv(cx) {
            // The sender is part of what tells: all was told.
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(event)) => {
                self.heartbeat.reset();
                return frame(event);
            }
            Poll::Pending => {}
        }
        match self.heartbeat.poll_tick(cx) {
            Poll::Ready(_) => frame(Bytes::from_static(b": still here\n\n")),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_stream_holds_its_place_as_long_as_it_lasts() {
        let room = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&room).try_acquire_owned().unwrap();
        let long = Duration::from_mins(1);
        let response = response(permit, long, async |frames: Frames| {
            assert!(frames.event("change", Some(3), &serde_json::json!({ "a": "x\ny" })).await);
            assert!(frames.event("end", None, &1).await);
        });
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        assert_eq!(room.available_permits(), 0);
        let whole = response.into_body().collect().await.unwrap().to_bytes();
        let expected = "retry: 2000\n\nevent: change\nid: 3\ndata: {\"a\":\"x\\ny\"}\n\nevent: end\ndata: 1\n\n";
        assert_eq!(std::str::from_utf8(&whole).unwrap(), expected);
        assert_eq!(room.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_stream_ends_when_its_time_is_up() {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let response = response(permit, Duration::from_millis(20), |frames| async move {
            let _held = frames;
            std::future::pending::<()>().await;
        });
        let whole = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&whole[..], COME_AGAIN.as_bytes());
    }
}
