//! One batch, one transaction: read model, sequences, parking and checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use steadfast_bus::Partition;
use steadfast_core::{Classified, Clock, ErrorKind, Timestamp};

use crate::batch::{self, Batch, Decoded};
use crate::error::chain;
use crate::fold::{Folded, Rules, fold};
use crate::metrics::{Metrics, Tally};
use crate::ordering::GapPolicy;
use crate::store::{SkipRow, Store};
use crate::{Error, Projection, Status, Subscription, Upcasters};

/// Aggregates that one sweep looks at.
const SWEEP_LIMIT: u32 = 100;

/// What a runner knows of its read database.
pub(crate) struct Desk<S: Store> {
    pub(crate) db: S,
    pub(crate) projection: Arc<dyn Projection<S::Sql>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gaps: GapPolicy,
    pub(crate) id: i64,
    pub(crate) subscription: Subscription,
    pub(crate) upcasters: Upcasters,
    pub(crate) metrics: Metrics,
    pub(crate) status: Status,
    /// Of the partitions that the runner reads the next offset, as committed; of one that has no checkpoint yet, the first
    /// that came.
    pub(crate) positions: BTreeMap<Partition, i64>,
    /// Partitions that have a checkpoint.
    pub(crate) recorded: BTreeSet<Partition>,
    /// Whether the last batch had an event that failed: the next one finds out which.
    pub(crate) careful: bool,
    /// When the oldest event of a batch that failed was written.
    pub(crate) pending: Option<Timestamp>,
}

impl<S: Store> Desk<S> {
    /// Keeps and tells what went wrong.
    pub(crate) fn note(&mut self, error: &Error, now: Timestamp) {
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

    /// Reads the checkpoints of these partitions, as far as there are any.
    pub(crate) async fn look_up(&mut self, owned: &BTreeSet<Partition>) -> Result<(), Error> {
        for (partition, position) in self.db.positions(self.id).await? {
            if owned.contains(&partition) {
                self.recorded.insert(partition.clone());
                self.positions.insert(partition, position);
            }
        }
        Ok(())
    }

    /// Forgets a partition: what is known of it is stale when it comes back.
    pub(crate) fn forget(&mut self, partition: &Partition) {
        self.positions.remove(partition);
        self.recorded.remove(partition);
    }

    /// Commits what was delivered: read model, sequences, parking and checkpoint in one transaction.
    pub(crate) async fn commit(&mut self, decoded: Vec<Decoded>) -> Result<Tally, Error> {
        let Batch { events, unreadable, moves } = batch::read(decoded, &self.positions);
        if moves.is_empty() {
            return Ok(Tally::default());
        }
        let first: Vec<_> = (moves.iter().filter(|one| !self.recorded.contains(&one.partition)))
            .map(|one| (one.partition.clone(), one.expected))
            .collect();
        self.positions.extend(first.iter().cloned());
        self.pending = events.iter().map(|event| event.created_at).min();
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if !self.db.fence(&mut tx, self.id, &moves, &first, now).await? {
            return Err(Error::Fenced { projection: self.projection.name().to_owned() });
        }
        if !unreadable.is_empty() {
            self.db.record_skips(&mut tx, self.id, &unreadable, now).await?;
        }
        let mut folded = fold(&self.db, &self.rules(), &mut tx, events, Vec::new(), self.careful, now).await?;
        self.db.commit(tx).await?;
        for SkipRow { place, detail, .. } in &unreadable {
            let place = place.as_ref().map(|(partition, offset)| format!("{partition} at {offset}"));
            tracing::error!(projection = self.projection.name(), place, fault = detail, "not an event");
        }
        folded.tally.poison += unreadable.len() as u64;
        self.careful = false;
        self.positions.extend(moves.iter().map(|one| (one.partition.clone(), one.next)));
        self.recorded.extend(moves.into_iter().map(|one| one.partition));
        self.show(&folded);
        Ok(folded.tally)
    }

    /// Looks at parked events for which nothing has arrived: those that an operator has moved on, and old gaps.
    pub(crate) async fn sweep(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        let before = match self.gaps {
            GapPolicy::Wait => Timestamp::from_millis(i64::MIN),
            GapPolicy::Alarm { after } | GapPolicy::Skip { after } => now - after,
        };
        let (mut parked, mut poison) = self.db.count_parked(self.id).await?;
        let mut alarms = 0;
        let due = if parked == 0 { Vec::new() } else { self.db.find_due(self.id, before, SWEEP_LIMIT).await? };
        if !due.is_empty() {
            let mut tx = self.db.begin().await?;
            let folded = fold(&self.db, &self.rules(), &mut tx, Vec::new(), due, true, now).await?;
            if folded.changed {
                self.db.commit(tx).await?;
                (parked, poison) = self.db.count_parked(self.id).await?;
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

    fn rules(&self) -> Rules<'_, S::Sql> {
        Rules {
            id: self.id,
            projection: self.projection.as_ref(),
            subscription: &self.subscription,
            upcasters: &self.upcasters,
            gaps: self.gaps,
        }
    }

    fn show(&self, folded: &Folded) {
        self.metrics.count(&folded.tally);
        if let Some(oldest) = folded.oldest {
            self.metrics.lag(self.clock.now().since(oldest));
        }
    }
}
