//! The shared middle of the engine: feeds the machines, and carries out what they answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steadfast_core::sealing::Keyring;
use steadfast_core::{Clock, NewEvent, SagaId, Timestamp};
use tokio::sync::{Notify, RwLock, broadcast, watch as signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ports;
use super::attend::Duties;
use super::backlog::Backlog;
use super::config::{Config, Permissions};
use super::election::Election;
use super::lane::{Part, Target};
use super::registry::{Loaded, Registry};
use super::running::{Inner, Place, Running};
use super::standing::Lookups;
use super::tenure::{Ground, Tenure, Tenures};
use super::timers::{NEAR, Timers};
use super::watch::{self, Change};
use crate::journal::{Head, Journal};
use crate::machine::{Answer, Cause, Entry, Input, Output, Saga, Status};
use crate::metrics::Metrics;
use crate::participant::client::{Participant, Participants};

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: Config,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) participants: Arc<Participants>,
    pub(super) permissions: Arc<dyn Permissions>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) election: Option<Arc<dyn Election>>,
    pub(super) registry: Registry,
    pub(super) timers: Timers,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) metrics: Metrics,
    pub(super) tenures: Tenures,
    pub(super) backlog: Backlog,
    pub(super) lookups: Lookups,
    pub(super) duties: Duties,
    pub(super) changes: broadcast::Sender<Change>,
    /// Whether no lane could be had any more, or the engine was closed.
    pub(super) lost: signal::Sender<bool>,
    pub(super) draining: AtomicBool,
    /// Shared by operators' acts, which may take a saga up from rest; alone for the erasing of a key, and for looking for
    /// sagas that came into a lane unheard.
    pub(super) acts: RwLock<()>,
    /// A lane that was taken over may have become empty.
    pub(super) emptied: Notify,
    sagas: Mutex<HashMap<SagaId, Arc<Running>>>,
    /// What moments of the sagas' pressure are counted from.
    origin: Instant,
}

impl Core {
    pub(super) fn new(config: Config, ports: Ports, registry: Registry, metrics: Metrics) -> Self {
        Self {
            config,
            journal: ports.journal,
            participants: ports.participants,
            permissions: ports.permissions,
            clock: ports.clock,
            keyring: ports.keyring,
            election: ports.election,
            registry,
            timers: Timers::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            metrics,
            tenures: Tenures::default(),
            backlog: Backlog::default(),
            lookups: Lookups::default(),
            duties: Duties::default(),
            changes: watch::channel(),
            lost: signal::Sender::new(false),
            draining: AtomicBool::new(false),
            acts: RwLock::default(),
            emptied: Notify::new(),
            sagas: Mutex::default(),
            origin: Instant::now(),
        }
    }

    pub(super) fn running(&self, id: SagaId) -> Option<Arc<Running>> {
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Running>> {
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// By how much a new saga of this definition would wait too long, with so many `ahead` of it in the queue. One that would
    /// wait for a participant that is away does not wait for us.
    pub(super) fn excess(&self, loaded: &Loaded, ahead: usize) -> Option<Duration> {
        let excess = loaded.pressure().excess(self.origin.elapsed(), ahead, self.config.wait)?;
        let mut called = loaded.definition.steps.iter().filter_map(|step| self.participants.get(&step.participant));
        (!called.any(Participant::is_away)).then_some(excess)
    }

    /// The lane for starts and claims, where it can be written and nothing stands against sending.
    pub(super) fn firm_home(&self) -> Option<Arc<Tenure>> {
        self.tenures.home().filter(|home| home.ground() == Ground::Firm)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn admit(&self, running: &Arc<Running>) -> Result<(), Arc<Running>> {
        let mut sagas = self.sagas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sagas.get(&running.id) {
            return Err(Arc::clone(known));
        }
        sagas.insert(running.id, Arc::clone(running));
        running.loaded.pressure().entered(self.origin.elapsed());
        running.tenure.enter();
        Ok(())
    }

    /// A saga leaves memory; one that waits in the queue may take its place.
    pub(super) fn release(&self, running: &Arc<Running>) {
        {
            let mut sagas = self.sagas.lock().unwrap_or_else(PoisonError::into_inner);
            if !sagas.get(&running.id).is_some_and(|known| Arc::ptr_eq(known, running)) {
                return;
            }
            sagas.remove(&running.id);
            running.loaded.pressure().left(self.origin.elapsed());
            // Under the lock: whoever takes the saga up again makes it known to the lane after this.
            running.tenure.lane.forget(running.id);
        }
        if running.tenure.leave() {
            self.emptied.notify_one();
        }
        self.backlog.room();
    }

    /// A saga that does not go on here: it goes on elsewhere, or not before it is taken up again.
    pub(super) fn withdraw(&self, running: &Arc<Running>) {
        let counted = {
            let mut inner = running.lock();
            inner.place = Place::Withdrawn;
            // Who still waits for the start hears that it is unknown.
            inner.starting.clear();
            inner.counted.take()
        };
        if counted.is_some() {
            self.metrics.pending(&running.loaded.definition.name, -1.0);
        }
        self.release(running);
        running.end.notify_waiters();
    }

    /// Tells a saga's machine what happened, and carries out what it answers. The order of inputs is the order of
    /// entries: both stand under the saga's lock.
    pub(super) fn feed(self: &Arc<Self>, running: &Arc<Running>, input: Input) -> Option<Answer> {
        let mut inner = running.lock();
        if matches!(inner.place, Place::Rests | Place::Withdrawn) {
            return None;
        }
        let mut inputs = vec![input];
        let mut answer = None;
        let mut ended = false;
        while let Some(input) = inputs.pop() {
            let plan = &running.loaded.plan;
            let random = fastrand::u64(..);
            let output = inner.saga.handle(plan, &running.conditions(), input, self.clock.now(), random);
            answer = answer.or(output.answer);
            ended |= output.ended;
            self.carry_out(running, &mut inner, output, &mut inputs);
        }
        drop(inner);
        if ended {
            self.ended(running);
        }
        answer
    }

    /// Takes a saga into memory and carries out the output of its start or recovery, which no input caused. Both under
    /// the saga's lock: nobody can feed it before its first entries are on their way. Where it is in memory already, that
    /// one is returned and nothing is done.
    pub(super) fn begin(
        self: &Arc<Self>,
        running: &Arc<Running>,
        output: Output,
        target: Option<Target>,
    ) -> Result<(), Arc<Running>> {
        let mut inputs = Vec::new();
        {
            let mut inner = running.lock();
            self.admit(running)?;
            self.append(running, &mut inner, &output, target);
            self.after(running, &mut inner, output, &mut inputs);
        }
        for input in inputs.into_iter().rev() {
            self.feed(running, input);
        }
        if running.tenure.is_lost() {
            // It came after the others of its lane were withdrawn.
            self.withdraw(running);
        }
        Ok(())
    }

    fn carry_out(self: &Arc<Self>, running: &Arc<Running>, inner: &mut Inner, output: Output, inputs: &mut Vec<Input>) {
        self.append(running, inner, &output, None);
        self.after(running, inner, output, inputs);
    }

    fn append(&self, running: &Running, inner: &mut Inner, output: &Output, target: Option<Target>) {
        if output.entries.is_empty() && !output.urgent {
            return;
        }
        self.prepare(inner, &output.entries);
        running.tenure.lane.enqueue(Part {
            id: running.id,
            target: target.unwrap_or(Target::Known),
            entries: output.entries.clone(),
            head: head(running, inner),
            event: end_event(running, &inner.saga, &output.entries),
            urgent: output.urgent,
        });
    }

    fn after(self: &Arc<Self>, running: &Arc<Running>, inner: &mut Inner, output: Output, inputs: &mut Vec<Input>) {
        self.count_entries(running, inner, &output.entries);
        for call in output.calls {
            inputs.extend(self.dispatch(running, &inner.saga, call));
        }
        let wake = inner.saga.wake_at();
        running.wake.store(wake.map_or(0, Timestamp::as_millis), Ordering::Release);
        if let Some(at) = wake {
            self.arm(running.id, inner, at);
        }
    }

    fn arm(&self, id: SagaId, inner: &mut Inner, at: Timestamp) {
        let near = at <= self.clock.now() + NEAR;
        if near && inner.armed.is_none_or(|armed| at < armed) {
            inner.armed = Some(at);
            self.timers.arm(at, id);
        }
    }

    /// A saga's time may have come.
    pub(super) fn tick(self: &Arc<Self>, id: SagaId) {
        let Some(running) = self.running(id) else { return };
        running.lock().armed = None;
        self.feed(&running, Input::Tick);
    }

    /// Arms all that are due before the next sweep, and shows the age of the oldest.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        let horizon = (now + NEAR).as_millis();
        let mut oldest: HashMap<&str, Timestamp> = HashMap::new();
        let all = self.all();
        for running in &all {
            let wake = running.wake.load(Ordering::Acquire);
            if wake != 0 && wake <= horizon {
                self.arm(running.id, &mut running.lock(), Timestamp::from_millis(wake));
            }
            let first = oldest.entry(&running.loaded.definition.name).or_insert(running.started_at);
            *first = (*first).min(running.started_at);
        }
        self.metrics.show_oldest(oldest.iter().map(|(name, first)| (*name, now.since(*first))));
    }

    fn count_entries(&self, running: &Running, inner: &mut Inner, entries: &[Entry]) {
        let undone = entries.iter().filter(|entry| matches!(entry, Entry::Undone { .. })).count();
        let timeouts = entries.iter().filter(|entry| entry.is_timeout()).count();
        let name = &running.loaded.definition.name;
        self.metrics.compensated(name, undone as u64);
        self.metrics.timed_out(name, timeouts as u64);
        let status = Some(inner.saga.status()).filter(|status| !status.is_settled() && !status.is_parked());
        if status.is_some() != inner.counted.is_some() {
            self.metrics.pending(name, if status.is_some() { 1.0 } else { -1.0 });
        }
        inner.counted = status;
    }

    fn ended(self: &Arc<Self>, running: &Arc<Running>) {
        let (status, counted_before) = {
            let mut inner = running.lock();
            let status = inner.saga.status();
            if !status.is_settled() && !status.is_parked() {
                // An act has come in between: it goes on.
                return;
            }
            if status.is_parked() {
                inner.place = Place::Rests;
            }
            (status, inner.ended_at.is_some())
        };
        let name = &running.loaded.definition.name;
        if !counted_before {
            // A saga that was parked counts as a failure, whatever an operator makes of it.
            let took = self.clock.now().since(running.started_at);
            self.metrics.executed(name, status == Status::Completed, took);
            let took = running.calm_since.map(|since| since.elapsed());
            running.loaded.pressure().ended(self.origin.elapsed(), took);
        }
        if status.is_parked() {
            tracing::error!(saga.id = %running.id, definition = name, "the saga is parked: it waits for an operator");
        }
        running.ended.store(true, Ordering::Release);
        running.end.notify_waiters();
        self.lookups.tell(running.id, status);
        self.release(running);
    }
}

/// What the journal folds to.
fn head(running: &Running, inner: &Inner) -> Head {
    let saga = &inner.saga;
    let steps = 0..running.loaded.plan.steps().len();
    let parked = || steps.clone().find_map(|step| saga.step(step)?.parked.map(|(_, why)| why.name()));
    Head {
        status: saga.status(),
        held: saga.is_held(),
        overdue: saga.is_overdue(),
        wake_at: saga.wake_at(),
        // Of a saga that was parked before; the lane fills it in from an entry that ends it.
        ended_at: inner.ended_at.filter(|_| saga.is_parked()),
        cause: saga.cause().map(Cause::name).or_else(parked).map(str::to_owned),
    }
}

/// The saga's own event, where one of these entries ends it.
fn end_event(running: &Running, saga: &Saga, entries: &[Entry]) -> Option<NewEvent> {
    let (outcome, at) = entries.iter().find_map(|entry| match entry {
        Entry::Completed { at } => Some(("completed", *at)),
        Entry::Compensated { at } => Some(("compensated", *at)),
        Entry::Failed { at } => Some(("failed", *at)),
        _ => None,
    })?;
    let payload = serde_json::json!({
        "saga_id": running.id_text,
        "definition": running.loaded.definition.name,
        "version": running.loaded.definition.version,
        "outcome": outcome,
        "cause": saga.cause().map(Cause::name),
        "accepted_at": running.started_at.as_millis(),
        "settled_at": at.as_millis(),
    });
    let event = NewEvent::new("saga", running.id_text.clone(), format!("saga.{outcome}.v1"), payload);
    Some(event.with_saga(running.id).with_traceparent(Some(running.baggage.traceparent.clone())))
}
