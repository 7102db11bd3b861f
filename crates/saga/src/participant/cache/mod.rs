//! Answers of reads, kept for a while: `cache: ttl` of a step with `compensate: none`.
//!
//! Kept is only what is definitely done, and only for the question as a whole: method, path, body, user, permission and the
//! step's `outcomes`. Those who ask the same at the same time wait for one answer; where it is no definite one, each asks for
//! itself. Bounded by entries and by bytes, and gone with the process: a cached answer is a saving, never a promise.

mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use self::store::Store;
use super::protocol::{Meaning, Outcome, Outcomes};

pub(super) use store::Bounds;

/// A question, by its digest: neither users nor bodies are kept.
type Key = [u8; 32];

/// What a read asks. All of it decides whether two are the same.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) body: &'a [u8],
    pub(super) user: &'a str,
    pub(super) scope: &'a str,
    pub(super) outcomes: &'a Outcomes,
}

impl Question<'_> {
    fn key(&self) -> Key {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        for text in [self.method, self.path, self.user, self.scope] {
            part(text.as_bytes());
        }
        part(self.body);
        for (uri, outcome) in &self.outcomes.types {
            part(uri.as_bytes());
            part(Outcome::as_str(*outcome).as_bytes());
        }
        for (status, outcome) in &self.outcomes.statuses {
            part(&status.to_be_bytes());
            part(Outcome::as_str(*outcome).as_bytes());
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        key
    }
}

/// Answers of one participant.
#[derive(Debug)]
pub(super) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    /// Questions on their way. Who asks holds the sender; its end wakes those who wait.
    asked: HashMap<Key, watch::Receiver<()>>,
}

/// What to do about a question.
enum Turn {
    Known(Meaning),
    Ask(watch::Sender<()>),
    Wait(watch::Receiver<()>),
}

/// Takes the question off the list, also where whoever asked is dropped.
struct Asking<'a> {
    cache: &'a Cache,
    key: Key,
    _waiting: watch::Sender<()>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.cache.lock().asked.remove(&self.key);
    }
}

impl Cache {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { inner: Mutex::new(Inner { store: Store::new(bounds), asked: HashMap::new() }) }
    }

    /// The answer that is known, that somebody waits for already, or that `ask` brings within the time that is left of
    /// `limit`; half of `limit` at most is spent on waiting for somebody else's.
    pub(super) async fn through<F, R>(
        &self,
        question: Question<'_>,
        ttl: Duration,
        limit: Duration,
        ask: F,
    ) -> (Meaning, Option<Duration>)
    where
        F: FnOnce(Duration) -> R,
        R: Future<Output = (Meaning, Option<Duration>)>,
    {
        let start = Instant::now();
        let key = question.key();
        let asking = match self.turn(key, start) {
            Turn::Known(meaning) => return (meaning, None),
            Turn::Ask(waiting) => Some(Asking { cache: self, key, _waiting: waiting }),
            Turn::Wait(mut end) => {
                // Nothing is ever sent: it ends with its sender. Late or not, what counts is what is known then.
                drop(timeout_at(start + limit / 2, end.changed()).await);
                if let Some(meaning) = self.lock().store.get(&key, Instant::now()) {
                    return (meaning, None);
                }
                None
            }
        };
        let (meaning, pause) = ask(limit.saturating_sub(start.elapsed())).await;
        self.lock().store.put(key, &meaning, ttl, Instant::now());
        drop(asking);
        (meaning, pause)
    }

    fn turn(&self, key: Key, now: Instant) -> Turn {
        let mut inner = self.lock();
        if let Some(meaning) = inner.store.get(&key, now) {
            return Turn::Known(meaning);
        }
        match inner.asked.entry(key) {
            Entry::Occupied(asked) => Turn::Wait(asked.get().clone()),
            Entry::Vacant(free) => {
                let (waiting, end) = watch::channel(());
                free.insert(end);
                Turn::Ask(waiting)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
