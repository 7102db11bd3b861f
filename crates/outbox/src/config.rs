//! How a relay works.

use std::time::Duration;

use steadfast_core::retry::Backoff;

use crate::{Hint, Outbox};

/// One outbox that a relay publishes.
#[derive(Clone, Debug)]
pub struct Source {
    /// Names it in metrics and logs, and on the wire as `ce_source`: `/` and this.
    pub name: String,
    /// The outbox.
    pub outbox: Outbox,
    /// Wakes the relay for this source.
    pub hint: Hint,
}

impl Source {
    /// The outbox in a database of any backend. Hand [`Source::hint`] to whoever commits events in this process.
    pub fn new(name: impl Into<String>, db: impl Into<Outbox>) -> Self {
        Self { name: name.into(), outbox: db.into(), hint: Hint::new() }
    }

    /// With a hint that exists already.
    #[must_use]
    pub fn with_hint(mut self, hint: Hint) -> Self {
        self.hint = hint;
        self
    }
}

/// How a relay works. The defaults suit one process beside its databases.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of this relay, its own among those that share an outbox. One that starts again under the same name takes
    /// its lanes back at once; one of another name waits until the lease has ended.
    pub node: String,
    /// Events of one batch, at least 1: of a source on SQLite; on PostgreSQL of a bucket, of which a lane sends several at
    /// once. A crash sends at most two batches of each again.
    pub batch: usize,
    /// The first pause after nothing was found; while nothing is, pauses grow up to [`poll_last`](Self::poll_last).
    pub poll_first: Duration,
    /// The longest pause: the delay of an event that another process has written into an idle outbox.
    pub poll_last: Duration,
    /// How long marks wait for others to share their commit. The events are published already.
    pub mark_delay: Duration,
    /// How long a lane stays with a relay that gives no sign of life.
    pub lease: Duration,
    /// Attempts after which a refused event is a dead letter, at least 1.
    pub max_attempts: u32,
    /// Pauses between attempts of a refused event.
    pub parked: Backoff,
    /// Pauses after a failure that is no event's fault.
    pub retry: Backoff,
    /// How often metrics and held aggregates are looked at.
    pub refresh: Duration,
    /// How often what waits is looked at without regard to the relay's own position, as a check of it: everything on
    /// SQLite, a stretch of the table on PostgreSQL.
    pub sweep: Duration,
    /// How long a stopping relay waits for what is in flight.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: "relay".to_owned(),
            batch: 500,
            poll_first: Duration::from_millis(2),
            poll_last: Duration::from_millis(250),
            mark_delay: Duration::from_millis(20),
            lease: Duration::from_secs(10),
            max_attempts: 10,
            parked: Backoff { base: Duration::from_secs(1), cap: Duration::from_mins(1) },
            retry: Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(5) },
            refresh: Duration::from_secs(1),
            sweep: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}
