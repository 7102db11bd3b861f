//! The relay: reads what waits in one or many outboxes, appends it to the log, marks it.
//!
//! Each source has a lane of its own, held under an epoch. Within it the read of the next batch, the append of this one and
//! the mark of the last one overlap; what they may do when is decided by [`lanes`](crate::lanes).

mod session;
mod wire;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use steadfast_bus::Producer;
use steadfast_core::{Clock, Timestamp};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::lag::Window;
use crate::metrics::Metrics;
use crate::store::{Claim, Store, sqlite};
use crate::{Config, Error, Hint, Source};
use session::End;

/// Waiting events whose age enters the lag: the oldest, which are those that an alert must see.
const WAITING: u32 = 5_000;

/// Publishes the events of its sources.
#[derive(Debug)]
pub struct Relay {
    sources: Vec<Source>,
    producer: Arc<dyn Producer>,
    clock: Arc<dyn Clock>,
    config: Config,
}

impl Relay {
    /// A relay of these outboxes, each migrated by [`LINE`](crate::LINE), into the log behind `producer`.
    pub fn new(sources: Vec<Source>, producer: Arc<dyn Producer>, clock: Arc<dyn Clock>, config: Config) -> Self {
        const SHORTEST: Duration = Duration::from_millis(1);
        let config = Config {
            batch: config.batch.max(1),
            max_attempts: config.max_attempts.max(1),
            poll_first: config.poll_first.max(SHORTEST),
            poll_last: config.poll_last.max(SHORTEST),
            refresh: config.refresh.max(SHORTEST),
            ..config
        };
        Self { sources, producer, clock, config }
    }

    /// Publishes until `stop`; then what is in flight is finished and marked, and the lanes are given up. Errors of the
    /// databases and of the log are logged and tried again.
    pub async fn run(self, stop: CancellationToken) {
        let mut lanes = JoinSet::new();
        for source in self.sources {
            let driver = Driver {
                store: Arc::new(sqlite::Outbox::new(source.db)),
                hint: source.hint,
                metrics: Metrics::new(&source.name),
                name: source.name,
                producer: Arc::clone(&self.producer),
                clock: Arc::clone(&self.clock),
                config: self.config.clone(),
                lag: Mutex::new(Window::new()),
                met: AtomicI64::new(0),
            };
            let stop = stop.clone();
            lanes.spawn(async move { driver.run_for_good(&stop).await });
        }
        while let Some(ended) = lanes.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a lane of the outbox relay has ended");
            }
        }
    }
}

/// What publishes one source.
#[derive(Debug)]
struct Driver {
    name: String,
    store: Arc<dyn Store>,
    producer: Arc<dyn Producer>,
    clock: Arc<dyn Clock>,
    config: Config,
    hint: Hint,
    metrics: Metrics,
    lag: Mutex<Window>,
    // The newest event that was counted.
    met: AtomicI64,
}

impl Driver {
    /// Publishes until stopped. A bug that breaks it off must not leave the outbox without a relay for ever: what was
    /// not marked still waits, so starting anew is safe.
    async fn run_for_good(&self, stop: &CancellationToken) {
        while AssertUnwindSafe(self.run(stop)).catch_unwind().await.is_err() {
            tracing::error!(
                source = self.name,
                "the outbox relay has broken off and starts anew: please report this bug"
            );
            if stop.is_cancelled() {
                return;
            }
            sleep(self.config.retry.cap).await;
        }
    }

    async fn run(&self, stop: &CancellationToken) {
        let done = CancellationToken::new();
        tokio::join!(self.watch(&done), async {
            self.publish(stop).await;
            done.cancel();
        });
    }

    /// Takes the lane, publishes until it is lost, and so on.
    async fn publish(&self, stop: &CancellationToken) {
        // Only the first time: whoever has fenced this relay may have its name.
        let mut again = true;
        while !stop.is_cancelled() {
            let pause = match self.store.claim(&self.config.node, self.clock.now(), self.config.lease, again).await {
                Ok(Claim::Granted(epoch)) => {
                    again = false;
                    tracing::debug!(source = self.name, epoch, "the outbox's lane is ours");
                    match session::run(self, epoch, stop).await {
                        End::Stopped => return,
                        End::Fenced => {
                            tracing::warn!(source = self.name, epoch, "another relay has taken the outbox's lane");
                            self.config.lease / 3
                        }
                    }
                }
                Ok(Claim::Taken { node, until }) => {
                    tracing::debug!(source = self.name, holder = node, "the outbox's lane is another relay's");
                    until.since(self.clock.now()).clamp(Duration::from_millis(10), self.config.lease / 3)
                }
                Err(error) => {
                    self.complain(&error, "taking the outbox's lane failed");
                    self.config.retry.ceiling(4)
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Shows how the outbox stands, whether or not this relay publishes it and whether or not that succeeds.
    async fn watch(&self, done: &CancellationToken) {
        loop {
            match self.store.status(WAITING).await {
                Ok(status) => {
                    self.show_lag(&status.waiting);
                    #[expect(clippy::cast_precision_loss, reason = "numbers of rows, far below 2^52")]
                    {
                        self.metrics.size.set(status.size as f64);
                        self.metrics.parked.set(status.parked as f64);
                    }
                }
                Err(error) => self.complain(&error, "looking at the outbox failed"),
            }
            tokio::select! {
                () = done.cancelled() => return,
                () = sleep(self.config.refresh) => {}
            }
        }
    }

    fn show_lag(&self, waiting: &[Timestamp]) {
        let lag = self.lag.lock().unwrap_or_else(PoisonError::into_inner).quantiles(self.clock.now(), waiting);
        for (gauge, lag) in self.metrics.lag.iter().zip(lag) {
            gauge.set(lag.as_secs_f64());
        }
    }

    fn count_published(&self, written: &[Timestamp]) {
        self.metrics.published.increment(written.len() as u64);
        let now = self.clock.now();
        let mut lag = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        for created_at in written {
            lag.record(now, *created_at);
        }
    }

    /// Counts events that are met for the first time.
    fn count_met(&self, ids: impl Iterator<Item = i64>) {
        let met = self.met.load(Ordering::Relaxed);
        let (fresh, newest) = ids.filter(|id| *id > met).fold((0, met), |(n, newest), id| (n + 1, newest.max(id)));
        self.met.store(newest, Ordering::Relaxed);
        self.metrics.events.increment(fresh);
    }

    fn complain(&self, error: &Error, what: &'static str) {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(source = self.name, %error, cause, "{what}");
    }
}
