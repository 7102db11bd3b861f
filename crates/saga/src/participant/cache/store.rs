//! What is kept and for how long: state, time and bounds in, decision out.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Key;
use crate::participant::protocol::Meaning;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::participant) struct Bounds {
    /// Answers.
    pub(in crate::participant) entries: usize,
    /// Bytes of all answers together, as an estimate.
    pub(in crate::participant) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries: 4_096, bytes: 16 * 1024 * 1024 }
    }
}

/// What an answer costs beside its body.
const OVERHEAD: usize = 200;

#[derive(Debug)]
struct Kept {
    meaning: Meaning,
    until: Instant,
    weight: usize,
    /// Which place in the order is its own: one that was kept again stands there twice.
    stamp: u64,
}

/// Answers in the order in which they came.
#[derive(Debug)]
pub(super) struct Store {
    bounds: Bounds,
    kept: HashMap<Key, Kept>,
    order: VecDeque<(u64, Key)>,
    weight: usize,
    stamp: u64,
}

impl Store {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, kept: HashMap::new(), order: VecDeque::new(), weight: 0, stamp: 0 }
    }

    /// The answer, if it is there and still counts.
    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Meaning> {
        let kept = self.kept.get(key)?;
        if now < kept.until {
            return Some(kept.meaning.clone());
        }
        self.remove(key);
        None
    }

    /// Keeps a definite answer; another one says nothing about what is known.
    pub(super) fn put(&mut self, key: Key, meaning: &Meaning, ttl: Duration, now: Instant) {
        let Meaning::Done { body, fault: None, .. } = meaning else { return };
        let weight = OVERHEAD + weigh(body);
        // One answer must not displace all others.
        if ttl.is_zero() || weight > self.bounds.bytes / 8 {
            return;
        }
        self.remove(&key);
        self.stamp += 1;
        self.weight += weight;
        self.order.push_back((self.stamp, key));
        // A time beyond all clocks is none: such an answer goes when its place is needed.
        let until = now.checked_add(ttl).unwrap_or(now);
        self.kept.insert(key, Kept { meaning: meaning.clone(), until, weight, stamp: self.stamp });
        self.shrink(now);
    }

    /// The oldest go until the bounds hold, and those at the front whose time is up.
    fn shrink(&mut self, now: Instant) {
        while let Some((stamp, key)) = self.order.front().copied() {
            let own = self.kept.get(&key).filter(|kept| kept.stamp == stamp);
            let full = self.kept.len() > self.bounds.entries || self.weight > self.bounds.bytes;
            if own.is_some_and(|kept| now < kept.until) && !full {
                return;
            }
            if own.is_some() {
                self.remove(&key);
            }
            self.order.pop_front();
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.weight -= kept.weight;
        }
        // Places without an answer are at most as many as answers, so none of this grows without bounds.
        if self.order.len() > 2 * self.bounds.entries {
            let kept = &self.kept;
            self.order.retain(|(stamp, key)| kept.get(key).is_some_and(|kept| kept.stamp == *stamp));
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize, usize) {
        (self.kept.len(), self.weight, self.order.len())
    }
}

/// About the memory of a value.
fn weigh(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(weigh).sum(),
            Value::Object(members) => members.iter().map(|(name, value)| 48 + name.len() + weigh(value)).sum(),
        }
}
