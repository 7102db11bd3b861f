//! Calls to participants over HTTP/1.1: the orchestrator's only way out.
//!
//! Hosts come from configuration alone; the address that a name resolves to is checked when it is connected to. No
//! redirect is followed and no proxy is read from the environment. What came of a call is told exactly
//! ([`Raw`]): *not sent* only where the socket took no byte of the request.
//!
//! HTTP/2 is not spoken. What the socket has taken of *one* request can only be told where a connection carries one at a
//! time, and that is what *not sent* rests on; of several streams in one session a GOAWAY names the last that was seen, and
//! everything below it is in doubt again. A server that speaks nothing else is told by its first bytes and reads as
//! misconfigured, and so is one that expects TLS.
//!
//! A call waits for its turn among the participant's calls (compensations first), and may be told to come back later
//! where the participant is down or asks for it: see [`Raw::retry_after`].

mod address;
mod config;
mod connect;
mod link;
mod pool;
mod raw;
mod request;
#[cfg(feature = "tls")]
mod tls;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{Bounds, Cache, Question};
use super::protocol::{self, Meaning, Outcomes};
use super::stress::{Class, Gate, Limits, Signal};
use super::token::Key;
use config::Probe;
use pool::{Pool, Sent};

pub use config::{ConfigFault, ParticipantConfig, Settings, TlsSettings};
pub use raw::{Raw, RawBody, Replied};
pub use request::Outgoing;

/// The longest body of a reply that is read.
const BODY_MAX: usize = 1024 * 1024;

/// All participants, by name.
#[derive(Debug, Default)]
pub struct Participants {
    by_name: BTreeMap<String, Participant>,
}

impl Participants {
    /// The participants of a configuration.
    ///
    /// # Errors
    /// The first fault: its participant, its field, and the way out.
    pub fn new(configs: Vec<ParticipantConfig>) -> Result<Self, ConfigFault> {
        let mut by_name = BTreeMap::new();
        for config in configs {
            let name = config.name.clone();
            if by_name.contains_key(&name) {
                return Err(ConfigFault::new(&name, "name", "it is there twice", "give each participant one table"));
            }
            by_name.insert(name, Participant::new(config)?);
        }
        Ok(Self { by_name })
    }

    /// The participant of this name.
    pub fn get(&self, name: &str) -> Option<&Participant> {
        self.by_name.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// All participants, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Participant> {
        self.by_name.values()
    }
}

/// A service that takes part in sagas.
#[derive(Debug)]
pub struct Participant {
    name: String,
    key: Key,
    barrier: bool,
    probe: Option<Probe>,
    idempotency_ttl: Option<Duration>,
    pools: Vec<Pool>,
    next: AtomicUsize,
    gate: Arc<Gate>,
    cache: Cache,
}

/// How busy a participant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Calls on their way.
    pub in_flight: usize,
    /// Calls that wait for their turn.
    pub queued: usize,
    /// Connections that wait for a call.
    pub idle: usize,
    /// The participant is taken for down: one call a second asks whether it still is.
    pub down: bool,
}

impl Participant {
    fn new(config: ParticipantConfig) -> Result<Self, ConfigFault> {
        let checked = config.check()?;
        let pools =
            checked.bases.into_iter().map(|base| Pool::new(base, config.connect_timeout, config.concurrency)).collect();
        Ok(Self {
            pools,
            probe: checked.probe,
            gate: Gate::new(Limits::of(config.concurrency)),
            cache: Cache::new(Bounds::default()),
            name: config.name,
            key: config.key,
            barrier: config.barrier,
            idempotency_ttl: config.idempotency_ttl,
            next: AtomicUsize::new(0),
        })
    }

    /// Its name, which is also the audience of its tokens.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It guards its effects by a barrier.
    pub const fn barrier(&self) -> bool {
        self.barrier
    }

    /// It tells by a GET whether an action was done.
    pub const fn has_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// How long it remembers keys; `None` where it does so for ever, or has not said.
    pub const fn idempotency_ttl(&self) -> Option<Duration> {
        self.idempotency_ttl
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        let (in_flight, queued, down) = self.gate.load();
        Load { in_flight, queued, down, idle: self.pools.iter().map(Pool::idle).sum() }
    }

    /// Whether nobody gets an answer from it at present: it is taken for down, or asks for one pause after the other.
    pub fn is_away(&self) -> bool {
        self.gate.is_away()
    }

    /// Calls the participant. Within [`Outgoing::timeout`] comes a whole answer, of which at most the first half is
    /// spent on waiting for a turn. Dropping the future closes the connection that it used.
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Raw {
        let start = Instant::now();
        let deadline = start + outgoing.timeout;
        let class = Class::of(outgoing.key.op);
        let permit = match self.gate.enter(class, outgoing.key, start, outgoing.timeout / 2).await {
            Ok(permit) => permit,
            Err(pause) => {
                return Raw::NotSent { reason: pause.why.to_owned(), retry_after: Some(pause.length) };
            }
        };
        let raw = self.perform(&outgoing, start, deadline).await;
        let trial = permit.is_trial();
        permit.finish(signal(&raw, &outgoing));
        if trial { raw.of_trial() } else { raw }
    }

    /// As [`Participant::send`], and what came of it is read; a definite answer to the same question, asked by the same user
    /// within `ttl`, is given from memory. For reads only (`cache:`). Beside the meaning: how long to stay away, as in
    /// [`Raw::retry_after`].
    pub async fn read_through(
        &self,
        outgoing: Outgoing<'_>,
        ttl: Duration,
        outcomes: &Outcomes,
    ) -> (Meaning, Option<Duration>) {
        let body = outgoing.body.clone().unwrap_or_default();
        let question = Question {
            method: outgoing.method.as_str(),
            path: outgoing.path,
            body: &body,
            user: outgoing.user,
            scope: outgoing.scope,
            outcomes,
        };
        let (start, limit) = (Instant::now(), outgoing.timeout);
        let ask = async |left| {
            let now = outgoing.now + start.elapsed();
            let raw = self.send(Outgoing { timeout: left, now, ..outgoing.clone() }).await;
            let meaning = protocol::read(raw.exchange(), outcomes, self.barrier, outgoing.now + start.elapsed());
            (meaning, raw.retry_after())
        };
        self.cache.through(question, ttl, limit, ask).await
    }

    /// One after the other of the base URLs, beginning with the next in turn, until the request has left.
    async fn perform(&self, outgoing: &Outgoing<'_>, start: Instant, deadline: Instant) -> Raw {
        let (method, path) = match (&self.probe, outgoing.probe) {
            (_, false) => (outgoing.method.clone(), None),
            (Some(probe), true) => (http::Method::GET, Some(probe.path(outgoing.key))),
            (None, true) => return Raw::unsendable("the participant has no probe: set `probe` in its configuration"),
        };
        let draft = request::Draft {
            participant: &self.name,
            key: &self.key,
            method,
            path: path.as_deref().unwrap_or(outgoing.path),
            body: if outgoing.probe { None } else { outgoing.body.clone() },
            outgoing,
            start,
        };
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut reason = None;
        // Those that were away a moment ago come last.
        for away in [false, true] {
            for offset in 0..self.pools.len() {
                let pool = &self.pools[first.wrapping_add(offset) % self.pools.len()];
                if pool.is_away(start) != away {
                    continue;
                }
                match pool.send(&draft, deadline).await {
                    Sent::Raw(raw) => return raw,
                    Sent::Not(why) => reason = Some(why),
                }
                if Instant::now() >= deadline {
                    break;
                }
            }
        }
        let reason = reason.unwrap_or_else(|| "no time was left to connect".to_owned());
        Raw::NotSent { reason, retry_after: None }
    }
}

/// What a call says of its participant's health.
fn signal(raw: &Raw, outgoing: &Outgoing<'_>) -> Signal {
    match raw {
        // It is we who held it back.
        Raw::NotSent { .. } if !(outgoing.may_leave)() => Signal::Neutral,
        Raw::NotSent { .. } => Signal::Unsent,
        Raw::Cut { .. } => Signal::Doubtful,
        Raw::Unsendable(_) => Signal::Neutral,
        Raw::Replied(replied) => match replied.status.as_u16() {
            // Only these speak for the whole host; `Retry-After` on any other speaks for one saga.
            429 | 503 => match replied.header(&http::header::RETRY_AFTER) {
                Some(text) => protocol::parse_retry_after(text, outgoing.now).map_or(Signal::Doubtful, Signal::Pause),
                None => Signal::Doubtful,
            },
            408 | 425 | 500..=599 => Signal::Doubtful,
            _ => Signal::Answered,
        },
    }
}
