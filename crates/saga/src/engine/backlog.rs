//! The queue of all nodes: starts above a node's bound are written into it, and any node with room claims from it. Here
//! is what this node knows of its length, and the task that claims.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steadfast_core::SagaId;
use tokio::sync::Notify;

use super::core::Core;
use super::pressure;
use super::running::Place;
use super::tenure::Tenure;
use crate::Error;
use crate::journal::Row;
use crate::machine::{Input, Status};

/// The most sagas that are claimed at once.
const CLAIM_MAX: usize = 500;

/// Between two ticks a node claims only once this share of its places is free: a query for each saga that ends would cost
/// more than it brings.
const SHARE: usize = 16;

/// Before a claim that failed is tried again, where nothing else happens.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Backlog {
    counts: Mutex<Counts>,
    work: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    /// As the journal said at the last tick, less what this node has claimed since.
    heard: usize,
    /// What this node has written into the queue since then.
    own: usize,
    /// What it is writing now.
    under_way: usize,
    /// All that it ever wrote.
    total: u64,
    /// Sagas may have come into the lane without an answer.
    unheard: bool,
    /// A tick has passed since the last claim: whatever is free is worth one.
    due: bool,
}

impl Backlog {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Numbers only: a panic of another holder leaves nothing half done that matters.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sagas wait, as far as is known; rather too many than too few.
    pub(super) fn depth(&self) -> usize {
        let counts = self.counts();
        counts.heard + counts.own + counts.under_way
    }

    /// One more start is being written into the queue, until this is dropped.
    pub(super) fn enter(&self) -> Entering<'_> {
        self.counts().under_way += 1;
        Entering(self)
    }

    /// A start stands in the queue.
    pub(super) fn enqueued(&self) {
        let mut counts = self.counts();
        counts.own += 1;
        counts.total += 1;
        drop(counts);
        self.work.notify_one();
    }

    /// To be taken before the journal is asked, and given back with what it said.
    pub(super) fn mark(&self) -> u64 {
        self.counts().total
    }

    /// `cut`: there may be more than were counted.
    pub(super) fn heard(&self, queued: u32, cut: bool, mark: u64) {
        let queued = queued as usize;
        let mut counts = self.counts();
        if !cut || counts.heard + counts.own < queued {
            counts.heard = queued;
            counts.own = usize::try_from(counts.total - mark).unwrap_or(usize::MAX);
        }
        counts.due |= queued > 0;
        let work = queued > 0 || counts.unheard;
        drop(counts);
        if work {
            self.work.notify_one();
        }
    }

    /// A saga has left memory.
    pub(super) fn room(&self) {
        let counts = self.counts();
        let waits = counts.heard + counts.own > 0;
        drop(counts);
        if waits {
            self.work.notify_one();
        }
    }

    fn claimed(&self, rows: usize, asked: usize) {
        let mut counts = self.counts();
        if rows < asked {
            // Nothing is left that nobody else is claiming.
            (counts.heard, counts.own) = (0, 0);
            return;
        }
        let own = rows.saturating_sub(counts.heard);
        counts.heard = counts.heard.saturating_sub(rows);
        counts.own = counts.own.saturating_sub(own);
    }

    /// A claim or an adoption got no answer.
    pub(super) fn set_unheard(&self) {
        self.counts().unheard = true;
        self.work.notify_one();
    }

    fn take_unheard(&self) -> bool {
        std::mem::take(&mut self.counts().unheard)
    }
}

/// A start on its way into the queue.
#[derive(Debug)]
pub(super) struct Entering<'a>(&'a Backlog);

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.under_way = counts.under_way.saturating_sub(1);
    }
}

/// Claims while there is room.
pub(super) async fn claim(core: Arc<Core>) {
    loop {
        core.backlog.work.notified().await;
        while let Some((home, room)) = core.room_for_claims() {
            match core.claim_some(&home, room).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "the queue cannot be claimed from at present");
                    tokio::time::sleep(PAUSE).await;
                    core.backlog.set_unheard();
                    break;
                }
            }
        }
    }
}

impl Core {
    /// How many sagas could be claimed now, where it is worth it.
    fn room_for_claims(&self) -> Option<(Arc<Tenure>, usize)> {
        let home = self.firm_home().filter(|home| home.is_recovered() && !self.is_draining())?;
        let places = self.config.in_flight - pressure::kept(self.config.in_flight);
        let free = places.saturating_sub(self.count());
        let mut counts = self.backlog.counts();
        let due = std::mem::take(&mut counts.due);
        let enough = if due { 1 } else { (self.config.in_flight / SHARE).max(1) };
        let worth = free >= enough && counts.heard + counts.own > 0;
        (worth || counts.unheard).then_some((home, free.min(CLAIM_MAX)))
    }

    /// Answers whether there may be more.
    async fn claim_some(self: &Arc<Self>, home: &Arc<Tenure>, room: usize) -> Result<bool, Error> {
        if self.backlog.take_unheard() {
            self.find_unheard(home).await?;
        }
        if room == 0 {
            return Ok(false);
        }
        let rows = self.journal.claim(home.owner, u32::try_from(room).unwrap_or(u32::MAX)).await?;
        self.backlog.claimed(rows.len(), room);
        self.admit_claimed(home, &rows).await;
        Ok(rows.len() == room)
    }

    async fn admit_claimed(self: &Arc<Self>, home: &Arc<Tenure>, rows: &[Row]) {
        for running in self.take_up_rows(home, rows).await {
            self.feed(&running, Input::Admit);
        }
    }

    /// Sagas that a claim or an act has brought into the lane while its answer was lost. They are pending, as nothing
    /// else in a lane is that is not in memory; no act goes on meanwhile that might bring one in.
    async fn find_unheard(self: &Arc<Self>, home: &Arc<Tenure>) -> Result<(), Error> {
        let _alone = self.acts.write().await;
        let mut after = 0;
        loop {
            // Before the page is read: what ends in between is still pending in the page. A start that is still on its way
            // into the queue may be one of those that were claimed.
            let all = self.all();
            let known = all.iter().filter(|running| running.lock().place != Place::Queued).map(|running| running.id);
            let known: HashSet<SagaId> = known.collect();
            let rows = self.journal.unsettled(home.owner.id, after, super::recovery::PAGE).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.no;
            let unheard = |row: &Row| row.head.status == Status::Pending && !known.contains(&row.id);
            let unheard: Vec<Row> = rows.into_iter().filter(unheard).collect();
            self.admit_claimed(home, &unheard).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_is_what_was_heard_and_what_this_node_has_done_since() {
        let backlog = Backlog::default();
        let mark = backlog.mark();
        let entering = backlog.enter();
        assert_eq!(backlog.depth(), 1, "on its way");
        backlog.enqueued();
        drop(entering);
        assert_eq!(backlog.depth(), 1);
        // The journal was asked before it stood, or after: rather too many.
        backlog.heard(4, false, mark);
        assert_eq!(backlog.depth(), 5);
        backlog.heard(5, false, backlog.mark());
        assert_eq!(backlog.depth(), 5);
        backlog.heard(3, true, backlog.mark());
        assert_eq!(backlog.depth(), 5, "three at least");
        backlog.heard(7, true, backlog.mark());
        assert_eq!(backlog.depth(), 7, "seven at least");
        backlog.heard(5, false, backlog.mark());
        backlog.enqueued();
        backlog.claimed(3, 3);
        assert_eq!(backlog.depth(), 3);
        backlog.claimed(3, 3);
        assert_eq!(backlog.depth(), 0);
        backlog.enqueued();
        backlog.claimed(0, 3);
        assert_eq!(backlog.depth(), 0, "less than was asked for: nothing is left");
    }
}
