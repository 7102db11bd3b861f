//! What a lane says, and what becomes of the sagas when a lane is lost.

use std::sync::Arc;
use std::time::Duration;

use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, ErrorKind, SagaId};
use tokio::time::Instant;

use super::core::Core;
use super::lane::{Committed, Lane, Listener};
use super::recovery::Patience;
use super::running::Place;
use super::tenure::Tenure;
use crate::Error;
use crate::journal::{self, Appended, Hold};
use crate::machine::Input;

/// The pauses while no lane can be had.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };

/// A lane speaks to the engine through this.
#[derive(Debug)]
struct Ear {
    core: Arc<Core>,
    owner: journal::Lane,
}

impl Listener for Ear {
    fn committed(&self, commits: &[Committed]) {
        for commit in commits {
            // It may be another lane's by now, under which it goes on here.
            let running = self.core.running(commit.id).filter(|running| running.tenure.owner == self.owner);
            let Some(running) = running else { continue };
            let (starting, entries, stays, claimed) = {
                let mut inner = running.lock();
                let entries = inner.saga.committed() + commit.entries;
                self.core.tell(&running, &mut inner, entries, commit.seq);
                let stays = match commit.outcome {
                    Appended::Known | Appended::Elsewhere => false,
                    Appended::Started(_) => inner.place != Place::Queued,
                    Appended::Written => true,
                };
                let claimed = inner.place == Place::Claimed;
                // Under the lock, so that a claim finds it kept or gone.
                match (stays, claimed) {
                    (true, true) => inner.place = Place::Here,
                    (true, false) => {}
                    (false, _) => inner.place = Place::Withdrawn,
                }
                (std::mem::take(&mut inner.starting), entries, stays, claimed)
            };
            if !stays {
                self.core.withdraw(&running);
                if matches!(commit.outcome, Appended::Started(_)) {
                    self.core.backlog.enqueued();
                } else if claimed {
                    // What was claimed is another start of the same saga.
                    self.core.backlog.set_unheard();
                }
            }
            for waiter in starting {
                // Whoever no longer waits has gone away.
                waiter.send(commit.outcome).ok();
            }
            if stays {
                self.core.feed(&running, Input::Committed { entries });
            }
        }
    }

    fn fenced(&self, error: &Error) {
        tracing::warn!(%error, lane = self.owner.id, "a lane is lost");
        self.core.lose_lane(self.owner);
    }

    fn failing(&self, error: &Error) {
        tracing::warn!(%error, "the journal cannot be written: nothing is accepted or sent until it can");
        if let Some(tenure) = self.core.tenures.get(self.owner) {
            tenure.set_away(true);
        }
    }

    fn recovered(&self) {
        tracing::info!("the journal can be written again");
        if let Some(tenure) = self.core.tenures.get(self.owner) {
            tenure.set_away(false);
        }
    }

    fn stuck(&self, id: SagaId, error: &Error) {
        tracing::error!(saga.id = %id, %error, "the saga's entries cannot be written: it rests until it is taken up again");
        if let Some(running) = self.core.running(id).filter(|running| running.tenure.owner == self.owner) {
            self.core.withdraw(&running);
        }
    }
}

impl Core {
    /// As whom this engine asks the journal for something.
    pub(super) fn hold(&self) -> Hold<'_> {
        Hold { node: &self.config.node, lease: self.config.lease, now: self.clock.now() }
    }

    /// Starts writing a lane that is ours. `asked`: before it was asked for, which is when its lease began.
    pub(super) fn enter(self: &Arc<Self>, owner: journal::Lane, asked: Instant) -> Arc<Tenure> {
        let ear = Arc::new(Ear { core: Arc::clone(self), owner });
        let (journal, clock) = (Arc::clone(&self.journal), Arc::clone(&self.clock));
        let lane = Lane::open(journal, owner, clock, self.config.lane, ear, self.metrics.clone());
        let tenure = Arc::new(Tenure::new(owner, lane, asked + self.config.lease, self.config.margin()));
        if let Some(former) = self.tenures.insert(Arc::clone(&tenure)) {
            self.end_tenure(&former);
        }
        if *self.lost.borrow() {
            self.lose_lane(owner);
        }
        tenure
    }

    /// The lane is another's: nothing more is written to it, and its sagas go on there. Where it was the home, another
    /// lane is taken.
    pub(super) fn lose_lane(self: &Arc<Self>, owner: journal::Lane) {
        let Some((tenure, home)) = self.tenures.remove(owner) else { return };
        let forced = tenure.has_lease();
        self.end_tenure(&tenure);
        if !home || *self.lost.borrow() {
            return;
        }
        if forced && !self.journal.is_shared() {
            // Another process has opened a journal that only one may open. Taking the lane back would take it from that
            // one, and so on for ever.
            tracing::error!(lane = owner.id, "the lane was taken although its lease ran: this engine stops");
            self.lose();
        } else {
            self.regain(owner);
        }
    }

    pub(super) fn regain(self: &Arc<Self>, lost: journal::Lane) {
        self.spawn(regain(Arc::clone(self), lost));
    }

    fn end_tenure(&self, tenure: &Arc<Tenure>) {
        tenure.lose();
        tenure.lane.abort();
        for running in self.all().iter().filter(|running| Arc::ptr_eq(&running.tenure, tenure)) {
            self.withdraw(running);
        }
    }

    /// Nothing will be written any more: whoever waits is told so.
    pub(super) fn lose(self: &Arc<Self>) {
        self.lost.send_replace(true);
        for tenure in self.tenures.all() {
            self.lose_lane(tenure.owner);
        }
    }
}

/// Takes a new lane in the place of the one that was lost.
async fn regain(core: Arc<Core>, lost: journal::Lane) {
    let mut failures = 0;
    loop {
        let asked = Instant::now();
        match core.journal.take_lane(core.hold()).await {
            Ok(owner) => {
                let (id, epoch) = (owner.id, owner.epoch);
                tracing::info!(lane = id, epoch, lost = lost.id, "a new lane in the place of a lost one");
                if core.move_in(owner, asked, Patience::Endless).await.is_ok_and(|settled| settled) {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Transient => {
                tracing::debug!(%error, "no lane can be had at present");
            }
            Err(error) => {
                tracing::error!(%error, "no lane can be had any more: this engine stops");
                core.lose();
                return;
            }
        }
        failures += 1;
        tokio::time::sleep(BACKOFF.pause(failures, fastrand::u64(..))).await;
    }
}

impl Core {
    /// Makes a lane that was taken the home, once all that may be unsettled in it is taken up; `false` where it was lost
    /// meanwhile.
    pub(super) async fn move_in(
        self: &Arc<Self>,
        owner: journal::Lane,
        asked: Instant,
        patience: Patience,
    ) -> Result<bool, Error> {
        let tenure = self.enter(owner, asked);
        self.recover(&tenure, patience).await?;
        let settled = self.tenures.settle_in(owner);
        tenure.set_recovered();
        Ok(settled)
    }
}
