//! The lane's task: one batch after the other.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::decide::{Rows, apply, decide};
use super::{Bounds, Commit, Committed, Decided, Error, Verdict, Want};
use crate::Key;
use crate::metrics::LaneMetrics;

/// The pauses after another process was faster.
const BACKOFF: Backoff = Backoff { base: Duration::from_micros(200), cap: Duration::from_millis(20) };

/// Attempts after which a conflict is no longer taken for another process's doing.
const CONFLICTS: u32 = 4;

/// So many batches in a row without a sign of another process at the same rows, and it gets no turn any more.
const POLITE: u32 = 16;

/// Rows that are remembered between batches.
const REMEMBERED: usize = 4_096;

pub(super) async fn run<C: Commit>(
    commit: C,
    bounds: Bounds,
    mut queue: mpsc::Receiver<Want<C>>,
    closing: CancellationToken,
    metrics: LaneMetrics,
) {
    let mut lane = State { commit, bounds, rows: Rows::new(), polite: POLITE, metrics };
    let mut batch = Vec::new();
    loop {
        let taken = tokio::select! {
            biased;
            () = closing.cancelled(), if !queue.is_closed() => {
                // What waits is still received; then it ends.
                queue.close();
                continue;
            }
            taken = queue.recv_many(&mut batch, bounds.batch.max(1)) => taken,
        };
        lane.metrics.waiting.set(f64::from(u32::try_from(queue.len()).unwrap_or(u32::MAX)));
        if taken == 0 {
            return;
        }
        let mut parts = VecDeque::from([std::mem::take(&mut batch)]);
        while let Some(part) = parts.pop_front() {
            if let Some([front, back]) = lane.work(part).await {
                parts.push_front(back);
                parts.push_front(front);
            }
        }
        if lane.rows.len() > REMEMBERED {
            lane.rows.clear();
        }
    }
}

struct State<C> {
    commit: C,
    bounds: Bounds,
    rows: Rows,
    /// Batches without a sign of another process after which none is thought to be at these rows. A lane begins with all
    /// of them: where a row is hot, other processes have opened a lane for it too.
    polite: u32,
    metrics: LaneMetrics,
}

impl<C: Commit> State<C> {
    /// Brings a batch to its end; what is given back is to be tried in two parts.
    async fn work(&mut self, mut batch: Vec<Want<C>>) -> Option<[Vec<Want<C>>; 2]> {
        for attempt in 1..=self.bounds.attempts.max(1) {
            if batch.is_empty() {
                return None;
            }
            let begun = Instant::now();
            let keys = if self.polite > 0 { keys(&batch) } else { BTreeSet::new() };
            let error = match once(&self.commit, &mut self.rows, &batch).await {
                Ok(Step::Done(verdicts)) => {
                    self.metrics.batches.increment(1);
                    for (want, verdict) in batch.into_iter().zip(verdicts) {
                        match verdict {
                            Verdict::Taken(_) => self.metrics.taken.increment(1),
                            Verdict::Refused(_) => self.metrics.refused.increment(1),
                        }
                        // Who no longer waits has gone away; what was taken stands.
                        want.answer.send(Ok(verdict)).ok();
                    }
                    self.leave_a_turn(begun, keys).await;
                    return None;
                }
                Ok(Step::Known(known)) => {
                    self.metrics.known.increment(known.len() as u64);
                    batch = hand_back(batch, &known);
                    continue;
                }
                Ok(Step::Stale) => {
                    self.metrics.stale.increment(1);
                    None
                }
                Err(error) => Some(error),
            };
            // Whatever was known of the rows is old.
            forget(&mut self.rows, &batch);
            match error {
                None => {}
                Some(error) if error.kind() == ErrorKind::Conflict && attempt < CONFLICTS => {}
                // A database that is away is away for each of them.
                Some(error) if batch.len() == 1 || error.kind() == ErrorKind::Transient => {
                    self.metrics.failed.increment(batch.len() as u64);
                    fail(batch, error);
                    return None;
                }
                Some(_) => {
                    let back = batch.split_off(batch.len() / 2);
                    return Some([batch, back]);
                }
            }
            self.polite = POLITE;
            tokio::time::sleep(BACKOFF.pause(attempt, fastrand::u64(..))).await;
        }
        self.metrics.failed.increment(batch.len() as u64);
        for want in batch {
            want.answer.send(Err(Error::Contended)).ok();
        }
        None
    }

    /// Who has just won would win again, since it knows the rows: another process gets the time of one batch, and then it is
    /// looked whether it was there. Whoever only counted its own defeats would stop leaving turns just because it always wins.
    async fn leave_a_turn(&mut self, begun: Instant, keys: BTreeSet<Key>) {
        if keys.is_empty() {
            return;
        }
        tokio::time::sleep(begun.elapsed()).await;
        let keys: Vec<Key> = keys.into_iter().collect();
        // What a read does not tell, the next batch's own will.
        let seen = self.commit.read(&keys).await.unwrap_or_default();
        let mut moved = false;
        for (key, seen) in keys.into_iter().zip(seen) {
            moved |= self.rows.get(&key).is_some_and(|known| *known != seen);
            if seen.is_some() {
                self.rows.insert(key, seen);
            }
        }
        self.polite = if moved { POLITE } else { self.polite.saturating_sub(1) };
    }
}

/// Answers the wants that are known; the others are given back.
fn hand_back<C: Commit>(batch: Vec<Want<C>>, known: &[usize]) -> Vec<Want<C>> {
    let known: BTreeSet<usize> = known.iter().copied().collect();
    let mut rest = Vec::with_capacity(batch.len());
    for (place, want) in batch.into_iter().enumerate() {
        if known.contains(&place) {
            want.answer.send(Err(Error::Known)).ok();
        } else {
            rest.push(want);
        }
    }
    rest
}

enum Step {
    Done(Vec<Verdict>),
    Stale,
    Known(Vec<usize>),
}

async fn once<C: Commit>(commit: &C, rows: &mut Rows, batch: &[Want<C>]) -> Result<Step, C::Error> {
    let keys: Vec<Key> = keys(batch).into_iter().filter(|key| !rows.contains_key(key)).collect();
    if !keys.is_empty() {
        let seen = commit.read(&keys).await?;
        rows.extend(keys.into_iter().zip(seen));
    }
    let (verdicts, sums) = decide(rows, batch.iter().map(|want| &want.amounts));
    let decided: Vec<_> = batch
        .iter()
        .zip(&verdicts)
        .map(|(want, verdict)| Decided { payload: &want.payload, amounts: &want.amounts, verdict })
        .collect();
    Ok(match commit.commit(&sums, &decided).await? {
        Committed::All => {
            apply(rows, &sums);
            // A row that was not there may be there the next time.
            rows.retain(|_, seen| seen.is_some());
            Step::Done(verdicts)
        }
        Committed::Stale => Step::Stale,
        Committed::Known(known) => Step::Known(known),
    })
}

/// The rows that a batch is about.
fn keys<C: Commit>(batch: &[Want<C>]) -> BTreeSet<Key> {
    batch.iter().flat_map(|want| want.amounts.keys()).cloned().collect()
}

fn forget<C: Commit>(rows: &mut Rows, batch: &[Want<C>]) {
    for key in keys(batch) {
        rows.remove(&key);
    }
}

fn fail<C: Commit>(batch: Vec<Want<C>>, error: C::Error) {
    let error = Arc::new(error);
    for want in batch {
        want.answer.send(Err(Error::Failed(Arc::clone(&error)))).ok();
    }
}
