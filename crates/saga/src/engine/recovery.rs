//! Takes up what a former owner, or this one before a crash, left unsettled. One saga that cannot be read delays no other.

use std::sync::Arc;
use std::time::Duration;

use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, ErrorKind, SagaId};

use super::core::Core;
use super::running::{Baggage, Made, Place, Running, When};
use super::sealed;
use super::tenure::Tenure;
use crate::Error;
use crate::journal::{self, History, Row};
use crate::machine::{Entry, Input, Output, Saga, Status};

/// Sagas read at once.
pub(super) const PAGE: u32 = 500;

/// The pauses while the journal does not answer.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_secs(1) };

/// Whether a lane that cannot be read is tried again until it can, or is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    None,
    Endless,
}

impl Core {
    /// Takes up all unsettled sagas of the lane; answers how many, and how many could not be. There are no more of them
    /// than the bound in flight of the node that ran them: what is above that waits in the queue.
    ///
    /// Nothing else may come into the lane meanwhile: a saga that came and ended between two of these statements would be
    /// taken up as it was. So it is not the home yet. For the same reason a page is never read twice, whatever fails.
    pub(super) async fn recover(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        patience: Patience,
    ) -> Result<(usize, usize), Error> {
        let (mut taken, mut poisoned, mut after, mut failures) = (0, 0, 0, 0);
        loop {
            let rows = match self.journal.unsettled(tenure.owner.id, after, PAGE).await {
                Ok(rows) => rows,
                Err(error) if patience == Patience::None || tenure.is_lost() => return Err(error),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, lane = tenure.owner.id, "a lane cannot be read: it is tried again");
                    tokio::time::sleep(BACKOFF.pause(failures, fastrand::u64(..))).await;
                    continue;
                }
            };
            let Some(last) = rows.last() else { break };
            after = last.no;
            let running = self.take_up_rows(tenure, &rows).await;
            taken += running.len();
            poisoned += rows.len() - running.len();
            for running in running {
                self.admit_pending(&running);
            }
        }
        let journal::Lane { id, epoch } = tenure.owner;
        tracing::info!(lane = id, epoch, taken, poisoned, "what was unsettled is taken up");
        Ok((taken, poisoned))
    }

    /// Takes these sagas of the lane into memory; those that cannot be are reported and left out. Goes on until the journal
    /// has answered, or the lane is lost.
    pub(super) async fn take_up_rows(self: &Arc<Self>, tenure: &Arc<Tenure>, rows: &[Row]) -> Vec<Arc<Running>> {
        let mut running = Vec::with_capacity(rows.len());
        if rows.is_empty() {
            return running;
        }
        self.know_definitions(tenure, rows).await;
        let histories = self.read_histories(tenure, rows).await;
        for (row, history) in rows.iter().zip(&histories) {
            match self.take_up(tenure, row, history.as_ref()) {
                Ok(it) => running.push(it),
                Err(_) if tenure.is_lost() => {}
                Err(error) => {
                    self.metrics.invariant_broken();
                    tracing::error!(saga.id = %row.id, %error, "the saga cannot be taken up: it rests until its cause is mended");
                }
            }
        }
        running
    }

    async fn read_histories(&self, tenure: &Tenure, rows: &[Row]) -> Vec<Option<History>> {
        let mut failures = 0;
        loop {
            let error = match self.journal.histories(rows).await {
                Ok(histories) => return histories,
                Err(error) => error,
            };
            if tenure.is_lost() {
                return vec![None; rows.len()];
            }
            if error.kind() != ErrorKind::Transient {
                tracing::error!(%error, "histories cannot be read together: they are read one by one");
                break;
            }
            failures += 1;
            tokio::time::sleep(BACKOFF.pause(failures, fastrand::u64(..))).await;
        }
        let mut histories = Vec::with_capacity(rows.len());
        for row in rows {
            let one = self.journal.histories(std::slice::from_ref(row)).await;
            histories.push(one.ok().and_then(|one| one.into_iter().next()).flatten());
        }
        histories
    }

    /// A definition may have been uploaded at another node a moment ago. Goes on until the journal has answered, or the lane
    /// is lost: a saga must not be taken for unreadable because the journal is away.
    async fn know_definitions(&self, tenure: &Tenure, rows: &[Row]) {
        let mut failures = 0;
        while rows.iter().any(|row| self.registry.find(&row.definition, Some(row.version)).is_none()) {
            match self.registry.load(&*self.journal, &self.participants).await {
                Err(error) if error.kind() == ErrorKind::Transient && !tenure.is_lost() => {
                    failures += 1;
                    tokio::time::sleep(BACKOFF.pause(failures, fastrand::u64(..))).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "definitions could not be read");
                    return;
                }
                Ok(()) => return,
            }
        }
    }

    /// Takes a saga into memory for an operator's act: one that is parked, or one in the queue. `None` where it is neither,
    /// or there is none.
    pub(super) async fn adopt(self: &Arc<Self>, id: SagaId) -> Result<Option<Arc<Running>>, Error> {
        let home = self.firm_home().ok_or_else(super::admission::away)?;
        let adopted = self.journal.adopt(home.owner, id).await;
        if adopted.is_err() {
            self.backlog.set_unheard();
        }
        let Some(row) = adopted? else { return Ok(None) };
        self.know_definitions(&home, std::slice::from_ref(&row)).await;
        let histories = self.read_histories(&home, std::slice::from_ref(&row)).await;
        self.take_up(&home, &row, histories.first().and_then(Option::as_ref)).map(Some)
    }

    /// A saga that was taken up before it was admitted: its place is taken already. One that is still being written into the
    /// queue stays pending there, as all are.
    pub(super) fn admit_pending(self: &Arc<Self>, running: &Arc<Running>) {
        let pending = {
            let inner = running.lock();
            inner.saga.status() == Status::Pending && inner.place != Place::Queued
        };
        if pending {
            self.feed(running, Input::Admit);
        }
    }

    /// Takes a saga into memory in the place of whatever is there. A client may have repeated the start of the saga here a
    /// moment before: that start would keep the place until the journal has said that it is known, and leave the saga in
    /// nobody's memory.
    fn take_up(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        row: &Row,
        history: Option<&History>,
    ) -> Result<Arc<Running>, Error> {
        loop {
            if let Some(running) = self.running(row.id) {
                // Also a start that was claimed before its commit was heard of.
                if running.keep() && Arc::ptr_eq(&running.tenure, tenure) {
                    return Ok(running);
                }
                self.withdraw(&running);
            }
            let (running, output) = self.rebuild(tenure, row, history)?;
            if self.begin(&running, output, None).is_ok() {
                return Ok(running);
            }
        }
    }

    /// The saga as its journal tells it, and what is to be done first.
    fn rebuild(
        &self,
        tenure: &Arc<Tenure>,
        row: &Row,
        history: Option<&History>,
    ) -> Result<(Arc<Running>, Output), Error> {
        let corrupt = |what: String| Error::Corrupt(format!("saga {}: {what}", row.id));
        let history = history.ok_or_else(|| corrupt("its payload or its journal is missing".to_owned()))?;
        let loaded = self
            .registry
            .find(&row.definition, Some(row.version))
            .ok_or_else(|| corrupt(format!("definition {} {} is missing", row.definition, row.version)))?;
        let mut input = serde_json::from_str(&history.input).map_err(|error| corrupt(format!("input: {error}")))?;
        let baggage: Baggage =
            serde_json::from_str(&history.context).map_err(|error| corrupt(format!("context: {error}")))?;
        sealed::open(&self.keyring, row.id, &mut input, &baggage.sealed, history.key.as_deref())
            .map_err(|fault| corrupt(fault.to_string()))?;
        let entries = entries(history).map_err(|error| corrupt(format!("journal: {error}")))?;
        let id_text = row.id.to_string();
        let conditions = When { loaded: &loaded, input: &input, saga: &id_text };
        let (saga, output) = Saga::recover(&loaded.plan, &conditions, &entries, self.clock.now(), fastrand::u64(..))
            .map_err(|error| corrupt(error.to_string()))?;
        let (id, started_at, tenure) = (row.id, row.started_at, Arc::clone(tenure));
        let made = Made { id, tenure, loaded, input, baggage, started_at, calm_since: None, queued: false };
        let running = Arc::new(Running::new(made, saga));
        running.lock().ended_at = row.head.ended_at;
        let last = history.commits.last().map_or(0, |commit| commit.seq);
        running.tenure.lane.adopt(row.id, row.no, row.started_at, last);
        Ok((running, output))
    }
}

/// All entries of a history, in order.
pub(super) fn entries(history: &History) -> Result<Vec<Entry>, serde_json::Error> {
    let mut entries = Vec::new();
    for commit in &history.commits {
        entries.extend(serde_json::from_str::<Vec<Entry>>(&commit.entries)?);
    }
    Ok(entries)
}
