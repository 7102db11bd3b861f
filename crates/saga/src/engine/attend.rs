//! The tick: one statement that renews the leases and hears what there is to do, and the tasks that do it. The tick itself
//! waits for nothing but its statement, so that no lease ends for want of a renewal.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::core::Core;
use crate::Error;
use crate::journal::{Attend, Attendance, Lane, Lapsed};

/// How often parked sagas are counted; the count takes a tick's place.
const COUNT: Duration = Duration::from_secs(15);

/// How often the leader tends the journal.
const TEND: Duration = Duration::from_hours(1);

/// Before it is tried again where it failed.
const TEND_AGAIN: Duration = Duration::from_mins(1);

/// How far the queue is counted at a tick that renews nothing: a whole count is dear where many sagas wait.
const GLANCE: u32 = 1_000;

/// Hints that follow each other are answered so much of a tick apart.
const GAP: u32 = 25;

/// What this engine is doing for the journal, so that it is done once at a time.
#[derive(Debug, Default)]
pub(super) struct Duties(Mutex<Doing>);

#[derive(Debug, Default)]
struct Doing {
    /// Lanes that are being taken over.
    taking: HashSet<i64>,
    /// Commands that were heard and are still listed; and how often their saga was not found here.
    commands: HashMap<i64, Heard>,
    /// Until when the journal has elected this node.
    leader_until: Option<Instant>,
    /// When the journal is to be tended next, by the leader.
    tend_at: Option<Instant>,
    /// Definitions are known up to here.
    definitions: Option<i64>,
    loading: bool,
}

/// A command that is listed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// It is being carried out, or was: at its end the journal lists it no more.
    pub(super) taken: bool,
    /// So often its saga was not found here.
    pub(super) misses: u32,
}

impl Duties {
    fn doing(&self) -> MutexGuard<'_, Doing> {
        // Each change is of one member: a panic of another holder leaves the others whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody else here is taking this lane over.
    pub(super) fn begin_taking(&self, lane: i64) -> bool {
        self.doing().taking.insert(lane)
    }

    pub(super) fn end_taking(&self, lane: i64) {
        self.doing().taking.remove(&lane);
    }

    /// Which of the listed commands are to be carried out now. Those that are listed no more are forgotten.
    fn take_commands(&self, listed: &[i64]) -> HashSet<i64> {
        let mut doing = self.doing();
        doing.commands.retain(|no, _| listed.contains(no));
        let fresh = listed.iter().filter(|no| !doing.commands.get(no).is_some_and(|heard| heard.taken));
        let fresh: HashSet<i64> = fresh.copied().collect();
        for no in &fresh {
            doing.commands.entry(*no).or_default().taken = true;
        }
        fresh
    }

    /// A command could not be carried out, or not be answered: it is taken again at the next tick. Answers how often its
    /// saga was not found.
    pub(super) fn put_back(&self, no: i64, missed: bool) -> u32 {
        let mut doing = self.doing();
        let heard = doing.commands.entry(no).or_default();
        heard.taken = false;
        heard.misses += u32::from(missed);
        heard.misses
    }

    pub(super) fn leads(&self) -> bool {
        self.doing().leader_until.is_some_and(|until| Instant::now() < until)
    }

    fn tend_is_due(&self, leads: bool) -> bool {
        let mut doing = self.doing();
        if !leads {
            doing.tend_at = None;
            return false;
        }
        let now = Instant::now();
        let due = doing.tend_at.is_none_or(|at| at <= now);
        if due {
            doing.tend_at = Some(now + TEND);
        }
        due
    }

    /// Whether there are definitions that this node has not loaded, and nobody is loading them.
    fn begin_loading(&self, heard: i64) -> bool {
        let mut doing = self.doing();
        let grown = doing.definitions.is_none_or(|known| known != heard) && !doing.loading;
        doing.loading |= grown;
        grown
    }

    fn end_loading(&self, heard: Option<i64>) {
        let mut doing = self.doing();
        doing.loading = false;
        doing.definitions = heard.or(doing.definitions);
    }
}

/// Ticks until the engine stops.
pub(super) async fn attend(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(core.config.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Half a tick early rather than half a tick late.
    let renew = core.config.renew.saturating_sub(core.config.tick / 2);
    let (mut renewed, mut counted, mut failing) = (None::<Instant>, Instant::now(), false);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if counted.elapsed() >= COUNT {
                    counted = Instant::now();
                    core.count_parked().await;
                    continue;
                }
            }
            () = core.journal.hinted() => tokio::time::sleep(core.config.tick / GAP).await,
        }
        let (now, renews) = (Instant::now(), renewed.is_none_or(|at| at.elapsed() >= renew));
        match core.attend_once(now, renews).await {
            Ok(()) => {
                if renews {
                    renewed = Some(now);
                }
                if std::mem::take(&mut failing) {
                    tracing::info!("the journal answers again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the journal does not answer: nothing is sent once the lease runs out");
                }
                // A tick's pause also where hints come one after the other.
                ticks.tick().await;
            }
        }
    }
}

impl Core {
    async fn attend_once(self: &Arc<Self>, now: Instant, renew: bool) -> Result<(), Error> {
        let lanes: Vec<Lane> = self.tenures.all().iter().map(|tenure| tenure.owner).collect();
        let queue = self.backlog.mark();
        let stand = self.election.is_none();
        let bound = u32::try_from(self.config.queue).unwrap_or(u32::MAX);
        let count = if renew { bound } else { bound.min(GLANCE) };
        let attend = Attend { hold: self.hold(), lanes: &lanes, renew, stand, count };
        // Early enough that a second question renews the lease where the first is lost on its way.
        let asked = tokio::time::timeout(self.config.lease / 3, self.journal.attend(attend));
        let heard = asked.await.map_err(|_| Error::from(sqlx::Error::PoolTimedOut))??;
        self.keep(&lanes, &heard.held, renew.then(|| now + self.config.lease));
        if stand {
            self.duties.doing().leader_until = heard.leader.then(|| now + self.config.lease);
        }
        self.backlog.heard(heard.queued, heard.queued == count && count < bound, queue);
        self.metrics.set_queued(self.backlog.depth());
        self.attend_to(heard);
        Ok(())
    }

    /// Leases are renewed; what is missing was taken over.
    fn keep(self: &Arc<Self>, asked: &[Lane], held: &[i64], until: Option<Instant>) {
        for owner in asked {
            if !held.contains(&owner.id) {
                tracing::warn!(lane = owner.id, epoch = owner.epoch, "a lane was taken over by another node");
                self.lose_lane(*owner);
            } else if let (Some(until), Some(tenure)) = (until, self.tenures.get(*owner)) {
                tenure.renew(until);
            }
        }
    }

    fn attend_to(self: &Arc<Self>, heard: Attendance) {
        let leads = self.leads();
        for lapsed in heard.lapsed.iter().filter(|lapsed| self.may_take(lapsed, leads)) {
            if self.duties.begin_taking(lapsed.lane.id) {
                self.spawn(super::takeover::take_over(Arc::clone(self), lapsed.lane));
            }
        }
        let listed: Vec<i64> = heard.commands.iter().map(|command| command.no).collect();
        let fresh = self.duties.take_commands(&listed);
        for command in heard.commands.into_iter().filter(|command| fresh.contains(&command.no)) {
            self.spawn(super::command::carry_out(Arc::clone(self), command));
        }
        if self.duties.tend_is_due(leads) {
            self.spawn(tend(Arc::clone(self)));
        }
        if self.duties.begin_loading(heard.definitions) {
            self.spawn(load(Arc::clone(self), heard.definitions));
        }
    }

    /// What was given up may be taken by anybody at once; what has lapsed by the leader, and a lease later by anybody, so
    /// that nothing hangs where nobody leads.
    fn may_take(&self, lapsed: &Lapsed, leads: bool) -> bool {
        lapsed.released || leads || lapsed.since >= self.config.lease
    }

    pub(super) fn leads(&self) -> bool {
        self.election.as_ref().map_or_else(|| self.duties.leads(), |election| election.is_leader())
    }

    /// Until the engine stops.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(work));
    }

    async fn count_parked(&self) {
        match self.journal.count_parked().await {
            Ok(parked) => self.metrics.set_parked(parked),
            Err(error) => tracing::debug!(%error, "parked sagas could not be counted"),
        }
    }
}

async fn tend(core: Arc<Core>) {
    if let Err(error) = core.journal.tend(core.clock.now()).await {
        tracing::warn!(%error, "the journal could not be tended: it is tried again in a minute");
        core.duties.doing().tend_at = Some(Instant::now() + TEND_AGAIN);
    }
}

async fn load(core: Arc<Core>, heard: i64) {
    let loaded = core.registry.load(&*core.journal, &core.participants).await;
    if let Err(error) = &loaded {
        tracing::warn!(%error, "definitions could not be read: it is tried again at the next tick");
    }
    core.duties.end_loading(loaded.is_ok().then_some(heard));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_command_is_taken_once_until_it_is_put_back() {
        let duties = Duties::default();
        assert_eq!(duties.take_commands(&[1, 2]), HashSet::from([1, 2]));
        assert!(duties.take_commands(&[1, 2]).is_empty(), "they are being carried out");
        assert_eq!(duties.put_back(2, true), 1);
        assert_eq!(duties.take_commands(&[2]), HashSet::from([2]));
        assert_eq!(duties.put_back(2, true), 2);
        assert!(duties.take_commands(&[]).is_empty());
        assert_eq!(duties.take_commands(&[1]), HashSet::from([1]), "it was forgotten in between");
    }

    #[test]
    fn whoever_becomes_leader_tends_at_once_and_then_each_hour() {
        let duties = Duties::default();
        assert!(!duties.tend_is_due(false));
        assert!(duties.tend_is_due(true));
        assert!(!duties.tend_is_due(true));
        assert!(!duties.tend_is_due(false));
        assert!(duties.tend_is_due(true), "it has come back");
    }

    #[test]
    fn definitions_are_loaded_again_until_it_has_gone_well() {
        let duties = Duties::default();
        assert!(duties.begin_loading(7));
        assert!(!duties.begin_loading(7), "somebody is at it");
        duties.end_loading(None);
        assert!(duties.begin_loading(7));
        duties.end_loading(Some(7));
        assert!(!duties.begin_loading(7));
        assert!(duties.begin_loading(8));
    }
}
