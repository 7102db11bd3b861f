//! The journal in memory: for tests and for measuring what durability costs. What the process loses, it loses.
//!
//! Several engines of one process can share it, each with lanes of its own. It has no clock: leases are counted by the
//! callers'.

mod lanes;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use steadfast_core::{NewEvent, SagaId, Timestamp};
use tokio::sync::Notify;

use super::{
    Append, Appended, Attend, Attendance, Batch, Commit, Erased, Filter, Head, History, Hold, Journal, Lane, Put,
    QUEUE, Row, Stored, Target, is_unsettled,
};
use crate::Error;
use crate::machine::Status;

use self::lanes::{Held, Leader, Sent};

/// After this long nobody waits for the answer to a command.
const COMMAND_AGE: Duration = Duration::from_hours(1);

/// A journal in memory.
#[derive(Debug, Default)]
pub struct Memory {
    tables: Mutex<Tables>,
    hint: Notify,
}

#[derive(Debug, Default)]
struct Tables {
    lanes: BTreeMap<i64, Held>,
    leader: Option<Leader>,
    last: i64,
    by_id: HashMap<SagaId, i64>,
    sagas: BTreeMap<i64, Record>,
    last_command: i64,
    commands: BTreeMap<i64, Sent>,
    definitions: BTreeMap<(String, u32), Stored>,
    events: Vec<NewEvent>,
}

#[derive(Debug)]
struct Record {
    /// None once it rests, until an operator takes it up.
    lane: Option<i64>,
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
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lane of a saga whose journal folds to this.
fn lane_of(head: &Head, lane: i64) -> Option<i64> {
    is_unsettled(head.status).then_some(lane)
}

impl Record {
    /// Whether it is in the lane, or rests and nobody has written it since the writer did.
    fn is_open_to(&self, batch: &Batch, append: &Append) -> bool {
        self.lane == Some(batch.lane.id) || (self.lane.is_none() && self.next() == append.seq)
    }

    fn next(&self) -> i64 {
        self.history.commits.last().map_or(0, |last| last.seq) + 1
    }

    fn stands(&self, batch: &Batch, append: &Append) -> bool {
        let same = |stored: &Commit| {
            (stored.seq, stored.epoch, &stored.entries) == (append.seq, batch.lane.epoch, &append.entries)
        };
        batch.again && self.history.commits.iter().any(same)
    }
}

impl Tables {
    fn append(&mut self, batch: &Batch, append: &Append) -> Appended {
        let commit = Commit { seq: append.seq, epoch: batch.lane.epoch, at: batch.at, entries: append.entries.clone() };
        let known = self.by_id.get(&append.target.id()).and_then(|no| self.sagas.get_mut(no));
        let outcome = match (&append.target, known) {
            (Target::New(_), Some(record)) if record.stands(batch, append) => return Appended::Started(record.row.no),
            (Target::New(_), Some(_)) => return Appended::Known,
            (Target::Known { .. }, Some(record)) if record.stands(batch, append) => return Appended::Written,
            (Target::Known { .. }, Some(record)) if record.is_open_to(batch, append) => {
                record.history.commits.push(commit);
                record.row.head = append.head.clone();
                record.lane = lane_of(&append.head, batch.lane.id);
                Appended::Written
            }
            (Target::Known { .. }, _) => return Appended::Elsewhere,
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
                let lane = lane_of(&append.head, if new.queued { QUEUE } else { batch.lane.id });
                self.by_id.insert(new.id, self.last);
                self.sagas.insert(self.last, Record { lane, row, history });
                Appended::Started(self.last)
            }
        };
        self.events.extend(append.event.clone());
        outcome
    }

    /// What would fail must fail before anything is written.
    fn check(&self, batch: &Batch) -> Result<(), Error> {
        if !self.owns(batch.lane) {
            let found = self.lanes.get(&batch.lane.id).map_or(0, |held| held.epoch);
            return Err(Error::Fenced { lane: batch.lane.id, held: batch.lane.epoch, found });
        }
        for row in &batch.rows {
            let Target::Known { id, .. } = row.target else { continue };
            let Some(record) = self.by_id.get(&id).and_then(|no| self.sagas.get(no)) else { continue };
            let next = record.next() == row.seq;
            if record.lane == Some(batch.lane.id) && !next && !record.stands(batch, row) {
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
    fn is_shared(&self) -> bool {
        true
    }

    async fn take_lane(&self, hold: Hold<'_>) -> Result<Lane, Error> {
        Ok(self.tables().take_lane(hold))
    }

    async fn take_over(&self, seen: Lane, hold: Hold<'_>) -> Result<Option<Lane>, Error> {
        Ok(self.tables().take_over(seen, hold))
    }

    async fn attend(&self, attend: Attend<'_>) -> Result<Attendance, Error> {
        Ok(self.tables().attend(attend))
    }

    async fn release(&self, lanes: &[Lane]) -> Result<(), Error> {
        self.tables().release(lanes);
        self.hint.notify_waiters();
        Ok(())
    }

    async fn claim(&self, lane: Lane, limit: u32) -> Result<Vec<Row>, Error> {
        Ok(self.tables().claim(lane, limit))
    }

    async fn adopt(&self, lane: Lane, id: SagaId) -> Result<Option<Row>, Error> {
        Ok(self.tables().adopt(lane, id))
    }

    async fn send_command(&self, id: SagaId, text: &str, now: Timestamp) -> Result<i64, Error> {
        let no = self.tables().send_command(id, text, now);
        self.hint.notify_waiters();
        Ok(no)
    }

    async fn answer_command(&self, no: i64, answer: &str) -> Result<(), Error> {
        if let Some(sent) = self.tables().commands.get_mut(&no) {
            sent.answer.get_or_insert_with(|| answer.to_owned());
        }
        self.hint.notify_waiters();
        Ok(())
    }

    async fn command_answer(&self, no: i64) -> Result<Option<String>, Error> {
        Ok(self.tables().commands.get(&no).and_then(|sent| sent.answer.clone()))
    }

    async fn forget_command(&self, no: i64) -> Result<(), Error> {
        self.tables().commands.remove(&no);
        Ok(())
    }

    async fn hinted(&self) {
        self.hint.notified().await;
    }

    async fn standings(&self, ids: &[SagaId]) -> Result<Vec<Option<Head>>, Error> {
        let tables = self.tables();
        let head = |id| tables.by_id.get(id).and_then(|no| tables.sagas.get(no)).map(|record| record.row.head.clone());
        Ok(ids.iter().map(head).collect())
    }

    async fn tend(&self, now: Timestamp) -> Result<(), Error> {
        self.tables().commands.retain(|_, sent| now.since(sent.at) < COMMAND_AGE);
        Ok(())
    }

    async fn append(&self, batch: &Batch) -> Result<Vec<Appended>, Error> {
        let outcomes: Vec<_> = {
            let mut tables = self.tables();
            tables.check(batch)?;
            batch.rows.iter().map(|row| tables.append(batch, row)).collect()
        };
        if batch.rows.iter().any(|row| matches!(&row.target, Target::New(new) if new.queued)) {
            self.hint.notify_waiters();
        }
        Ok(outcomes)
    }

    async fn unsettled(&self, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error> {
        let tables = self.tables();
        let behind = tables.sagas.range(after.saturating_add(1)..).map(|(_, record)| record);
        let wanted = behind.filter(|record| record.lane == Some(lane) && is_unsettled(record.row.head.status));
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

    async fn oldest_start(&self) -> Result<Option<Timestamp>, Error> {
        let tables = self.tables();
        let open = tables.sagas.values().map(|record| &record.row).filter(|row| !row.head.status.is_settled());
        Ok(open.map(|row| row.started_at).min())
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
