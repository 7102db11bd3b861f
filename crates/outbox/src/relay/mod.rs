//! The relay: reads what waits in one or many outboxes, appends it to the log, marks it.
//!
//! Each source has lanes of its own, one or several, each held under an epoch. Relays that share a source share its lanes.
//! Within a lane the read of the next batch, the append of this one and the mark of the last one overlap; what they may do
//! when is decided by [`lanes`](crate::lanes).

mod lanes;
mod session;
mod wire;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use steadfast_bus::Producer;
use steadfast_core::{Clock, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lag::Window;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::{Config, Error, Hint, Source};

/// How often the store is asked to make ready what will be needed.
const UPKEEP: Duration = Duration::from_hours(1);
/// A failure that repeats is told this often: while a database is away every lane fails several times a second.
const TELL: Duration = Duration::from_secs(10);
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
        let mut drivers = JoinSet::new();
        for source in self.sources {
            let driver = Arc::new(Driver {
                store: source.outbox.store(),
                hint: source.hint,
                hints: watch::Sender::new(()),
                metrics: Metrics::new(&source.name),
                name: source.name,
                producer: Arc::clone(&self.producer),
                clock: Arc::clone(&self.clock),
                config: self.config.clone(),
                lag: Mutex::new(Window::new()),
                told: Mutex::default(),
            });
            let stop = stop.clone();
            drivers.spawn(async move { run_for_good(driver, &stop).await });
        }
        while let Some(ended) = drivers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a source of the outbox relay has ended");
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
    // Passes each hint on to every lane.
    hints: watch::Sender<()>,
    metrics: Metrics,
    lag: Mutex<Window>,
    // When each failure was told last.
    told: Mutex<HashMap<&'static str, Instant>>,
}

/// Publishes until stopped. A bug that breaks it off must not leave the outbox without a relay for ever: what was not
/// marked still waits, so starting anew is safe.
async fn run_for_good(driver: Arc<Driver>, stop: &CancellationToken) {
    loop {
        let done = CancellationToken::new();
        let run = async {
            tokio::join!(driver.watch(&done), async {
                lanes::publish(&driver, stop).await;
                done.cancel();
            });
        };
        if AssertUnwindSafe(run).catch_unwind().await.is_ok() || stop.is_cancelled() {
            return;
        }
        tracing::error!(
            source = driver.name,
            "the outbox relay has broken off and starts anew: please report this bug"
        );
        sleep(driver.config.retry.cap).await;
    }
}

impl Driver {
    /// Shows how the outbox stands, whether or not this relay publishes it and whether or not that succeeds.
    async fn watch(&self, done: &CancellationToken) {
        let mut upkeep_at = Instant::now();
        loop {
            if Instant::now() >= upkeep_at {
                upkeep_at = Instant::now() + UPKEEP;
                if let Err(error) = self.store.upkeep().await {
                    upkeep_at = Instant::now() + self.config.retry.cap;
                    self.complain(&error, "preparing the outbox's coming days failed");
                }
            }
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

    fn complain(&self, error: &Error, what: &'static str) {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if told.get(what).is_some_and(|last| now.duration_since(*last) < TELL) {
            tracing::debug!(source = self.name, %error, cause, "{what}");
        } else {
            told.insert(what, now);
            tracing::error!(source = self.name, %error, cause, "{what}");
        }
    }
}
