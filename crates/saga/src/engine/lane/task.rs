//! The lane's task: one commit after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, Clock, ErrorKind};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::choice::Choice;
use super::queue::Rider;
use super::{Listener, Shared};
use crate::Error;
use crate::journal::{Batch, Journal, Lane};
use crate::metrics::Metrics;

/// The pauses while the journal is away.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_secs(1) };

pub(super) struct Task {
    shared: Arc<Shared>,
    journal: Arc<dyn Journal>,
    owner: Lane,
    clock: Arc<dyn Clock>,
    listener: Arc<dyn Listener>,
    metrics: Metrics,
    closing: CancellationToken,
    /// Commits in a row that failed.
    failures: u32,
}

/// Rows that are committed together.
struct Group {
    batch: Batch,
    riders: Vec<Rider>,
}

/// What an error of the journal means to the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// The lane is another's.
    Fenced,
    /// It may go well the next time.
    Away,
    /// It will fail as long as this row is part of it.
    Fault,
}

/// Whether the task goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Stop,
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        journal: Arc<dyn Journal>,
        owner: Lane,
        clock: Arc<dyn Clock>,
        listener: Arc<dyn Listener>,
        metrics: Metrics,
        closing: CancellationToken,
    ) -> Self {
        Self { shared, journal, owner, clock, listener, metrics, closing, failures: 0 }
    }

    pub(super) async fn run(mut self) {
        loop {
            let closing = self.closing.is_cancelled();
            let (known, choice) = {
                let mut queue = self.shared.queue();
                if closing {
                    queue.force();
                }
                (queue.take_known(), queue.choose(Instant::now(), &self.shared.bounds))
            };
            if !known.is_empty() {
                self.listener.committed(&known);
            }
            let until = match choice {
                Choice::Commit(tickets) => {
                    let riders = self.shared.queue().take(&tickets);
                    if self.commit(riders).await == Flow::Stop {
                        return;
                    }
                    let below = self.shared.queue().done_below();
                    self.shared.progress.send_modify(|progress| progress.below = below);
                    // Whom the commit has woken may have something for the next one.
                    tokio::task::yield_now().await;
                    continue;
                }
                _ if closing => return,
                Choice::Until(moment) => Some(moment),
                Choice::Nothing => None,
            };
            self.rest(until).await;
        }
    }

    /// Until somebody has something, or until the age of what waits has come.
    async fn rest(&self, until: Option<Instant>) {
        // A flush may wait for nothing at all.
        let below = self.shared.queue().done_below();
        self.shared.progress.send_if_modified(|progress| std::mem::replace(&mut progress.below, below) != below);
        let age = async {
            match until {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shared.wake.notified() => {}
            () = age => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// Commits the riders, together if possible.
    async fn commit(&mut self, riders: Vec<Rider>) -> Flow {
        let mut groups = VecDeque::from([self.group(riders)]);
        while let Some(mut group) = groups.pop_front() {
            if group.riders.is_empty() {
                continue;
            }
            match self.append(&mut group.batch).await {
                Ok(outcomes) => {
                    self.metrics.committed();
                    let report = self.shared.queue().committed(&group.riders, &outcomes);
                    self.listener.committed(&report);
                }
                Err((Severity::Fault, error)) if group.riders.len() > 1 => {
                    tracing::warn!(%error, rows = group.riders.len(), "a commit cannot be written: its sagas go one by one");
                    groups.extend(group.divide());
                }
                Err((Severity::Fault, error)) => self.leave_out(&group.riders, &error),
                Err((Severity::Fenced, error)) => {
                    self.listener.fenced(&error);
                    return Flow::Stop;
                }
                // Closing while the journal is away.
                Err((Severity::Away, _)) => return Flow::Stop,
            }
        }
        Flow::On
    }

    fn group(&self, riders: Vec<Rider>) -> Group {
        let mut rows = Vec::with_capacity(riders.len());
        let mut written = Vec::with_capacity(riders.len());
        for mut rider in riders {
            match rider.write() {
                Ok(row) => {
                    rows.push(row);
                    written.push(rider);
                }
                Err(error) => {
                    let error = Error::Corrupt(format!("saga {}: its entries are no JSON: {error}", rider.id()));
                    self.leave_out(&[rider], &error);
                }
            }
        }
        let batch = Batch { lane: self.owner, at: self.clock.now(), rows, again: false };
        Group { batch, riders: written }
    }

    /// Appends until it stands or trying again is of no use. Never given up in the middle: a commit that was cancelled
    /// may have been written.
    async fn append(&mut self, batch: &mut Batch) -> Result<Vec<crate::journal::Appended>, (Severity, Error)> {
        loop {
            let error = match self.journal.append(batch).await {
                Ok(outcomes) => {
                    self.end_failing();
                    return Ok(outcomes);
                }
                Err(error) => error,
            };
            let severity = severity(&error);
            if severity != Severity::Away {
                if severity == Severity::Fault {
                    self.end_failing();
                }
                return Err((severity, error));
            }
            // It may have been written all the same.
            batch.again = true;
            self.failures += 1;
            if self.failures == 1 {
                self.listener.failing(&error);
            }
            let pause = tokio::time::sleep(BACKOFF.pause(self.failures, fastrand::u64(..)));
            if self.closing.run_until_cancelled(pause).await.is_none() {
                return Err((severity, error));
            }
        }
    }

    fn end_failing(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            self.listener.recovered();
        }
    }

    fn leave_out(&self, riders: &[Rider], error: &Error) {
        for rider in riders {
            self.metrics.invariant_broken();
            self.shared.queue().bury(rider.id());
            self.listener.stuck(rider.id(), error);
        }
    }
}

impl Group {
    /// One group for each row. The rows may stand, for all we know.
    fn divide(self) -> impl Iterator<Item = Self> {
        let Batch { lane, at, rows, .. } = self.batch;
        let each = rows.into_iter().zip(self.riders);
        each.map(move |(row, rider)| Self {
            batch: Batch { lane, at, rows: vec![row], again: true },
            riders: vec![rider],
        })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.shared.queue().clear();
        self.shared.progress.send_modify(|progress| progress.stopped = true);
        if std::thread::panicking() {
            self.listener.fenced(&Error::Corrupt("the task that writes the journal has died".to_owned()));
        }
    }
}

pub(super) fn severity(error: &Error) -> Severity {
    match error {
        Error::Fenced { .. } => Severity::Fenced,
        // A sink's error says nothing of its kind: only a database's below it can be hoped to pass.
        Error::Sink(error) => match database(&**error) {
            Some(ErrorKind::Transient) => Severity::Away,
            _ => Severity::Fault,
        },
        error if error.kind() == ErrorKind::Transient => Severity::Away,
        _ => Severity::Fault,
    }
}

/// The kind of the database's error among the causes.
fn database(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<steadfast_db::Error>() {
            return Some(error.kind());
        }
        if let Some(error) = error.downcast_ref::<sqlx::Error>() {
            let constraint = error.as_database_error().is_some_and(|db| db.kind() != sqlx::error::ErrorKind::Other);
            return Some(if constraint { ErrorKind::Conflict } else { ErrorKind::Transient });
        }
        cause = error.source();
    }
    None
}
