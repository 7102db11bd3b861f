//! The loop: poll, one transaction, again.
//!
//! ```text
//! position ──> poll ──> begin ──> fence ──> read sequences, parked ──> apply ──> save ──> commit ──┐
//!    ^  ^                            │ moved by another                    │ error                 │
//!    │  └── read the checkpoints <───┴──── roll back <─────────────────────┘                       │
//!    └─────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Under load the next batch is read while this one is being committed.
//!
//! | failure | what holds |
//! |---|---|
//! | killed at any point | the transaction is there whole or not at all; the next runner reads the checkpoint |
//! | a commit whose answer is lost | the checkpoint is read again before the next batch |
//! | two runners on one partition | the fence lets one of them win each batch, the other rolls back |
//! | a partition moves to another runner | what was read of it is committed first, or loses to the other's batch |
//! | an event that cannot be applied | parked with its aggregate and the error; the rest flows |
//! | the database or the log is away | the batch is tried again with back-off; [`Status`] says since when |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use steadfast_bus::{Change, Consumer, Delivered, Partition};
use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, Clock, ErrorKind};
use steadfast_db::Db;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::{Decoded, decode};
use crate::commit::Desk;
use crate::metrics::{Metrics, Tally};
use crate::ordering::GapPolicy;
use crate::pace::Pace;
use crate::store::Store;
use crate::{Error, Projection, Status};

/// How a runner works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The most events of one transaction. Batches are as large as what has arrived meanwhile, up to this; after one that was
    /// slow or was rolled back they are smaller for a while, so that nobody waits long for the rows that it holds.
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

/// Runs one projection over one consumer, into SQLite or, with the feature `postgres`, PostgreSQL. Several runners of one
/// projection, each with a consumer of the same group, share the work by partition.
pub struct Runner<S: Store = Db> {
    desk: Desk<S>,
    consumer: Box<dyn Consumer>,
    config: Config,
    /// Partitions that the consumer reads.
    owned: BTreeSet<Partition>,
    /// Of each of them the first offset that came: where one begins again that has no checkpoint yet.
    begun: BTreeMap<Partition, i64>,
    /// What was read while the last batch was being committed.
    ahead: Vec<Decoded>,
    /// What the log said then.
    fault: Option<steadfast_bus::Error>,
    /// Whether the consumer stands at the positions, or after what was read ahead.
    placed: bool,
    next_sweep: Instant,
    pace: Pace,
}

impl<S: Store> Runner<S> {
    /// Prepares `projection` to be fed from `consumer` into the read database `db`; makes the tables where they are
    /// missing. For a partition without a checkpoint the consumer's own start counts.
    ///
    /// # Errors
    /// [`Error::UpcastCycle`], or what the database says.
    pub async fn open(
        db: S,
        projection: Arc<dyn Projection<S::Sql>>,
        consumer: Box<dyn Consumer>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Result<Self, Error> {
        let upcasters = projection.upcasters();
        upcasters.check()?;
        db.migrate().await?;
        let id = db.register(projection.name()).await?;
        let desk = Desk {
            id,
            subscription: projection.subscribes(),
            upcasters,
            metrics: Metrics::new(projection.name()),
            status: Status::new(projection.name(), clock.now()),
            positions: BTreeMap::new(),
            recorded: BTreeSet::new(),
            careful: false,
            pending: None,
            gaps: config.gaps,
            db,
            projection,
            clock,
        };
        Ok(Self {
            desk,
            consumer,
            pace: Pace::new(config.batch),
            config,
            owned: BTreeSet::new(),
            begun: BTreeMap::new(),
            ahead: Vec::new(),
            fault: None,
            placed: false,
            next_sweep: Instant::now(),
        })
    }

    /// Whether it moves; for `/readyz`.
    pub fn status(&self) -> Status {
        self.desk.status.clone()
    }

    /// Runs until `stop`, which it obeys between two batches; then others have its partitions at once. Failures are tried again without end; [`Status`] and the
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
        self.consumer.leave().await;
        self.desk.status.stopped();
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
        let desk = &mut self.desk;
        let now = desk.clock.now();
        match &result {
            Ok(turn) => {
                self.placed = true;
                desk.pending = None;
                if *turn == Turn::Idle {
                    desk.metrics.lag(Duration::ZERO);
                }
                if desk.status.moved(now) {
                    tracing::info!(projection = desk.projection.name(), "the projection moves again");
                }
            }
            Err(error) => {
                desk.note(error, now);
                if error.kind().is_retriable() {
                    self.pace.failed();
                }
            }
        }
        result
    }

    async fn attempt(&mut self, placed: bool, stop: &CancellationToken) -> Result<Turn, Error> {
        self.follow(placed).await?;
        if Instant::now() >= self.next_sweep {
            self.desk.sweep().await?;
            self.next_sweep = Instant::now() + self.config.sweep;
        }
        if let Some(fault) = self.fault.take() {
            return Err(fault.into());
        }
        let mut events = std::mem::take(&mut self.ahead);
        if events.is_empty() {
            let wait = self.config.wait.min(self.next_sweep.saturating_duration_since(Instant::now()));
            events = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Turn::Idle),
                delivered = self.consumer.poll(self.pace.size(), wait) => {
                    let delivered = delivered?;
                    begin(&mut self.begun, &delivered);
                    decode(delivered, &self.desk.subscription)
                }
            };
        }
        if events.is_empty() {
            return Ok(Turn::Idle);
        }
        let (amount, started) = (events.len(), Instant::now());
        if amount < self.pace.size() {
            let tally = self.desk.commit(events).await?;
            self.pace.committed(amount, started.elapsed());
            return Ok(Turn::Committed(tally));
        }
        // There is more: while the database works, the next batch is read.
        let subscription = self.desk.subscription.clone();
        let (consumer, begun, most) = (&mut self.consumer, &mut self.begun, self.pace.size());
        let read = async {
            let delivered = consumer.poll(most, Duration::ZERO).await?;
            // At once: when the batch fails, what was read ahead is forgotten, and this says where to read it again.
            begin(begun, &delivered);
            Ok(decode(delivered, &subscription))
        };
        let (committed, read) = tokio::join!(self.desk.commit(events), read);
        let tally = committed?;
        self.pace.committed(amount, started.elapsed());
        match read {
            Ok(ahead) => self.ahead = ahead,
            Err(fault) => self.fault = Some(fault),
        }
        Ok(Turn::Committed(tally))
    }

    /// Follows what the consumer reads, and places it: everywhere when nothing that is remembered counts or when partitions
    /// changed after some was read ahead, otherwise in the partitions that are new.
    async fn follow(&mut self, placed: bool) -> Result<(), Error> {
        let mut fresh = BTreeSet::new();
        let changes = self.consumer.changes();
        let all = !placed || !(changes.is_empty() || self.ahead.is_empty());
        for change in changes {
            let projection = self.desk.projection.name();
            match change {
                Change::Assigned(partition) => {
                    tracing::debug!(projection, %partition, "a partition is this runner's");
                    self.owned.insert(partition.clone());
                    self.begun.remove(&partition);
                    fresh.insert(partition);
                }
                Change::Revoked(partition) => {
                    tracing::debug!(projection, %partition, "a partition is another runner's");
                    self.owned.remove(&partition);
                    self.begun.remove(&partition);
                    fresh.remove(&partition);
                    self.desk.forget(&partition);
                }
            }
        }
        if !all && fresh.is_empty() {
            return Ok(());
        }
        if all {
            self.ahead.clear();
        }
        self.desk.look_up(if all { &self.owned } else { &fresh }).await?;
        for (partition, first) in &self.begun {
            if !self.desk.positions.contains_key(partition) {
                self.desk.positions.insert(partition.clone(), *first);
            }
        }
        for (partition, position) in &self.desk.positions {
            if all || fresh.contains(partition) {
                self.consumer.seek(partition, *position).await?;
            }
        }
        Ok(())
    }
}

/// Remembers the first offsets that came.
fn begin(begun: &mut BTreeMap<Partition, i64>, delivered: &[Delivered]) {
    for one in delivered {
        if !begun.contains_key(&one.partition) {
            begun.insert(one.partition.clone(), one.offset);
        }
    }
}

impl<S: Store> fmt::Debug for Runner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("projection", &self.desk.projection)
            .field("config", &self.config)
            .field("positions", &self.desk.positions)
            .finish_non_exhaustive()
    }
}
