//! Where sagas stand that are not in this node's memory: one look-up for all who wait for one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steadfast_core::SagaId;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::core::Core;
use crate::Error;
use crate::machine::Status;

/// How often the journal is asked, while anybody waits.
const PAUSE: Duration = Duration::from_millis(25);

/// After it has not answered.
const PAUSE_AWAY: Duration = Duration::from_millis(250);

/// Sagas in one look-up.
const PAGE: usize = 1_000;

/// Who waits for which saga to come to rest.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    waiting: Mutex<Waiting>,
    count: AtomicUsize,
    work: Notify,
}

type Waiting = HashMap<SagaId, Vec<oneshot::Sender<Option<Status>>>>;

impl Lookups {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic of another holder leaves whole waiters behind.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, id: SagaId) -> oneshot::Receiver<Option<Status>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.entry(id).or_default().push(sender);
        self.count.store(waiting.len(), Ordering::Release);
        drop(waiting);
        self.work.notify_one();
        receiver
    }

    /// The saga has come to rest, or there is none.
    pub(super) fn tell(&self, id: SagaId, status: impl Into<Option<Status>>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let status = status.into();
        let mut waiting = self.waiting();
        for waiter in waiting.remove(&id).into_iter().flatten() {
            // Whoever no longer waits has gone away.
            waiter.send(status).ok();
        }
        self.count.store(waiting.len(), Ordering::Release);
    }

    /// For whom somebody still waits.
    fn wanted(&self) -> Vec<SagaId> {
        let mut waiting = self.waiting();
        waiting.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        self.count.store(waiting.len(), Ordering::Release);
        waiting.keys().copied().collect()
    }
}

/// Looks while anybody waits.
pub(super) async fn look_up(core: Arc<Core>) {
    loop {
        core.lookups.work.notified().await;
        loop {
            tokio::time::sleep(PAUSE).await;
            let wanted = core.lookups.wanted();
            if wanted.is_empty() {
                break;
            }
            for page in wanted.chunks(PAGE) {
                match core.journal.standings(page).await {
                    Ok(standings) => {
                        for (id, head) in page.iter().zip(standings) {
                            let status = head.map(|head| head.status);
                            if status.is_none_or(|status| status.is_settled() || status.is_parked()) {
                                core.lookups.tell(*id, status);
                            }
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "it could not be looked up where sagas stand");
                        tokio::time::sleep(PAUSE_AWAY).await;
                    }
                }
            }
        }
    }
}

impl Core {
    /// Waits for a saga that is in another node's memory, or in none.
    pub(super) async fn wait_elsewhere(&self, id: SagaId, until: Instant) -> Result<Option<Status>, Error> {
        let Some(row) = self.journal.find(id).await? else { return Ok(None) };
        let status = row.head.status;
        if status.is_settled() || status.is_parked() || Instant::now() >= until {
            return Ok(Some(status));
        }
        match tokio::time::timeout_at(until, self.lookups.register(id)).await {
            Ok(Ok(status)) => Ok(status),
            _ => Ok(self.journal.find(id).await?.map(|row| row.head.status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_wait_for_one_saga_are_told_and_who_has_gone_is_not_looked_for() {
        let lookups = Lookups::default();
        let saga = |key: &str| SagaId::derive("t", "t", key);
        let (mut first, mut second) = (lookups.register(saga("a")), lookups.register(saga("a")));
        drop(lookups.register(saga("b")));
        assert_eq!(lookups.wanted(), [saga("a")]);
        lookups.tell(saga("c"), Status::Completed);
        assert!(first.try_recv().is_err());
        lookups.tell(saga("a"), Status::Completed);
        assert_eq!(first.try_recv(), Ok(Some(Status::Completed)));
        assert_eq!(second.try_recv(), Ok(Some(Status::Completed)));
        assert!(lookups.wanted().is_empty());
        assert_eq!(lookups.count.load(Ordering::SeqCst), 0);
    }
}
