//! The events that Kafka refuses, of several outboxes: what the API and the command line both do with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use steadfast_core::{Clock, EventId, Timestamp};
use steadfast_outbox::{Error, Outbox, Parked};

/// Held events of one outbox that are looked through for one of them.
const ALL: u32 = 100_000;

/// One of them. Its payload is not shown.
#[derive(Debug, Serialize)]
pub(crate) struct Letter {
    pub(crate) database: String,
    pub(crate) event_id: String,
    /// `retrying`, or `dead`.
    pub(crate) state: &'static str,
    pub(crate) event_type: String,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) sequence: i64,
    pub(crate) attempts: u32,
    pub(crate) last_error: String,
    pub(crate) parked_at: Timestamp,
    /// When it is tried again; null for a dead letter.
    pub(crate) next_attempt_at: Option<Timestamp>,
    /// Since when only an operator moves it.
    pub(crate) dead_at: Option<Timestamp>,
}

impl Letter {
    fn of(database: &str, parked: Parked) -> Self {
        let is_dead = parked.dead_at.is_some();
        Self {
            database: database.to_owned(),
            event_id: parked.event_id.to_string(),
            state: if is_dead { "dead" } else { "retrying" },
            event_type: parked.event_type,
            aggregate_type: parked.aggregate_type,
            aggregate_id: parked.aggregate_id,
            sequence: parked.sequence,
            attempts: parked.attempts,
            last_error: parked.last_error,
            parked_at: parked.parked_at,
            next_attempt_at: (!is_dead).then_some(parked.next_attempt_at),
            dead_at: parked.dead_at,
        }
    }
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act<'a> {
    /// New attempts, the first of them now.
    Replay,
    /// Given up, with a reason that is kept.
    Discard(&'a str),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Acted {
    /// Done, in this database.
    Done(String),
    /// It is still being tried, so it cannot be given up.
    StillTried,
    /// No outbox holds such an event.
    NotFound,
}

/// The outboxes, by the name of their database.
#[derive(Clone, Debug)]
pub(crate) struct Letters {
    outboxes: BTreeMap<String, Outbox>,
    clock: Arc<dyn Clock>,
}

impl Letters {
    pub(crate) fn new(outboxes: BTreeMap<String, Outbox>, clock: Arc<dyn Clock>) -> Self {
        Self { outboxes, clock }
    }

    /// The held events of all outboxes, or of one, as many of each.
    pub(crate) async fn list(&self, database: Option<&str>, limit: u32) -> Result<Vec<Letter>, Error> {
        let mut found = Vec::new();
        for (name, outbox) in self.outboxes.iter().filter(|(name, _)| database.is_none_or(|wanted| wanted == *name)) {
            found.extend(outbox.parked(limit).await?.into_iter().map(|parked| Letter::of(name, parked)));
        }
        Ok(found)
    }

    /// Whether there is an outbox of that name.
    pub(crate) fn knows(&self, database: &str) -> bool {
        self.outboxes.contains_key(database)
    }

    /// One of them.
    pub(crate) async fn show(&self, event: EventId) -> Result<Option<Letter>, Error> {
        let wanted = event.to_string();
        Ok(self.list(None, ALL).await?.into_iter().find(|letter| letter.event_id == wanted))
    }

    /// Does it in whichever outbox holds the event.
    pub(crate) async fn act(&self, event: EventId, act: Act<'_>) -> Result<Acted, Error> {
        for (name, outbox) in &self.outboxes {
            let now = self.clock.now();
            let done = match act {
                Act::Replay => outbox.replay(event, now).await?,
                Act::Discard(reason) => outbox.discard(event, reason, now).await?,
            };
            if done {
                return Ok(Acted::Done(name.clone()));
            }
        }
        Ok(if self.show(event).await?.is_some() { Acted::StillTried } else { Acted::NotFound })
    }
}
