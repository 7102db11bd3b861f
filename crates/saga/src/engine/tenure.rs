//! A lane for as long as it is ours: the right to write it, the task that does, and whether anything may be sent for its
//! sagas at present.
//!
//! The lease is counted in local monotonic time, from before the renewal was asked for: it ends here before it can end in
//! the journal. A process that was stopped and woken finds it over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::lane::Lane;
use crate::journal;

/// A lane that this engine holds, or held.
#[derive(Debug)]
pub(super) struct Tenure {
    pub(super) owner: journal::Lane,
    pub(super) lane: Lane,
    /// How much of the lease must be left for a call to be sent.
    margin: Duration,
    footing: watch::Sender<Footing>,
    /// In memory.
    sagas: AtomicUsize,
    /// All that was unsettled in it was looked at.
    recovered: AtomicBool,
}

/// What a call stands on.
#[derive(Clone, Copy, Debug)]
struct Footing {
    /// When the lease ends.
    until: Instant,
    /// The journal cannot be written at present.
    away: bool,
    /// The lane is another's, or was given up.
    lost: bool,
}

/// Whether a call may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// It may.
    Firm,
    /// Not at present: the journal is away.
    Away,
    /// Not at present: the lease was not renewed.
    Late,
    /// Never again.
    Lost,
}

impl Tenure {
    pub(super) fn new(owner: journal::Lane, lane: Lane, until: Instant, margin: Duration) -> Self {
        Self {
            owner,
            lane,
            margin,
            footing: watch::Sender::new(Footing { until, away: false, lost: false }),
            sagas: AtomicUsize::new(0),
            recovered: AtomicBool::new(false),
        }
    }

    pub(super) fn ground(&self) -> Ground {
        self.stands(*self.footing.borrow())
    }

    fn stands(&self, footing: Footing) -> Ground {
        match footing {
            Footing { lost: true, .. } => Ground::Lost,
            Footing { away: true, .. } => Ground::Away,
            Footing { until, .. } if Instant::now() + self.margin >= until => Ground::Late,
            _ => Ground::Firm,
        }
    }

    /// Waits until a call may be sent; `false` where none ever may.
    pub(super) async fn firm(&self) -> bool {
        match self.ground() {
            Ground::Firm => return true,
            Ground::Lost => return false,
            Ground::Away | Ground::Late => {}
        }
        let mut footing = self.footing.subscribe();
        loop {
            let now = *footing.borrow_and_update();
            match self.stands(now) {
                Ground::Firm => return true,
                Ground::Lost => return false,
                // The sender lives as long as this tenure.
                Ground::Away | Ground::Late => drop(footing.changed().await),
            }
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.footing.borrow().lost
    }

    /// Whether the lease still runs, by the clock here, which ends it before the journal's does.
    pub(super) fn has_lease(&self) -> bool {
        self.footing.borrow().until > Instant::now()
    }

    pub(super) fn renew(&self, until: Instant) {
        self.footing.send_modify(|footing| footing.until = footing.until.max(until));
    }

    pub(super) fn set_away(&self, away: bool) {
        self.footing.send_modify(|footing| footing.away = away);
    }

    pub(super) fn lose(&self) {
        self.footing.send_modify(|footing| footing.lost = true);
    }

    /// A saga of this lane comes into memory.
    pub(super) fn enter(&self) {
        self.sagas.fetch_add(1, Ordering::AcqRel);
    }

    /// A saga of this lane leaves memory; answers whether it was the last one.
    pub(super) fn leave(&self) -> bool {
        self.sagas.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sagas.load(Ordering::Acquire) == 0
    }

    pub(super) fn set_recovered(&self) {
        self.recovered.store(true, Ordering::Release);
    }

    pub(super) fn is_recovered(&self) -> bool {
        self.recovered.load(Ordering::Acquire)
    }
}

/// All lanes that this engine holds. Starts and claims go to the home; the others were taken over and are given up once
/// they hold nothing unsettled.
#[derive(Debug, Default)]
pub(super) struct Tenures(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    home: Option<i64>,
    by_id: BTreeMap<i64, Arc<Tenure>>,
}

impl Tenures {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Each change is one insertion or removal: a panic of another holder leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn home(&self) -> Option<Arc<Tenure>> {
        let held = self.held();
        held.home.and_then(|id| held.by_id.get(&id)).cloned()
    }

    pub(super) fn get(&self, owner: journal::Lane) -> Option<Arc<Tenure>> {
        self.held().by_id.get(&owner.id).filter(|tenure| tenure.owner == owner).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Tenure>> {
        self.held().by_id.values().cloned().collect()
    }

    /// Those that were taken over.
    pub(super) fn guests(&self) -> Vec<Arc<Tenure>> {
        let held = self.held();
        held.by_id.values().filter(|tenure| Some(tenure.owner.id) != held.home).cloned().collect()
    }

    /// Answers the former tenure of the same lane, which is over.
    pub(super) fn insert(&self, tenure: Arc<Tenure>) -> Option<Arc<Tenure>> {
        self.held().by_id.insert(tenure.owner.id, tenure)
    }

    /// From here on starts and claims go to this lane; `false` where it is lost already.
    pub(super) fn settle_in(&self, owner: journal::Lane) -> bool {
        let mut held = self.held();
        let ours = held.by_id.get(&owner.id).is_some_and(|tenure| tenure.owner == owner);
        if ours {
            held.home = Some(owner.id);
        }
        ours
    }

    /// Answers the tenure and whether it was the home, to the first who asks.
    pub(super) fn remove(&self, owner: journal::Lane) -> Option<(Arc<Tenure>, bool)> {
        let mut held = self.held();
        if held.by_id.get(&owner.id)?.owner != owner {
            return None;
        }
        let tenure = held.by_id.remove(&owner.id)?;
        let home = held.home == Some(owner.id);
        if home {
            held.home = None;
        }
        Some((tenure, home))
    }
}
