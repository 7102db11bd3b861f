//! The shared middle of the engine: feeds the machines, carries out what they answer, and hears from the lane.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use steadfast_core::sealing::Keyring;
use steadfast_core::{Clock, NewEvent, SagaId, Timestamp};
use tokio::sync::{RwLock, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Config, Permissions};
use super::lane::{Committed, Lane, Listener, Part, Target};
use super::registry::Registry;
use super::running::{Inner, Running};
use super::timers::{NEAR, Timers};
use crate::Error;
use crate::journal::{Appended, Head, Journal};
use crate::machine::{Answer, Cause, Entry, Input, Output, Saga, Status};
use crate::metrics::Metrics;
use crate::participant::client::Participants;

/// Whether the journal can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// It can.
    Firm,
    /// Not at present: nothing is accepted or sent.
    Away,
    /// Never again: the lane is another's, or the engine was closed.
    Lost,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: Config,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) participants: Arc<Participants>,
    pub(super) permissions: Arc<dyn Permissions>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) registry: Registry,
    pub(super) epoch: i64,
    pub(super) timers: Timers,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) metrics: Metrics,
    pub(super) ground: watch::Sender<Ground>,
    pub(super) draining: AtomicBool,
    /// Shared by operators' acts, which may take a saga up from rest; alone for the erasing of a key.
    pub(super) acts: RwLock<()>,
    lane: OnceLock<Lane>,
    sagas: Mutex<HashMap<SagaId, Arc<Running>>>,
    queue: Mutex<VecDeque<SagaId>>,
}

/// What a [`Core`] is made of.
pub(super) struct Made {
    pub(super) config: Config,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) participants: Arc<Participants>,
    pub(super) permissions: Arc<dyn Permissions>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) registry: Registry,
    pub(super) epoch: i64,
    pub(super) metrics: Metrics,
}

impl Core {
    pub(super) fn new(made: Made) -> Self {
        Self {
            config: made.config,
            journal: made.journal,
            participants: made.participants,
            permissions: made.permissions,
            clock: made.clock,
            keyring: made.keyring,
            registry: made.registry,
            epoch: made.epoch,
            timers: Timers::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            metrics: made.metrics,
            ground: watch::Sender::new(Ground::Firm),
            draining: AtomicBool::new(false),
            acts: RwLock::default(),
            lane: OnceLock::new(),
            sagas: Mutex::default(),
            queue: Mutex::default(),
        }
    }

    pub(super) fn set_lane(&self, lane: Lane) {
        // Set once, right after the core exists and before anything runs.
        if self.lane.set(lane).is_err() {
            tracing::error!("an engine has one lane");
        }
    }

    pub(super) fn lane(&self) -> Option<&Lane> {
        self.lane.get()
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

    pub(super) fn queued(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn admit(&self, running: &Arc<Running>) -> Result<(), Arc<Running>> {
        let mut sagas = self.sagas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sagas.get(&running.id) {
            return Err(Arc::clone(known));
        }
        sagas.insert(running.id, Arc::clone(running));
        Ok(())
    }

    pub(super) fn enqueue(&self, id: SagaId) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(id);
    }

    /// A saga leaves memory; one that waits in the queue takes its place.
    pub(super) fn release(self: &Arc<Self>, id: SagaId) {
        if self.sagas.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).is_none() {
            return;
        }
        if let Some(lane) = self.lane() {
            lane.forget(id);
        }
        self.fill();
    }

    /// Admits from the queue while there is room.
    pub(super) fn fill(self: &Arc<Self>) {
        loop {
            let next = {
                let sagas = self.sagas.lock().unwrap_or_else(PoisonError::into_inner).len();
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                if sagas.saturating_sub(queue.len()) >= self.config.in_flight { None } else { queue.pop_front() }
            };
            let Some(id) = next else { return };
            if let Some(running) = self.running(id) {
                self.feed(&running, Input::Admit);
            }
        }
    }

    /// Tells a saga's machine what happened, and carries out what it answers. The order of inputs is the order of
    /// entries: both stand under the saga's lock.
    pub(super) fn feed(self: &Arc<Self>, running: &Arc<Running>, input: Input) -> Option<Answer> {
        let mut inner = running.lock();
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
            self.append(running, &inner, &output, target);
            self.after(running, &mut inner, output, &mut inputs);
        }
        for input in inputs.into_iter().rev() {
            self.feed(running, input);
        }
        Ok(())
    }

    fn carry_out(self: &Arc<Self>, running: &Arc<Running>, inner: &mut Inner, output: Output, inputs: &mut Vec<Input>) {
        self.append(running, inner, &output, None);
        self.after(running, inner, output, inputs);
    }

    fn append(&self, running: &Running, inner: &Inner, output: &Output, target: Option<Target>) {
        if output.entries.is_empty() && !output.urgent {
            return;
        }
        let Some(lane) = self.lane() else { return };
        lane.enqueue(Part {
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
            let inner = running.lock();
            (inner.saga.status(), inner.ended_at.is_some())
        };
        let name = &running.loaded.definition.name;
        if !counted_before {
            // A saga that was parked counts as a failure, whatever an operator makes of it.
            let took = self.clock.now().since(running.started_at);
            self.metrics.executed(name, status == Status::Completed, took);
        }
        if status.is_parked() {
            tracing::error!(saga.id = %running.id, definition = name, "the saga is parked: it waits for an operator");
        }
        running.ended.store(true, Ordering::Release);
        running.end.notify_waiters();
        self.release(running.id);
    }

    /// Whether anything may be sent. Waits while the journal is away; `false` once it is lost.
    pub(super) async fn firm(&self) -> bool {
        if *self.ground.borrow() == Ground::Firm {
            return true;
        }
        let mut ground = self.ground.subscribe();
        ground.wait_for(|ground| *ground != Ground::Away).await.is_ok_and(|ground| *ground == Ground::Firm)
    }

    pub(super) fn is_away(&self) -> bool {
        *self.ground.borrow() != Ground::Firm
    }

    /// Only from [`Ground::Firm`] or [`Ground::Away`]: what is lost stays lost.
    pub(super) fn set_ground(&self, to: Ground) {
        self.ground.send_if_modified(|ground| {
            let changes = *ground != Ground::Lost && *ground != to;
            if changes {
                *ground = to;
            }
            changes
        });
    }
}

/// The lane speaks to the engine through this.
#[derive(Debug)]
pub(super) struct Ear(pub(super) Arc<Core>);

impl Listener for Ear {
    fn committed(&self, commits: &[Committed]) {
        for commit in commits {
            let Some(running) = self.0.running(commit.id) else { continue };
            let (starting, entries) = {
                let mut inner = running.lock();
                (std::mem::take(&mut inner.starting), inner.saga.committed() + commit.entries)
            };
            for waiter in starting {
                // Whoever no longer waits has gone away.
                waiter.send(commit.outcome).ok();
            }
            if commit.outcome == Appended::Known {
                self.0.withdraw(&running);
                continue;
            }
            self.0.feed(&running, Input::Committed { entries });
        }
    }

    fn fenced(&self, error: &Error) {
        tracing::error!(%error, "the lane is lost: this engine stops");
        self.0.lose();
    }

    fn failing(&self, error: &Error) {
        tracing::warn!(%error, "the journal cannot be written: nothing is accepted or sent until it can");
        self.0.set_ground(Ground::Away);
    }

    fn recovered(&self) {
        tracing::info!("the journal can be written again");
        self.0.set_ground(Ground::Firm);
    }

    fn stuck(&self, id: SagaId, error: &Error) {
        tracing::error!(saga.id = %id, %error, "the saga's entries cannot be written: it rests until it is taken up again");
        if let Some(running) = self.0.running(id) {
            self.0.withdraw(&running);
        }
    }
}

impl Core {
    /// Nothing will be written any more: whoever waits for a start is told so.
    pub(super) fn lose(&self) {
        self.set_ground(Ground::Lost);
        for running in self.all() {
            running.lock().starting.clear();
        }
    }

    /// A saga that cannot go on here: its start was in the journal already, or its entries cannot be written.
    fn withdraw(self: &Arc<Self>, running: &Arc<Running>) {
        let counted = {
            let mut inner = running.lock();
            // Who still waits for the start hears that there will be none.
            inner.starting.clear();
            inner.counted.take()
        };
        if counted.is_some() {
            self.metrics.pending(&running.loaded.definition.name, -1.0);
        }
        self.release(running.id);
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
