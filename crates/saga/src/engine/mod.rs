//! The engine: the machine's shell. Accepts sagas, calls participants, writes the journal, keeps the timers.
//!
//! | part | does |
//! |---|---|
//! | `admission` | permission, schema, bounds; answers once the start is durable |
//! | `core` | one input at a time for each saga; entries to the lane, calls to `dispatch` |
//! | `lane` | group commit: one commit for all sagas that somebody waits for |
//! | `dispatch` | renders, calls, and reads what the reply means |
//! | `timers` | fires what `wake_at` says |
//! | `recovery` | takes up what was left unsettled |
//! | `operate`, `view` | what operators do and see |
//!
//! Critical path of a saga: the start's commit, its calls, the commit point's commit, the end's commit. Nothing is read.
//!
//! | failure | what holds |
//! |---|---|
//! | kill -9 at any point | every saga whose start was answered is taken up and ends |
//! | the journal is away | nothing is accepted or sent; results are held; it goes on by itself |
//! | another engine takes the lane | this one writes nothing more and stops |
//! | a saga that cannot be read | rests alone; the others are taken up |
//! | the key of its sensitive input is gone or its input was changed | the same |

mod admission;
mod config;
mod core;
mod dispatch;
mod lane;
mod operate;
mod recovery;
mod registry;
mod running;
mod sealed;
mod timers;
mod trace;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use steadfast_core::sealing::Keyring;
use steadfast_core::{Clock, SagaId};

use self::core::{Core, Ear, Ground, Made};
use self::lane::Lane;
use self::registry::Registry;
use crate::Error;
use crate::journal::{Filter, Journal};
use crate::machine::Status;
use crate::metrics::Metrics;
use crate::participant::client::Participants;

pub use admission::{Accepted, StartRequest};
pub use config::{AsAtStart, Config, Permissions};
pub use lane::Bounds;
pub use operate::{Operated, Operation};
pub use registry::Uploaded;
pub use view::{AuditLine, ContextView, EncryptedField, Left, StepState, Summary, View};

/// The lane of the embedded default.
const LANE: i64 = 0;

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
}

/// A running engine. Cheap to clone. Dropped without [`drain`](Self::drain) it stops as a crash would stop it: whoever
/// opens the same journal takes everything up.
#[derive(Clone, Debug)]
pub struct Engine {
    core: Arc<Core>,
}

impl Engine {
    /// Takes the lane and everything unsettled in it, and starts working. A former owner writes nothing from here on.
    pub async fn open(config: Config, ports: Ports) -> Result<Self, Error> {
        let owner = ports.journal.take_lane(LANE, ports.clock.now()).await?;
        let registry = Registry::default();
        registry.load(&*ports.journal, &ports.participants).await?;
        let metrics = Metrics::new();
        metrics.set_parked(ports.journal.count_parked().await?);
        let core = Arc::new(Core::new(Made {
            config,
            journal: Arc::clone(&ports.journal),
            participants: ports.participants,
            permissions: ports.permissions,
            clock: Arc::clone(&ports.clock),
            keyring: ports.keyring,
            registry,
            epoch: owner.epoch,
            metrics: metrics.clone(),
        }));
        let listener = Arc::new(Ear(Arc::clone(&core)));
        core.set_lane(Lane::open(ports.journal, owner, ports.clock, config.lane, listener, metrics));
        let (taken, poisoned) = core.recover(LANE).await?;
        tracing::info!(epoch = owner.epoch, taken, poisoned, "the orchestrator has taken its lane");
        core.fill();
        let stop = &core.stop;
        core.tasks.spawn(stop.clone().run_until_cancelled_owned(fire(Arc::clone(&core))));
        core.tasks.spawn(stop.clone().run_until_cancelled_owned(sweep(Arc::clone(&core))));
        Ok(Self { core })
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

    /// Sagas in memory: executing or on their way to rest.
    pub fn in_flight(&self) -> usize {
        self.core.count()
    }

    /// Why nothing is accepted at present; `Ok` where it is.
    pub fn ready(&self) -> Result<(), &'static str> {
        match *self.core.ground.borrow() {
            Ground::Firm if self.core.draining.load(Ordering::Acquire) => Err("draining"),
            Ground::Firm => Ok(()),
            Ground::Away => Err("the journal cannot be written"),
            Ground::Lost => Err("the lane is owned by another process"),
        }
    }

    /// Completes when the lane was lost to another process: the process should end.
    pub async fn lost(&self) {
        let mut ground = self.core.ground.subscribe();
        // The sender lives as long as this engine.
        drop(ground.wait_for(|ground| *ground == Ground::Lost).await);
    }

    /// Accepts and sends nothing more, lets calls in flight end within the configured time, and commits what came of
    /// them. What is unsettled then is taken up by the next owner.
    pub async fn drain(&self) {
        self.core.draining.store(true, Ordering::Release);
        self.core.stop.cancel();
        self.core.tasks.close();
        if tokio::time::timeout(self.core.config.drain, self.core.tasks.wait()).await.is_err() {
            tracing::warn!("calls were still in flight at the end of the drain: the next owner asks again");
        }
        if let Some(lane) = self.core.lane() {
            lane.flush().await;
            lane.close().await;
        }
        self.core.lose();
    }

    /// Stops at once, as a crash would: nothing is flushed, no reply in flight is heard. For tests of recovery.
    #[doc(hidden)]
    pub fn abort(&self) {
        self.core.lose();
        self.core.draining.store(true, Ordering::Release);
        self.core.stop.cancel();
        if let Some(lane) = self.core.lane() {
            lane.abort();
        }
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
        match core.journal.count_parked().await {
            Ok(parked) => core.metrics.set_parked(parked),
            Err(error) => tracing::debug!(%error, "parked sagas could not be counted"),
        }
    }
}
