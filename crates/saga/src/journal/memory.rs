//! The journal in memory: for tests and for measuring what durability costs. What the process loses, it loses.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use steadfast_core::{NewEvent, SagaId, Timestamp};

use super::{
    Append, Appended, Batch, Commit, Erased, Filter, History, Journal, Lane, Put, Row, Stored, Target, is_unsettled,
};
use crate::Error;
use crate::machine::Status;

/// A journal in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    epochs: HashMap<i64, i64>,
    last: i64,
    by_id: HashMap<SagaId, i64>,
    sagas: BTreeMap<i64, Record>,
    definitions: BTreeMap<(String, u32), Stored>,
    events: Vec<NewEvent>,
}

#[derive(Debug)]
struct Record {
    lane: i64,
    row: Row,
    history: History,
}

impl Memory {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sagas' own events so far.
    pub fn events(&self) -> Vec<NewEvent> {
        self.tables().events.clone()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A panic of another holder leaves whole rows behind: each is written by one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn append(&mut self, batch: &Batch, append: &Append) -> Result<Appended, Error> {
        let commit = Commit { seq: append.seq, epoch: batch.lane.epoch, at: batch.at, entries: append.entries.clone() };
        let known = self.by_id.get(&append.target.id()).and_then(|no| self.sagas.get_mut(no));
        let stands = known.as_ref().is_some_and(|record| {
            let same = |stored: &Commit| {
                (stored.seq, stored.epoch, &stored.entries) == (commit.seq, commit.epoch, &commit.entries)
            };
            batch.again && record.history.commits.iter().any(same)
        });
        let outcome = match (&append.target, known) {
            (Target::New(_), Some(record)) if stands => return Ok(Appended::Started(record.row.no)),
            (Target::New(_), Some(_)) => return Ok(Appended::Known),
            (Target::Known { .. }, Some(_)) if stands => return Ok(Appended::Written),
            (Target::Known { id, .. }, None) => return Err(Error::Corrupt(format!("saga {id} is not in the journal"))),
            (Target::Known { .. }, Some(record)) => {
                record.history.commits.push(commit);
                record.row.head = append.head.clone();
                Appended::Written
            }
            (Target::New(new), None) => {
                self.last += 1;
                let row = Row {
                    no: self.last,
                    id: new.id,
                    definition: new.definition.clone(),
                    version: new.version,
                    business_key: new.business_key.clone(),
                    principal: new.principal.clone(),
                    started_at: new.started_at,
                    head: append.head.clone(),
                };
                let (input, context, key) = (new.input.clone(), new.context.clone(), new.key.clone());
                let history = History { input, context, key, commits: vec![commit] };
                self.by_id.insert(new.id, self.last);
                self.sagas.insert(self.last, Record { lane: batch.lane.id, row, history });
                Appended::Started(self.last)
            }
        };
        self.events.extend(append.event.clone());
        Ok(outcome)
    }

    /// What would fail must fail before anything is written.
    fn check(&self, batch: &Batch) -> Result<(), Error> {
        let found = self.epochs.get(&batch.lane.id).copied().unwrap_or(0);
        if found != batch.lane.epoch {
            return Err(Error::Fenced { lane: batch.lane.id, held: batch.lane.epoch, found });
        }
        for row in &batch.rows {
            let Target::Known { id, .. } = row.target else { continue };
            let Some(record) = self.by_id.get(&id).and_then(|no| self.sagas.get(no)) else {
                return Err(Error::Corrupt(format!("saga {id} is not in the journal")));
            };
            let last = record.history.commits.last();
            let stands = batch.again
                && last.is_some_and(|last| {
                    (last.seq, last.epoch, &last.entries) == (row.seq, batch.lane.epoch, &row.entries)
                });
            let next = last.map_or(0, |last| last.seq) + 1 == row.seq && record.lane == batch.lane.id;
            if !stands && !next {
                return Err(Error::Corrupt(format!(
                    "saga {id}: row {} of its journal stands, or is not next",
                    row.seq
                )));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for Memory {
    async fn take_lane(&self, lane: i64, now: Timestamp) -> Result<Lane, Error> {
        let mut tables = self.tables();
        let epoch = tables.epochs.entry(lane).or_default();
        *epoch = (*epoch + 1).max(now.as_millis());
        Ok(Lane { id: lane, epoch: *epoch })
    }

    async fn append(&self, batch: &Batch) -> Result<Vec<Appended>, Error> {
        let mut tables = self.tables();
        tables.check(batch)?;
        batch.rows.iter().map(|row| tables.append(batch, row)).collect()
    }

    async fn unsettled(&self, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error> {
        let tables = self.tables();
        let behind = tables.sagas.range(after.saturating_add(1)..).map(|(_, record)| record);
        let wanted = behind.filter(|record| record.lane == lane && is_unsettled(record.row.head.status));
        Ok(wanted.take(limit as usize).map(|record| record.row.clone()).collect())
    }

    async fn histories(&self, rows: &[Row]) -> Result<Vec<Option<History>>, Error> {
        let tables = self.tables();
        Ok(rows.iter().map(|row| tables.sagas.get(&row.no).map(|record| record.history.clone())).collect())
    }

    async fn erase_key(&self, id: SagaId) -> Result<Erased, Error> {
        let mut tables = self.tables();
        let no = tables.by_id.get(&id).copied();
        let Some(record) = no.and_then(|no| tables.sagas.get_mut(&no)) else { return Ok(Erased::Absent) };
        if is_unsettled(record.row.head.status) {
            return Ok(Erased::Unsettled);
        }
        Ok(if record.history.key.take().is_some() { Erased::Erased } else { Erased::Absent })
    }

    async fn find(&self, id: SagaId) -> Result<Option<Row>, Error> {
        let tables = self.tables();
        Ok(tables.by_id.get(&id).and_then(|no| tables.sagas.get(no)).map(|record| record.row.clone()))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, Error> {
        let tables = self.tables();
        let rows = tables.sagas.range(..filter.before.unwrap_or(i64::MAX)).rev().map(|(_, record)| &record.row);
        let wanted = rows.filter(|row| {
            filter.status.is_none_or(|status| row.head.status == status)
                && filter.definition.as_ref().is_none_or(|definition| row.definition == *definition)
                && filter.business_key.as_ref().is_none_or(|key| row.business_key.as_ref() == Some(key))
                && filter.since.is_none_or(|since| row.started_at >= since)
        });
        Ok(wanted.take(filter.limit as usize).cloned().collect())
    }

    async fn count_parked(&self) -> Result<i64, Error> {
        let tables = self.tables();
        Ok(tables.sagas.values().filter(|record| record.row.head.status == Status::Failed).map(|_| 1).sum())
    }

    async fn count_unarmed(&self) -> Result<i64, Error> {
        let tables = self.tables();
        let heads = tables.sagas.values().map(|record| &record.row.head);
        Ok(heads.filter(|head| is_unsettled(head.status) && head.wake_at.is_none() && !head.held).map(|_| 1).sum())
    }

    async fn put_definition(&self, stored: &Stored) -> Result<Put, Error> {
        let mut tables = self.tables();
        let key = (stored.name.clone(), stored.version);
        Ok(match tables.definitions.get(&key) {
            Some(known) if known.hash == stored.hash => Put::Same,
            Some(_) => Put::Differs,
            None => {
                tables.definitions.insert(key, stored.clone());
                Put::Added
            }
        })
    }

    async fn definitions(&self) -> Result<Vec<Stored>, Error> {
        Ok(self.tables().definitions.values().cloned().collect())
    }
}
