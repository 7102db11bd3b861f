//! One epoch of one lane: starts what the lane allows, takes in what has ended, waits.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Driver;
use super::wire::{Item, entry, produce};
use crate::Error;
use crate::lanes::{Known, Lane, Limits, Marks, Verdict, Whence};
use crate::store::{Parked, Read, Row, Tenure, Water};

/// A hint that comes sooner after the last look waits for this: a burst of commits is one look.
const DEBOUNCE: Duration = Duration::from_millis(1);

/// A look is followed by so many times its duration of rest, where nothing more is known to wait: at most a fifth of the time,
/// so that on a busy machine many lanes with few events each do not live on looking.
const REST: u32 = 4;

/// A look that finds nothing is followed by this part of the time for which nothing was found: an event waits for its look
/// half as long, at most, as its lane had been quiet.
const QUIET: u32 = 2;

/// Events that a lane sends at once, at most, however many buckets it has.
const LANE_BATCH: usize = 2_000;

/// How an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Asked to stop; the lane is given up.
    Stopped,
    /// Another relay has the lane.
    Fenced,
}

/// Something that was started and has ended.
enum Done {
    Read(Whence, Result<Read, Error>),
    Produced(Vec<Verdict>),
    Marked(Marks, Water, Result<Option<i64>, Error>),
    Held(Result<Vec<Parked>, Error>),
    Retries(Vec<i64>, Result<Vec<Row>, Error>),
    Renewed(Result<Option<i64>, Error>),
}

/// Publishes a lane under this epoch until stopped or fenced.
pub(super) async fn run(driver: &Driver, lane: i16, epoch: i64, stop: &CancellationToken) -> End {
    let tenure = loop {
        match driver.store.tenure(lane, epoch).await {
            Ok(tenure) => break tenure,
            Err(Error::Fenced { .. }) => return End::Fenced,
            Err(error) => driver.complain(&error, "opening a lane of the outbox failed"),
        }
        tokio::select! {
            // The lease ends by itself.
            () = stop.cancelled() => return End::Stopped,
            () = sleep(driver.config.retry.ceiling(4)) => {}
        }
    };
    let mut hints = driver.hints.subscribe();
    let mut session = Session::new(driver, &*tenure);
    loop {
        session.start();
        if session.is_drained() {
            session.give_up().await;
            return End::Stopped;
        }
        let wake = session.next_wake();
        tokio::select! {
            Some(done) = session.work.next() => {
                if session.take_in(done) == Some(End::Fenced) {
                    return End::Fenced;
                }
            }
            Ok(()) = hints.changed(), if !session.is_stopping() => session.hinted(),
            () = sleep_until(wake) => {}
            () = stop.cancelled(), if !session.is_stopping() => {
                session.stop_at = Some(Instant::now() + driver.config.drain);
            }
        }
    }
}

struct Session<'a> {
    driver: &'a Driver,
    tenure: &'a dyn Tenure,
    batch: usize,
    lane: Lane<Item>,
    // Up to which id everything that can ever wait has been handed to the lane.
    low: i64,
    work: FuturesUnordered<BoxFuture<'a, Done>>,
    reading: bool,
    checking: bool,
    renewing: bool,
    stop_at: Option<Instant>,
    /// When an event was met, or announced, last.
    met_at: Instant,
    read_began: Instant,
    read_at: Instant,
    send_at: Instant,
    mark_at: Option<Instant>,
    check_at: Instant,
    sweep_at: Instant,
    renew_at: Instant,
}

impl<'a> Session<'a> {
    fn new(driver: &'a Driver, tenure: &'a dyn Tenure) -> Self {
        let config = &driver.config;
        let batch = config.batch.saturating_mul(tenure.buckets()).min(config.batch.max(LANE_BATCH));
        let limits = Limits { batch, max_attempts: config.max_attempts, parked: config.parked, retry: config.retry };
        let now = Instant::now();
        Self {
            driver,
            tenure,
            batch,
            lane: Lane::new(limits),
            low: i64::MIN,
            work: FuturesUnordered::new(),
            reading: false,
            checking: false,
            renewing: false,
            stop_at: None,
            met_at: now,
            read_began: now,
            read_at: now,
            send_at: now,
            mark_at: None,
            check_at: now,
            sweep_at: now + config.sweep,
            renew_at: now + config.lease / 3,
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop_at.is_some()
    }

    /// Whether a stopping session has nothing left in flight, or no time left. A renewal that arrives after the lane was given
    /// up would hold it for another lease.
    fn is_drained(&self) -> bool {
        let is_idle = self.lane.is_settled() && !self.renewing;
        self.stop_at.is_some_and(|limit| is_idle || Instant::now() >= limit)
    }

    /// Starts all that may start now.
    fn start(&mut self) {
        let now = Instant::now();
        if !self.is_stopping() {
            self.start_checks(now);
            self.start_read(now);
            self.start_batch(now);
        }
        self.start_marks(now);
        if now >= self.renew_at && !self.renewing {
            self.renewing = true;
            let (tenure, now, lease) = (self.tenure, self.driver.clock.now(), self.driver.config.lease);
            let water = self.water(true);
            self.work.push(Box::pin(async move { Done::Renewed(tenure.renew(water, now, lease).await) }));
        }
    }

    fn start_checks(&mut self, now: Instant) {
        let driver = self.driver;
        if now >= self.check_at && !self.checking {
            self.checking = true;
            self.check_at = now + driver.config.refresh;
            let tenure = self.tenure;
            self.work.push(Box::pin(async move { Done::Held(tenure.parked().await) }));
        }
        if now >= self.sweep_at {
            self.sweep_at = now + driver.config.sweep;
            if self.tenure.sweep() {
                self.lane.sweep();
            }
            self.read_at = self.read_at.min(now);
        }
    }

    fn start_read(&mut self, now: Instant) {
        if self.reading || now < self.read_at {
            return;
        }
        let Some(whence) = self.lane.next_read() else { return };
        if let Whence::From(id) = whence {
            self.low = self.low.min(id.saturating_sub(1));
        }
        self.reading = true;
        self.read_began = now;
        let (tenure, batch, limit) = (self.tenure, self.driver.config.batch, self.batch);
        self.work.push(Box::pin(async move { Done::Read(whence, tenure.read(whence, batch, limit).await) }));
    }

    fn start_batch(&mut self, now: Instant) {
        if now < self.send_at {
            return;
        }
        let batch = self.lane.next_batch();
        if batch.is_empty() {
            return;
        }
        let driver = self.driver;
        self.work.push(Box::pin(async move { Done::Produced(produce(driver, batch).await) }));
    }

    fn start_marks(&mut self, now: Instant) {
        let due = self.is_stopping() || self.lane.marks_are_urgent() || self.mark_at.is_some_and(|at| now >= at);
        if !due {
            return;
        }
        if let Some(marks) = self.lane.take_marks() {
            self.mark_at = None;
            let water = self.water(false);
            self.push_marks(marks, water, Duration::ZERO);
        }
    }

    /// How far this lane has come: its floor is below everything that is not published, or not yet written as such.
    fn water(&self, with_marks: bool) -> Water {
        let floor = self.lane.floor(with_marks).map_or(i64::MAX, |id| id.saturating_sub(1));
        Water { low: self.low, floor }
    }

    fn push_marks(&mut self, marks: Marks, water: Water, after: Duration) {
        let (driver, tenure) = (self.driver, self.tenure);
        self.work.push(Box::pin(async move {
            if !after.is_zero() {
                sleep(after).await;
            }
            let outcome = tenure.mark(&marks, water, driver.clock.now(), driver.config.lease).await;
            Done::Marked(marks, water, outcome)
        }));
    }

    /// When to look again although nothing has ended: the next moment that is still ahead. What is already due waits for
    /// something to end.
    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let moments = [
            Some(self.read_at),
            Some(self.send_at),
            self.mark_at,
            Some(self.check_at),
            Some(self.sweep_at),
            Some(self.renew_at),
            self.stop_at,
        ];
        let ahead = moments.into_iter().flatten().filter(|at| *at > now).min();
        ahead.unwrap_or(now + self.driver.config.refresh)
    }

    fn hinted(&mut self) {
        self.met_at = Instant::now();
        self.read_at = self.read_at.min((self.read_began + DEBOUNCE).max(Instant::now()));
    }

    fn take_in(&mut self, done: Done) -> Option<End> {
        match done {
            Done::Read(whence, outcome) => self.on_read(whence, outcome),
            Done::Produced(verdicts) => self.on_produced(verdicts),
            Done::Marked(marks, water, outcome) => return self.on_marked(marks, water, outcome),
            Done::Held(outcome) => self.on_held(outcome),
            Done::Retries(asked, outcome) => self.on_retries(&asked, outcome),
            Done::Renewed(outcome) => return self.on_renewed(outcome),
        }
        None
    }

    fn on_read(&mut self, whence: Whence, outcome: Result<Read, Error>) {
        self.reading = false;
        let config = &self.driver.config;
        let now = Instant::now();
        let read = match outcome {
            Ok(read) => read,
            Err(error) => {
                self.driver.complain(&error, "reading the outbox failed");
                self.lane.on_read_failed(whence);
                self.read_at = now + config.retry.cap.min(config.poll_last);
                return;
            }
        };
        if read.more || read.met > 0 {
            self.met_at = now;
        }
        let rest = (now - self.read_began) * REST;
        let pause = ((now - self.met_at) / QUIET).max(config.poll_first).max(rest).min(config.poll_last);
        self.read_at = match (read.more, read.met) {
            (true, _) => now,
            (false, 0) => now + jitter(pause),
            // After a part of a batch the next looks are soon and get rarer.
            (false, _) => now + pause,
        };
        self.driver.metrics.events.increment(read.met as u64);
        let entries = read.rows.into_iter().map(|row| entry(&self.driver.name, row)).collect();
        let found = self.lane.on_read(entries) + read.missed;
        if !self.lane.will_rewind() {
            self.low = read.low;
        }
        if found > 0 {
            self.driver.metrics.missed.increment(found as u64);
            tracing::warn!(source = self.driver.name, found, "events waited behind the relay's position");
        }
    }

    fn on_produced(&mut self, verdicts: Vec<Verdict>) {
        let driver = self.driver;
        let outcome = self.lane.on_produced(verdicts, driver.clock.now(), fastrand::u64(..));
        driver.count_published(&outcome.published);
        driver.metrics.failed.increment((outcome.refused + outcome.failed) as u64);
        let now = Instant::now();
        if let Some(pause) = outcome.pause {
            self.send_at = now + pause;
        }
        self.schedule_marks(now);
    }

    fn schedule_marks(&mut self, now: Instant) {
        if self.lane.has_marks() && self.mark_at.is_none() {
            self.mark_at = Some(now + self.driver.config.mark_delay);
        }
    }

    fn on_marked(&mut self, marks: Marks, water: Water, outcome: Result<Option<i64>, Error>) -> Option<End> {
        match outcome {
            Ok(lowered) => {
                let now = Instant::now();
                self.renew_at = now + self.driver.config.lease / 3;
                self.lane.on_marked();
                if let Some(from) = lowered {
                    self.lane.rewind_from(from);
                }
                self.schedule_marks(now);
            }
            Err(Error::Fenced { .. }) => return Some(End::Fenced),
            Err(error) => {
                self.driver.complain(&error, "marking published events failed");
                self.push_marks(marks, water, self.driver.config.retry.ceiling(3));
            }
        }
        None
    }

    fn on_held(&mut self, outcome: Result<Vec<Parked>, Error>) {
        self.checking = false;
        let parked = match outcome {
            Ok(parked) => parked,
            Err(error) => return self.driver.complain(&error, "looking at held aggregates failed"),
        };
        let now = self.driver.clock.now();
        let known: Vec<_> = parked
            .into_iter()
            .map(|parked| Known {
                aggregate: (parked.aggregate_type, parked.aggregate_id),
                event: parked.event,
                attempts: parked.attempts,
                due: parked.dead_at.is_none() && parked.next_attempt_at <= now,
            })
            .collect();
        let due = self.lane.refresh(&known);
        if !due.is_empty() {
            self.checking = true;
            let tenure = self.tenure;
            self.work.push(Box::pin(async move {
                let rows = tenure.read_events(&due).await;
                Done::Retries(due, rows)
            }));
        }
    }

    fn on_retries(&mut self, asked: &[i64], outcome: Result<Vec<Row>, Error>) {
        self.checking = false;
        match outcome {
            Ok(rows) => {
                let entries = rows.into_iter().map(|row| entry(&self.driver.name, row)).collect();
                self.lane.on_retries(asked, entries);
            }
            Err(error) => self.driver.complain(&error, "reading held events failed"),
        }
    }

    fn on_renewed(&mut self, outcome: Result<Option<i64>, Error>) -> Option<End> {
        self.renewing = false;
        let lease = self.driver.config.lease;
        match outcome {
            Ok(lowered) => {
                self.renew_at = Instant::now() + lease / 3;
                if let Some(from) = lowered {
                    self.lane.rewind_from(from);
                }
            }
            Err(Error::Fenced { .. }) => return Some(End::Fenced),
            Err(error) => {
                self.driver.complain(&error, "renewing the outbox's lane failed");
                self.renew_at = Instant::now() + lease / 10;
            }
        }
        None
    }

    /// Gives the lane up, so that the next relay need not wait for the lease to end.
    async fn give_up(self) {
        drop(self.work);
        match self.tenure.give_up(self.driver.clock.now()).await {
            Ok(()) | Err(Error::Fenced { .. }) => {}
            Err(error) => self.driver.complain(&error, "giving up a lane of the outbox failed"),
        }
    }
}

/// Between three quarters and five quarters, so that many relays do not look at once.
fn jitter(pause: Duration) -> Duration {
    pause * 3 / 4 + pause.mul_f64(fastrand::f64() / 2.0)
}
