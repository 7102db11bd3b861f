//! Takes up what a former owner, or this one before a crash, left unsettled. One saga that cannot be read delays no other.

use std::sync::Arc;

use steadfast_core::SagaId;

use super::core::Core;
use super::running::{Baggage, Running, When};
use super::sealed;
use crate::Error;
use crate::journal::{History, Row};
use crate::machine::{Entry, Saga, Status};

/// Sagas read at once.
const PAGE: u32 = 500;

impl Core {
    /// Takes up all unsettled sagas of the lane; answers how many, and how many could not be.
    pub(super) async fn recover(self: &Arc<Self>, lane: i64) -> Result<(usize, usize), Error> {
        let (mut taken, mut poisoned, mut after) = (0, 0, 0);
        loop {
            let rows = self.journal.unsettled(lane, after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok((taken, poisoned)) };
            after = last.no;
            let histories = self.journal.histories(&rows).await?;
            for (row, history) in rows.iter().zip(&histories) {
                match self.take_up(row, history.as_ref()) {
                    Ok(_) => taken += 1,
                    Err(error) => {
                        poisoned += 1;
                        self.metrics.invariant_broken();
                        tracing::error!(saga.id = %row.id, %error, "the saga cannot be taken up: it rests until its cause is mended");
                    }
                }
            }
        }
    }

    /// Takes a parked saga into memory again, for an operator's act.
    pub(super) async fn reload(self: &Arc<Self>, id: SagaId) -> Result<Option<Arc<Running>>, Error> {
        let Some(row) = self.journal.find(id).await? else { return Ok(None) };
        if row.head.status.is_settled() {
            return Ok(None);
        }
        let histories = self.journal.histories(std::slice::from_ref(&row)).await?;
        self.take_up(&row, histories.first().and_then(Option::as_ref)).map(Some)
    }

    fn take_up(self: &Arc<Self>, row: &Row, history: Option<&History>) -> Result<Arc<Running>, Error> {
        if let Some(running) = self.running(row.id) {
            return Ok(running);
        }
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
        let pending = saga.status() == Status::Pending;
        let running = Arc::new(Running::new(row.id, loaded, input, baggage, row.started_at, saga));
        running.lock().ended_at = row.head.ended_at;
        if let Some(lane) = self.lane() {
            lane.adopt(row.id, row.no, row.started_at, history.commits.last().map_or(0, |commit| commit.seq));
        }
        if let Err(known) = self.begin(&running, output, None) {
            return Ok(known);
        }
        if pending {
            self.enqueue(row.id);
        }
        Ok(running)
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
