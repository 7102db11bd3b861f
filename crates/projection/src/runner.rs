//! The loop: poll, one transaction, again.
//!
//! ```text
//! position ──> poll ──> begin ──> fence ──> read sequences, parked ──> apply ──> save ──> commit ──┐
//!    ^  ^                            │ moved by another                    │ error                 │
//!    │  └── read the checkpoints <───┴──── roll back <─────────────────────┘                       │
//!    └─────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | failure | what holds |
//! |---|---|
//! | killed at any point | the transaction is there whole or not at all; the next runner reads the checkpoint |
//! | a commit whose answer is lost | the checkpoint is read again before the next batch |
//! | two runners on one partition | the fence lets one of them win each batch, the other rolls back |
//! | an event that cannot be applied | parked with its aggregate and the error; the rest flows |
//! | the database or the log is away | the batch is tried again with back-off; [`Status`] says since when |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use steadfast_bus::{Consumer, Delivered};
use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, Clock, ErrorKind, Timestamp};
use steadfast_db::{Db, migrate};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::{self, Batch};
use crate::error::chain;
use crate::fold::{Folded, Rules, fold};
use crate::metrics::{Metrics, Tally};
use crate::ordering::GapPolicy;
use crate::{Error, LINE, Projection, Status, Subscription, Upcasters, store};

/// Aggregates that one sweep looks at.
const SWEEP_LIMIT: u32 = 100;

/// How a runner works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The most events of one transaction. Batches are as large as what has arrived meanwhile, up to this.
    pub batch: usize,
    /// How long a poll may wait for an event. It wakes at once when there is one.
    pub wait: Duration,
    /// What happens to a gap that lasts.
    pub gaps: GapPolicy,
    /// How often parked events are looked at although nothing has arrived for their aggregate.
    pub sweep: Duration,
    /// The pauses after failures.
    pub backoff: Backoff,
}

impl Default for Config {
    /// Batches of up to 1,000, a look at parked events every second, an alarm for gaps older than a minute, pauses of up
    /// to a second.
    fn default() -> Self {
        Self {
            batch: 1_000,
            wait: Duration::from_secs(1),
            gaps: GapPolicy::Alarm { after: Duration::from_mins(1) },
            sweep: Duration::from_secs(1),
            backoff: Backoff { base: Duration::from_millis(10), cap: Duration::from_secs(1) },
        }
    }
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing had arrived.
    Idle,
    /// A batch was committed; or it held nothing for this projection, and the checkpoint alone moved.
    Committed(Tally),
}

/// Runs one projection over one consumer.
pub struct Runner {
    db: Db,
    projection: Arc<dyn Projection>,
    consumer: Box<dyn Consumer>,
    clock: Arc<dyn Clock>,
    config: Config,
    id: i64,
    subscription: Subscription,
    upcasters: Upcasters,
    metrics: Metrics,
    status: Status,
    /// The next offset of each partition, as committed; of one that has no checkpoint yet, the first that came.
    positions: BTreeMap<u32, i64>,
    /// Partitions that have a checkpoint.
    recorded: BTreeSet<u32>,
    /// Whether the consumer stands at the positions.
    placed: bool,
    /// Whether the last batch had an event that failed: the next one finds out which.
    careful: bool,
    next_sweep: Instant,
    /// When the oldest event of a batch that failed was written.
    pending: Option<Timestamp>,
}

impl Runner {
    /// Prepares `projection` to be fed from `consumer` into the read database `db`; makes the tables where they are
    /// missing. For a partition without a checkpoint the consumer's own start counts.
    ///
    /// # Errors
    /// [`Error::UpcastCycle`], or what the database says.
    pub async fn open(
        db: Db,
        projection: Arc<dyn Projection>,
        consumer: Box<dyn Consumer>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<Self, Error> {
        let upcasters = projection.upcasters();
        upcasters.check()?;
        migrate(&db, &LINE).await?;
        let id = store::register(&db, projection.name()).await?;
        Ok(Self {
            id,
            subscription: projection.subscribes(),
            upcasters,
            metrics: Metrics::new(projection.name()),
            status: Status::new(projection.name(), clock.now()),
            positions: BTreeMap::new(),
            recorded: BTreeSet::new(),
            placed: false,
            careful: false,
            next_sweep: Instant::now(),
            pending: None,
            db,
            projection,
            consumer,
            clock,
            config,
        })
    }

    /// Whether it moves; for `/readyz`.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Runs until `stop`, which it obeys between two batches. Failures are tried again without end; [`Status`] and the
    /// log tell of them.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0;
        while !stop.is_cancelled() {
            let Err(error) = self.turn_until(&stop).await else {
                failures = 0;
                continue;
            };
            if matches!(&error, Error::Apply { .. }) && error.kind() != ErrorKind::Transient {
                continue;
            }
            failures += 1;
            let pause = self.config.backoff.pause(failures, fastrand::u64(..));
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.status.stopped();
    }

    /// One turn: waits for events and commits them, or answers [`Turn::Idle`]. After an error the next turn begins again
    /// from the checkpoint.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another runner was faster; [`Error::Apply`] when an event cannot be applied: the next turn
    /// parks it; what the database or the log says.
    pub async fn turn(&mut self) -> Result<Turn, Error> {
        self.turn_until(&CancellationToken::new()).await
    }

    async fn turn_until(&mut self, stop: &CancellationToken) -> Result<Turn, Error> {
        // Until the turn has ended well, nothing that this runner remembers counts; also when it is dropped midway.
        let placed = std::mem::take(&mut self.placed);
        let result = self.attempt(placed, stop).await;
        let now = self.clock.now();
        match &result {
            Ok(turn) => {
                self.placed = true;
                self.pending = None;
                if *turn == Turn::Idle {
                    self.metrics.lag(Duration::ZERO);
                }
                if self.status.moved(now) {
                    tracing::info!(projection = self.projection.name(), "the projection moves again");
                }
            }
            Err(error) => self.note(error, now),
        }
        result
    }

    /// Keeps and tells what went wrong.
    fn note(&mut self, error: &Error, now: Timestamp) {
        let projection = self.projection.name();
        if let Some(pending) = self.pending {
            self.metrics.lag(now.since(pending));
        }
        match error {
            Error::Fenced { .. } => tracing::info!(projection, "{error}"),
            Error::Apply { .. } if error.kind() != ErrorKind::Transient => {
                self.careful = true;
                tracing::warn!(projection, error = chain(error), "an event failed: looking for it");
            }
            _ => {
                let text = chain(error);
                if self.status.failed(text.clone()) {
                    tracing::error!(projection, error = text, "the projection is stuck: trying again");
                }
            }
        }
    }

    async fn attempt(&mut self, placed: bool, stop: &CancellationToken) -> Result<Turn, Error> {
        if !placed {
            self.place().await?;
        }
        if Instant::now() >= self.next_sweep {
            self.sweep().await?;
            self.next_sweep = Instant::now() + self.config.sweep;
        }
        let wait = self.config.wait.min(self.next_sweep.saturating_duration_since(Instant::now()));
        let delivered = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Turn::Idle),
            delivered = self.consumer.poll(self.config.batch, wait) => delivered?,
        };
        if delivered.is_empty() {
            return Ok(Turn::Idle);
        }
        self.commit(delivered).await.map(Turn::Committed)
    }

    /// Reads the checkpoints and places the consumer.
    async fn place(&mut self) -> Result<(), Error> {
        for (partition, position) in store::positions(&self.db, self.id).await? {
            self.positions.insert(partition, position);
            self.recorded.insert(partition);
        }
        for (partition, position) in &self.positions {
            match self.consumer.seek(*partition, *position).await {
                // A partition that another runner reads.
                Ok(()) | Err(steadfast_bus::Error::UnknownPartition { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Commits what was delivered: read model, sequences, parking and checkpoint in one transaction.
    async fn commit(&mut self, delivered: Vec<Delivered>) -> Result<Tally, Error> {
        let Batch { events, unreadable, moves } = batch::read(delivered, &self.positions, &self.subscription);
        if moves.is_empty() {
            return Ok(Tally::default());
        }
        let first: Vec<_> = (moves.iter().filter(|one| !self.recorded.contains(&one.partition)))
            .map(|one| (one.partition, one.expected))
            .collect();
        self.positions.extend(first.iter().copied());
        self.pending = events.iter().map(|event| event.created_at).min();
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if !store::fence(&mut tx, self.id, &moves, &first, now).await? {
            return Err(Error::Fenced { projection: self.projection.name().to_owned() });
        }
        if !unreadable.is_empty() {
            store::record_skips(&mut tx, self.id, &unreadable, now).await?;
        }
        let mut folded = fold(&self.rules(), &mut tx, events, Vec::new(), self.careful, now).await?;
        tx.commit().await?;
        for one in &unreadable {
            tracing::error!(
                projection = self.projection.name(),
                partition = one.6,
                offset = one.7,
                fault = one.8,
                "not an event"
            );
        }
        folded.tally.poison += unreadable.len() as u64;
        self.careful = false;
        self.positions.extend(moves.iter().map(|one| (one.partition, one.next)));
        self.recorded.extend(moves.iter().map(|one| one.partition));
        self.show(&folded);
        Ok(folded.tally)
    }

    /// Looks at parked events for which nothing has arrived: those that an operator has moved on, and old gaps.
    async fn sweep(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        let before = match self.config.gaps {
            GapPolicy::Wait => Timestamp::from_millis(i64::MIN),
            GapPolicy::Alarm { after } | GapPolicy::Skip { after } => now - after,
        };
        let (mut parked, mut poison) = store::count_parked(&self.db, self.id).await?;
        let mut alarms = 0;
        let due =
            if parked == 0 { Vec::new() } else { store::find_due(&self.db, self.id, before, SWEEP_LIMIT).await? };
        if !due.is_empty() {
            let mut tx = self.db.begin().await?;
            let folded = fold(&self.rules(), &mut tx, Vec::new(), due, true, now).await?;
            if folded.changed {
                tx.commit().await?;
                (parked, poison) = store::count_parked(&self.db, self.id).await?;
            }
            alarms = folded.alarms;
            self.show(&folded);
        }
        self.metrics.parked(parked);
        if self.status.parked(parked, poison, alarms) {
            let projection = self.projection.name();
            tracing::error!(
                projection,
                aggregates = alarms,
                "events of these aggregates have been missing for too long"
            );
        }
        Ok(())
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            id: self.id,
            projection: self.projection.as_ref(),
            subscription: &self.subscription,
            upcasters: &self.upcasters,
            gaps: self.config.gaps,
        }
    }

    fn show(&self, folded: &Folded) {
        self.metrics.count(&folded.tally);
        if let Some(oldest) = folded.oldest {
            self.metrics.lag(self.clock.now().since(oldest));
        }
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("projection", &self.projection)
            .field("config", &self.config)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}
