//! Memory: for tests, and for a process whose retries do not outlive it. A restart forgets every record.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use steadfast_core::Clock;

use super::{Cleaned, Store};
use crate::Error;
use crate::decision::{self, Change, Claim, Decision, Report, Reported, Resolution, Resolved};
use crate::record::{Owner, Record, RecordId};

/// Records are spread over this many locks.
const SHARDS: usize = 64;

type Shard = HashMap<RecordId, Record>;

/// A store in memory.
pub struct Memory {
    clock: Arc<dyn Clock>,
    shards: Box<[Mutex<Shard>]>,
    /// The shard that the next call of `clean` looks at.
    next: AtomicUsize,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// An empty store whose ages `clock` reckons.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { clock, shards, next: AtomicUsize::new(0) }
    }

    fn shard(&self, id: RecordId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(id.as_bytes()[0]) % SHARDS])
    }

    /// One atomic step: reads, decides, writes what was decided.
    fn step<T>(&self, id: RecordId, decide: impl FnOnce(Option<&Record>) -> (T, Option<Change>)) -> T {
        let mut shard = self.shard(id);
        let (outcome, change) = decide(shard.get(&id));
        if let Some(change) = change {
            write(&mut shard, id, change);
        }
        outcome
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A record is replaced as a whole, so a panic elsewhere cannot have left half of one.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &mut Shard, id: RecordId, change: Change) {
    let mut slot = shard.remove(&id);
    // The lock is held since the record was read, so the compare cannot fail here; it is made all the same.
    change.apply(&mut slot);
    if let Some(record) = slot {
        shard.insert(id, record);
    }
}

#[async_trait]
impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn answers(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn claim(&self, claim: &Claim) -> Result<Decision, Error> {
        let now = self.clock.now();
        Ok(self.step(claim.id, |seen| decision::claim(seen, claim, now)))
    }

    async fn report(&self, id: RecordId, owner: Owner, report: Report, ttl: Duration) -> Result<Reported, Error> {
        let now = self.clock.now();
        Ok(self.step(id, |seen| decision::report(seen, owner, &report, ttl, now)))
    }

    async fn show(&self, id: RecordId) -> Result<Option<Record>, Error> {
        let now = self.clock.now();
        Ok(self.shard(id).get(&id).filter(|record| !record.is_expired(now)).cloned())
    }

    async fn unresolved(&self, after: Option<RecordId>, limit: u32) -> Result<Vec<(RecordId, Record)>, Error> {
        let now = self.clock.now();
        let mut found = Vec::new();
        for shard in &self.shards {
            let open = |(id, record): &(&RecordId, &Record)| {
                after.is_none_or(|after| **id > after) && record.is_unresolved(now) && !record.is_expired(now)
            };
            found.extend(lock(shard).iter().filter(open).map(|(id, record)| (*id, record.clone())));
        }
        found.sort_unstable_by_key(|(id, _)| *id);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn resolve(
        &self,
        id: RecordId,
        expected: Owner,
        resolution: Resolution,
        ttl: Duration,
    ) -> Result<Resolved, Error> {
        let (now, token) = (self.clock.now(), Owner::draw()?);
        Ok(self.step(id, |seen| decision::resolve(seen, expected, &resolution, token, ttl, now)))
    }

    async fn forget_answers(&self, subject: &str, login: &str) -> Result<u64, Error> {
        let mut count = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            let of_login = |record: &Record| &*record.subject == subject && record.login.as_deref() == Some(login);
            let changes: Vec<(RecordId, Change)> = shard
                .iter()
                .filter(|(_, record)| of_login(record))
                .filter_map(|(id, record)| Some((*id, decision::forget(record)?)))
                .collect();
            count += changes.len() as u64;
            for (id, change) in changes {
                write(&mut shard, id, change);
            }
        }
        Ok(count)
    }

    /// Looks at whole shards until `limit` records have been seen.
    async fn clean(&self, limit: u32) -> Result<Cleaned, Error> {
        let now = self.clock.now();
        let mut cleaned = Cleaned::default();
        let mut looked = 0;
        while looked < u64::from(limit.max(1)) && !cleaned.ended {
            let at = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let mut shard = lock(&self.shards[at]);
            let before = shard.len() as u64;
            shard.retain(|_, record| !record.is_expired(now));
            looked += before;
            cleaned.removed += before - shard.len() as u64;
            cleaned.ended = at == SHARDS - 1;
        }
        Ok(cleaned)
    }
}
