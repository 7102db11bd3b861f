//! The connections to one base URL.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request};
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};

use super::BODY_MAX;
use super::config::Base;
use super::connect::connect;
use super::link::Link;
use super::raw::{Raw, RawBody, Replied};
use super::request::Draft;

/// How long a connection may wait for its next call, unless its server says that it closes it earlier. Servers close theirs
/// after 5 s (Node) to 75 s (nginx); one that was closed is seen when it is taken.
const IDLE_MAX: Duration = Duration::from_secs(50);

/// A connection is left alone for so long before its server closes it: a call that crosses the close on the way is in doubt.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How long a base URL that could not be connected to is asked last.
const AWAY: Duration = Duration::from_secs(1);

/// What became of a request.
pub(super) enum Sent {
    /// It was sent, or never can be.
    Raw(Raw),
    /// No byte of it has left.
    Not(String),
}

/// The connections to one base URL. There are never more than the participant has calls in flight.
pub(super) struct Pool {
    base: Base,
    connect_timeout: Duration,
    most: usize,
    origin: Instant,
    /// The last one in is the first one out, so that as few as possible are kept alive.
    idle: Mutex<VecDeque<Box<Link>>>,
    /// Until when it is asked last, in milliseconds since `origin`.
    away_until: AtomicU64,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("base", &self.base).field("idle", &self.idle()).finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(base: Base, connect_timeout: Duration, most: usize) -> Self {
        let idle = Mutex::new(VecDeque::with_capacity(most.min(256)));
        Self { base, connect_timeout, most, origin: Instant::now(), idle, away_until: AtomicU64::new(0) }
    }

    pub(super) fn idle(&self) -> usize {
        self.idle_links().len()
    }

    pub(super) fn idle_links(&self) -> MutexGuard<'_, VecDeque<Box<Link>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it could not be connected to a moment ago.
    pub(super) fn is_away(&self, now: Instant) -> bool {
        let until = self.away_until.load(Ordering::Relaxed);
        until != 0 && millis(now.saturating_duration_since(self.origin)) < until
    }

    /// Sends on a connection that waits, or on a new one. On a new one again only what surely has not left.
    pub(super) async fn send(&self, draft: &Draft<'_>, deadline: Instant) -> Sent {
        let mut request = match draft.request(&self.base) {
            Ok(request) => request,
            Err(fault) => return Sent::Raw(Raw::unsendable(&fault)),
        };
        if let Some(link) = self.take().await {
            match self.exchange(link, draft, request, deadline).await {
                Sent::Raw(raw) => return Sent::Raw(raw),
                Sent::Not(reason) => tracing::debug!(reason, "a waiting connection had ended: a new one is made"),
            }
            request = match draft.request(&self.base) {
                Ok(request) => request,
                Err(fault) => return Sent::Raw(Raw::unsendable(&fault)),
            };
        }
        let stream = match connect(&self.base, self.connect_timeout, deadline).await {
            Ok(stream) => stream,
            Err(reason) => {
                self.away_until.store(millis(self.origin.elapsed() + AWAY), Ordering::Relaxed);
                return Sent::Not(reason);
            }
        };
        match Link::new(stream, Instant::now(), IDLE_MAX).await {
            Ok(link) => self.exchange(link, draft, request, deadline).await,
            Err(error) => Sent::Not(error.to_string()),
        }
    }

    async fn exchange(
        &self,
        mut link: Box<Link>,
        draft: &Draft<'_>,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Sent {
        if !(draft.outgoing.may_leave)() {
            self.put(link);
            let reason = "the right to send it ended while it waited for its turn".to_owned();
            return Sent::Raw(Raw::NotSent { reason, retry_after: None });
        }
        let reply = match timeout_at(deadline, link.head(request)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(reason)) => return unanswered(&link, reason),
            Err(_) => return unanswered(&link, "no reply in time".to_owned()),
        };
        let (parts, body) = reply.into_parts();
        let body = timeout_at(deadline, link.body(body, BODY_MAX)).await.unwrap_or(RawBody::Cut);
        let replied = Replied { status: parts.status, headers: parts.headers, body, trial: false };
        if let Some(lifetime) = replied.header(&KEEP_ALIVE).and_then(lifetime) {
            link.idle_max = IDLE_MAX.min(lifetime.saturating_sub(IDLE_MARGIN));
        }
        // Only after a whole reply is it known where the next one begins.
        if matches!(replied.body, RawBody::Whole(_)) && !link.idle_max.is_zero() && link.is_free().await {
            self.put(link);
        }
        Sent::Raw(Raw::Replied(replied))
    }

    async fn take(&self) -> Option<Box<Link>> {
        loop {
            let mut link = self.idle_links().pop_back()?;
            if link.idle_since.elapsed() < link.idle_max && link.is_free().await {
                return Some(link);
            }
        }
    }

    fn put(&self, mut link: Box<Link>) {
        let now = Instant::now();
        link.idle_since = now;
        let mut old = None;
        let mut idle = self.idle_links();
        idle.push_back(link);
        if idle.len() > self.most || idle.front().is_some_and(|front| now - front.idle_since >= front.idle_max) {
            old = idle.pop_front();
        }
        drop(idle);
        // Closing a socket is not done under the lock.
        drop(old);
    }
}

/// A call without a reply: sent or not is a matter of what the socket has taken.
fn unanswered(link: &Link, reason: String) -> Sent {
    if let Some(tongue) = link.foreign() {
        // Nothing that speaks this has read the request as one.
        return Sent::Raw(Raw::unsendable(&format!(
            "the participant speaks {tongue} at this address and calls are made in HTTP/1.1: correct `base_urls`"
        )));
    }
    if link.is_sent() { Sent::Raw(Raw::cut(reason)) } else { Sent::Not(reason) }
}

/// The `timeout` of a `Keep-Alive` header.
fn lifetime(header: &str) -> Option<Duration> {
    let seconds = header.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok()).flatten()
    })?;
    Some(Duration::from_secs(seconds))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
