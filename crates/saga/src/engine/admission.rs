//! Accepting sagas: permission, schema, bounds, and the one commit that the answer rests on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use steadfast_core::{Principal, Problem, SagaId, problem};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::core::Core;
use super::lane::Target;
use super::registry::Loaded;
use super::running::{Baggage, Made, Place, Running, When};
use super::tenure::Tenure;
use super::{pressure, sealed, trace};
use crate::Error;
use crate::journal::{Appended, NewSaga};
use crate::machine::{Saga, Status};

/// The longest client key, in bytes.
const KEY_MAX: usize = 255;

/// When to ask again, in seconds: where the queue is full, and at most.
const FULL_PAUSE: u32 = 2;
const PAUSE_MAX: u32 = 10;

/// A request to start a saga.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// The definition's name.
    pub definition: String,
    /// Its version; the newest where `None`.
    pub version: Option<u32>,
    /// Who starts it.
    pub principal: Principal,
    /// The client's key: the same principal, definition and key are the same saga. Without one each start is a new saga.
    pub key: Option<String>,
    /// The input.
    pub input: Value,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// An accepted saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: SagaId,
    /// Whether it was accepted before.
    pub existing: bool,
    /// Where it stands.
    pub status: Status,
}

impl Core {
    /// Accepts a saga. Once this answers, the start is durable: it will be settled or parked, whatever crashes.
    pub(super) async fn start(self: &Arc<Self>, request: StartRequest) -> Result<Accepted, Error> {
        let loaded = self.find_definition(&request).await?;
        check_permissions(&loaded, &request.principal)?;
        let id = self.identify(&request)?;
        if let Some(running) = self.running(id) {
            return self.known_here(&running, &request.input).await;
        }
        let Some(home) = self.firm_home().filter(|_| !self.is_draining()) else {
            return Err(away().into());
        };
        let waiting = self.backlog.depth();
        let queued = !self.has_place(&loaded, waiting);
        let ahead = if queued { waiting } else { 0 };
        let excess = self.excess(&loaded, ahead);
        let full = queued && waiting >= self.config.queue;
        if full || excess.is_some() {
            // A known saga is answered even now.
            if let Some(accepted) = self.known_in_journal(id, &request.input).await? {
                return Ok(accepted);
            }
            self.metrics.turned_away(&loaded.definition.name);
            return Err(overloaded(&loaded, excess).into());
        }
        let _entering = queued.then(|| self.backlog.enter());
        self.start_new(id, home, loaded, request, queued).await
    }

    /// Whether a saga may begin at once, with so many `waiting` in the queue. Whoever has waited longer goes first, but for
    /// definitions that have few in flight: the last places are theirs, whatever others wait for.
    fn has_place(&self, loaded: &Loaded, waiting: usize) -> bool {
        let kept = pressure::kept(self.config.in_flight);
        if loaded.pressure().in_flight() < kept {
            return self.count() < self.config.in_flight;
        }
        waiting == 0 && self.count() < self.config.in_flight - kept
    }

    async fn start_new(
        self: &Arc<Self>,
        id: SagaId,
        home: Arc<Tenure>,
        loaded: Arc<Loaded>,
        request: StartRequest,
        queued: bool,
    ) -> Result<Accepted, Error> {
        loaded.definition.validate_input(&request.input).map_err(|faults| invalid_input(&faults))?;
        let business_key = loaded
            .definition
            .business_key(&request.input)
            .map_err(|fault| problem::INVALID_INPUT.with(format!("the business key cannot be evaluated: {fault}")))?;
        let now = self.clock.now();
        let stored = sealed::seal(&self.keyring, id, &request.input, &loaded.definition.input.sensitive)?;
        let baggage = Baggage {
            user: request.principal.subject().to_owned(),
            permissions: request.principal.permissions().map(str::to_owned).collect(),
            traceparent: request.traceparent.unwrap_or_else(trace::fresh),
            sealed: stored.paths,
        };
        let text = |value: serde_json::Result<String>| value.map_err(|error| Error::Corrupt(error.to_string()));
        let target = Target::New(Box::new(NewSaga {
            id,
            definition: loaded.definition.name.clone(),
            version: loaded.definition.version,
            business_key,
            principal: baggage.user.clone(),
            started_at: now,
            input: text(serde_json::to_string(&*stored.input))?,
            context: text(serde_json::to_string(&baggage))?,
            key: stored.key,
            queued,
        }));
        let id_text = id.to_string();
        let conditions = When { loaded: &loaded, input: &request.input, saga: &id_text };
        let (saga, output) = if queued {
            Saga::enqueue(&loaded.plan, &conditions, now)
        } else {
            Saga::start(&loaded.plan, &conditions, now, fastrand::u64(..))
        };
        let status = saga.status();
        let calm_since = (!queued && loaded.pressure().is_calm()).then(Instant::now);
        let made =
            Made { id, tenure: home, loaded, input: request.input, baggage, started_at: now, calm_since, queued };
        let running = Arc::new(Running::new(made, saga));
        let (committed, wait) = oneshot::channel();
        running.lock().starting.push(committed);
        if let Err(known) = self.begin(&running, output, Some(target)) {
            return self.known_here(&known, &running.input).await;
        }
        match wait.await {
            Ok(Appended::Known) => self.known_elsewhere(id, &running.input).await,
            Ok(_) => Ok(Accepted { id, existing: false, status }),
            // The engine closes: whether the start was committed is for the repeat to find out.
            Err(_) => Err(away().into()),
        }
    }

    async fn find_definition(&self, request: &StartRequest) -> Result<Arc<Loaded>, Error> {
        let (name, version) = (&request.definition, request.version);
        if let Some(loaded) = self.registry.find(name, version) {
            return Ok(loaded);
        }
        // It may have been uploaded at another node a moment ago.
        self.registry.load(&*self.journal, &self.participants).await?;
        let loaded = self.registry.find(name, version).ok_or_else(|| {
            let names = self.registry.names().join(", ");
            let version = version.map_or(String::new(), |version| format!(" in version {version}"));
            problem::UNKNOWN_DEFINITION
                .with(format!("there is no definition {name:?}{version}: known are {names}; upload it first"))
        })?;
        Ok(loaded)
    }

    fn identify(&self, request: &StartRequest) -> Result<SagaId, Problem> {
        let Some(key) = &request.key else {
            let mut random = [0; 10];
            fastrand::fill(&mut random);
            return Ok(SagaId::from_parts(self.clock.now(), random));
        };
        if key.is_empty() || key.len() > KEY_MAX {
            let detail = format!("the key has {} bytes: send 1 to {KEY_MAX}", key.len());
            return Err(problem::INVALID_KEY.with(detail));
        }
        Ok(SagaId::derive(request.principal.subject(), &request.definition, key))
    }

    /// A saga in memory: answered once its start is durable.
    async fn known_here(self: &Arc<Self>, running: &Arc<Running>, input: &Value) -> Result<Accepted, Error> {
        if running.input != *input {
            return Err(mismatch().into());
        }
        let waiting = {
            let mut inner = running.lock();
            let fresh = inner.saga.committed() == 0;
            (inner.place != Place::Withdrawn).then(|| {
                fresh.then(|| {
                    let (committed, wait) = oneshot::channel();
                    inner.starting.push(committed);
                    wait
                })
            })
        };
        let Some(wait) = waiting else {
            // It has left memory between the look and this.
            let known = self.known_in_journal(running.id, input).await?;
            return known.ok_or_else(|| away().into());
        };
        let status = running.reported();
        match wait {
            Some(wait) => match wait.await {
                Ok(Appended::Known) => self.known_elsewhere(running.id, input).await,
                Ok(_) => Ok(Accepted { id: running.id, existing: true, status }),
                Err(_) => Err(away().into()),
            },
            None => Ok(Accepted { id: running.id, existing: true, status }),
        }
    }

    /// A saga whose start was found in the journal.
    async fn known_elsewhere(&self, id: SagaId, input: &Value) -> Result<Accepted, Error> {
        match self.known_in_journal(id, input).await? {
            Some(accepted) => Ok(accepted),
            None => Err(Error::Corrupt(format!("saga {id} is known and cannot be found"))),
        }
    }

    async fn known_in_journal(&self, id: SagaId, input: &Value) -> Result<Option<Accepted>, Error> {
        let Some(row) = self.journal.find(id).await? else { return Ok(None) };
        let histories = self.journal.histories(std::slice::from_ref(&row)).await?;
        let corrupt = |what: &str| Error::Corrupt(format!("saga {id}: {what}"));
        let history = histories.into_iter().next().flatten().ok_or_else(|| corrupt("its history is missing"))?;
        let mut stored: Value = serde_json::from_str(&history.input).map_err(|_| corrupt("its input"))?;
        let baggage: Baggage = serde_json::from_str(&history.context).map_err(|_| corrupt("its context"))?;
        let same = match sealed::open(&self.keyring, id, &mut stored, &baggage.sealed, history.key.as_deref()) {
            Ok(()) => stored == *input,
            // Nobody can tell any more whether the sensitive part is the same: the rest decides.
            Err(sealed::Fault::Shredded) => {
                let mut input = input.clone();
                sealed::mask(&mut stored, &baggage.sealed);
                sealed::mask(&mut input, &baggage.sealed);
                stored == input
            }
            Err(fault) => return Err(corrupt(&fault.to_string())),
        };
        if !same {
            return Err(mismatch().into());
        }
        Ok(Some(Accepted { id, existing: true, status: row.head.status }))
    }

    /// Waits until the saga is settled or parked, at most `limit`; `None` where there is no such saga.
    pub(super) async fn wait(&self, id: SagaId, limit: Duration) -> Result<Option<Status>, Error> {
        let until = Instant::now() + limit;
        if let Some(running) = self.running(id) {
            let end = running.end.notified();
            tokio::pin!(end);
            // Armed before the look, so that an end in between is not missed.
            end.as_mut().enable();
            let gone = || running.is_withdrawn();
            if !running.has_ended() && !gone() {
                // Time-out or not: what counts is where it stands then.
                drop(tokio::time::timeout_at(until, end).await);
            }
            if !gone() {
                return Ok(Some(running.reported()));
            }
        }
        self.wait_elsewhere(id, until).await
    }
}

fn check_permissions(loaded: &Loaded, principal: &Principal) -> Result<(), Problem> {
    match loaded.definition.permissions.iter().find(|permission| !principal.may(permission)) {
        Some(permission) => {
            let detail = format!("{} needs the permission {permission}", loaded.definition.name);
            Err(problem::FORBIDDEN.with(detail))
        }
        None => Ok(()),
    }
}

fn invalid_input(faults: &crate::definition::Faults) -> Error {
    let list = serde_json::to_value(faults).unwrap_or_default();
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let detail = format!("{} fault(s) in `input`, all under `faults`; the first: {first}", faults.len());
    problem::INVALID_INPUT.with(detail).member("faults", list).into()
}

fn mismatch() -> Problem {
    problem::MISMATCH.with("this key started a saga with another input: use a new key for a new intent")
}

pub(super) fn away() -> Problem {
    problem::UNAVAILABLE.with("no saga is accepted at present: ask again with the same key").retry_after(1)
}

fn overloaded(loaded: &Loaded, excess: Option<Duration>) -> Problem {
    let name = &loaded.definition.name;
    let (why, pause) = match excess {
        Some(excess) => {
            let seconds = u32::try_from(excess.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            (format!("more sagas of {name} are under way than end in good time"), seconds.min(PAUSE_MAX))
        }
        None => ("the queue of sagas is full".to_owned(), FULL_PAUSE),
    };
    problem::OVERLOADED.with(format!("{why}: ask again later with the same key")).retry_after(pause)
}
