//! The engine: the machine's shell. Accepts sagas, calls participants, writes the journal, keeps the timers.
//!
//! | part | does |
//! |---|---|
//! | `admission` | permission, schema, bounds; answers once the start is durable |
//! | `pressure` | how long one more saga would wait |
//! | `core` | one input at a time for each saga; entries to the lane, calls to `dispatch` |
//! | `lane` | group commit: one commit for all sagas that somebody waits for |
//! | `tenure`, `ear` | the lanes that are ours, their leases, and what becomes of the sagas when one is lost |
//! | `dispatch` | renders, calls, and reads what the reply means |
//! | `timers` | fires what `wake_at` says |
//! | `attend` | the tick: renews the leases, hears what there is to do |
//! | `takeover`, `recovery` | takes up what another node, or a crash, left unsettled |
//! | `backlog` | the queue: starts above the bound, claimed by any node with room |
//! | `command` | acts on sagas of other nodes |
//! | `standing` | waits for sagas of other nodes |
//! | `election` | who of the nodes goes first |
//! | `operate`, `view`, `watch` | what operators do and see |
//! | `horizon` | up to when participants may prune their barriers |
//!
//! Critical path of a saga: the start's commit, its calls, the commit point's commit, the end's commit. Nothing is read.
//! An idle engine asks the journal two things a second.
//!
//! | failure | what holds |
//! |---|---|
//! | kill -9 at any point | every saga whose start was answered is taken up and ends |
//! | the journal is away | nothing is accepted or sent; results are held; it goes on by itself |
//! | the process is stopped longer than its lease, and woken | it writes nothing more to the lane that it had, and goes on with another |
//! | its lane is taken though its lease ran | another process has opened a journal that only one may open: this engine stops |
//! | nobody leads | lapsed lanes are taken over a lease later |
//! | a saga that cannot be read | rests alone; the others are taken up |
//! | the key of its sensitive input is gone or its input was changed | the same |

mod admission;
mod attend;
mod backlog;
mod command;
mod config;
mod core;
mod definitions;
mod dispatch;
mod ear;
mod election;
mod horizon;
mod lane;
mod operate;
mod pressure;
mod recovery;
mod registry;
mod running;
mod sealed;
mod standing;
mod takeover;
mod tenure;
mod timers;
mod trace;
mod view;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use steadfast_core::sealing::Keyring;
use steadfast_core::{Clock, SagaId, Timestamp};
use tokio::sync::broadcast;
use tokio::time::Instant;

use self::core::Core;
use self::recovery::Patience;
use self::registry::Registry;
use self::tenure::Ground;
use crate::Error;
use crate::journal::{self, Filter, Journal};
use crate::machine::Status;
use crate::metrics::Metrics;
use crate::participant::client::Participants;

pub use admission::{Accepted, StartRequest};
pub use config::{AsAtStart, Config, Permissions};
pub use definitions::{DefinitionSummary, DefinitionView};
pub use election::Election;
#[cfg(feature = "etcd")]
pub use election::{Etcd, EtcdConfig};
pub use lane::Bounds;
pub use operate::{Operated, Operation};
pub use registry::Uploaded;
pub use view::{AuditLine, ContextView, EncryptedField, Left, StepState, Summary, View};
pub use watch::Change;

/// How long a drain waits for the last commits and for the lanes to be given up, beyond its time for calls in flight.
const HAND_OVER: Duration = Duration::from_secs(1);

/// What an engine stands on.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Where sagas are kept.
    pub journal: Arc<dyn Journal>,
    /// Whom it may call.
    pub participants: Arc<Participants>,
    /// Who says what a user may do now.
    pub permissions: Arc<dyn Permissions>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the keys of sensitive input are sealed with. A key must stay in the ring as long as a saga needs it.
    pub keyring: Arc<Keyring>,
    /// Who says which of the nodes goes first; where `None`, the journal elects.
    pub election: Option<Arc<dyn Election>>,
}

/// A running engine. Cheap to clone. Dropped without [`drain`](Self::drain) it stops as a crash would stop it: whoever
/// opens the same journal takes everything up.
#[derive(Clone, Debug)]
pub struct Engine {
    core: Arc<Core>,
}

impl Engine {
    /// Takes a lane of its own with everything unsettled in it, and starts working.
    pub async fn open(config: Config, ports: Ports) -> Result<Self, Error> {
        let asked = Instant::now();
        let registry = Registry::default();
        registry.load(&*ports.journal, &ports.participants).await?;
        let metrics = Metrics::new();
        metrics.set_parked(ports.journal.count_parked().await?);
        let core = Arc::new(Core::new(config, ports, registry, metrics));
        let owner = core.journal.take_lane(core.hold()).await?;
        core.spawn(attend::attend(Arc::clone(&core)));
        let engine = Self { core: Arc::clone(&core) };
        match core.move_in(owner, asked, Patience::None).await {
            Ok(true) => {}
            Ok(false) => core.regain(owner),
            Err(error) => {
                engine.abort();
                return Err(error);
            }
        }
        core.spawn(fire(Arc::clone(&core)));
        core.spawn(sweep(Arc::clone(&core)));
        core.spawn(backlog::claim(Arc::clone(&core)));
        core.spawn(takeover::retire(Arc::clone(&core)));
        core.spawn(standing::look_up(Arc::clone(&core)));
        Ok(engine)
    }

    /// Checks a definition and keeps it. `schemas`: the files that it names, by name. The same version with the same
    /// content is fine; with other content it is refused.
    pub async fn upload(&self, text: &str, schemas: BTreeMap<String, Value>, by: &str) -> Result<Uploaded, Error> {
        let core = &self.core;
        core.registry.upload(&*core.journal, &core.participants, text, &schemas, by, core.clock.now()).await
    }

    /// Accepts a saga. Once this answers, its start is durable: the saga will be settled or parked, whatever crashes. A
    /// repeat with the same key and input is the same saga.
    ///
    /// # Errors
    /// [`Error::Problem`] with what the caller did wrong, or 429 and 503 where there is no room or no journal.
    pub async fn start(&self, request: StartRequest) -> Result<Accepted, Error> {
        self.core.start(request).await
    }

    /// Where the saga stands once it is settled or parked, or after `limit`; `None` where there is no such saga.
    pub async fn wait(&self, id: SagaId, limit: Duration) -> Result<Option<Status>, Error> {
        self.core.wait(id, limit).await
    }

    /// A page of sagas, newest first.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Error> {
        self.core.list(filter).await
    }

    /// One saga with its steps and its history.
    pub async fn show(&self, id: SagaId) -> Result<Option<View>, Error> {
        self.core.show(id).await
    }

    /// An operator's act; answers once it is durable.
    pub async fn operate(&self, id: SagaId, operation: Operation, by: &str, reason: &str) -> Result<Operated, Error> {
        self.core.operate(id, operation, by, reason).await
    }

    /// Erases the key of a saga's sensitive input: what it sealed can never be read again, here or in any copy of the
    /// journal that was made without the key. Answers whether there was a key. A repeat is safe. A parked saga can then only
    /// be shown: no operator's act takes it up any more.
    ///
    /// # Errors
    /// [`Error::Problem`]: 404 where there is no such saga, 409 while it is executing, 503 where the log could not be emptied
    /// of the key at present.
    pub async fn shred(&self, id: SagaId) -> Result<bool, Error> {
        self.core.shred(id).await
    }

    /// The pruning horizon, up to which participants may [`prune`](crate::barrier::prune) their barriers: the start of the oldest
    /// saga that is executing or waits for an operator, at whatever node, and at most an hour ago, since a start may be on
    /// its way to the journal.
    ///
    /// # Errors
    /// The journal's, where it cannot be read.
    pub async fn horizon(&self) -> Result<Timestamp, Error> {
        // The time first: what is begun after it does not lie behind it.
        let now = self.core.clock.now();
        Ok(horizon::behind(self.core.journal.oldest_start().await?, now))
    }

    /// Sagas in memory: executing or on their way to rest.
    pub fn in_flight(&self) -> usize {
        self.core.count()
    }

    /// Why nothing is accepted at present; `Ok` where it is.
    pub fn ready(&self) -> Result<(), &'static str> {
        let core = &self.core;
        if *core.lost.borrow() {
            return Err("the lane is owned by another process");
        }
        if core.is_draining() {
            return Err("draining");
        }
        match core.tenures.home().map(|home| home.ground()) {
            Some(Ground::Firm) => Ok(()),
            Some(Ground::Away) => Err("the journal cannot be written"),
            Some(Ground::Late) => Err("the lease could not be renewed"),
            Some(Ground::Lost) | None => Err("a new lane is being taken"),
        }
    }

    /// Completes when the engine can have no lane any more: the process should end.
    pub async fn lost(&self) {
        let mut lost = self.core.lost.subscribe();
        // The sender lives as long as this engine.
        drop(lost.wait_for(|lost| *lost).await);
    }

    /// Whether this node leads at present: it is the first to take over what others left, and tends the journal.
    pub fn leader(&self) -> bool {
        self.core.leads()
    }

    /// The lanes that this node holds; the first is not always its own.
    pub fn lanes(&self) -> Vec<journal::Lane> {
        self.core.tenures.all().iter().map(|tenure| tenure.owner).collect()
    }

    /// What happens to the sagas of this node from now on, as it becomes durable; those of other nodes are told there. A
    /// receiver that falls behind loses the oldest and is told how many.
    pub fn watch(&self) -> broadcast::Receiver<Change> {
        self.core.changes.subscribe()
    }

    /// Hands over: accepts and sends nothing more, lets calls in flight end within the configured time, commits what came
    /// of them, and gives the lanes up. What is unsettled then is taken up by another node at once, or by the next owner.
    pub async fn drain(&self) {
        let core = &self.core;
        core.draining.store(true, Ordering::Release);
        core.stop.cancel();
        core.tasks.close();
        if tokio::time::timeout(core.config.drain, core.tasks.wait()).await.is_err() {
            tracing::info!("calls were still in flight at the end of the drain: the next owner asks again");
        }
        let tenures = core.tenures.all();
        let closing = tenures.iter().map(|tenure| tenure.lane.close());
        if tokio::time::timeout(HAND_OVER, futures_util::future::join_all(closing)).await.is_err() {
            tracing::warn!("the last entries could not be written: the next owner finds the sagas as after a crash");
        }
        let owners: Vec<_> = tenures.iter().map(|tenure| tenure.owner).collect();
        match tokio::time::timeout(HAND_OVER, core.journal.release(&owners)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lanes could not be given up: their leases run out"),
            Err(_) => tracing::warn!("the lanes could not be given up in time: their leases run out"),
        }
        core.lose();
    }

    /// Stops at once, as a crash would: nothing is flushed, no reply in flight is heard. For tests of recovery.
    #[doc(hidden)]
    pub fn abort(&self) {
        self.core.draining.store(true, Ordering::Release);
        self.core.stop.cancel();
        self.core.lose();
    }
}

async fn fire(core: Arc<Core>) {
    loop {
        let (due, next) = core.timers.due(core.clock.now());
        for id in due {
            core.tick(id);
        }
        let pause = next.map_or(timers::SWEEP, |at| at.since(core.clock.now()).max(Duration::from_millis(1)));
        // Either way the heap is looked at again.
        drop(tokio::time::timeout(pause, core.timers.earlier()).await);
    }
}

async fn sweep(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(timers::SWEEP);
    loop {
        ticks.tick().await;
        core.sweep();
    }
}
