//! What waits for a commit, and what the lane knows of each saga: its number and its last row. No I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::Value;
use steadfast_core::{NewEvent, SagaId, Timestamp};
use tokio::time::Instant;

use super::choice::{Bounds, Choice, Waiting, choose};
use crate::journal::{Append, Appended, Head, NewSaga, Target as Written};
use crate::machine::Entry;

/// So many sagas that have left memory are remembered, since replies may come even then.
const REMEMBERED: usize = 1_024;

/// Whose entries a part brings.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A start.
    New(Box<NewSaga>),
    /// A saga that was started or adopted before.
    Known,
}

/// Entries of one saga, with what its journal folds to behind them.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) id: SagaId,
    pub(crate) target: Target,
    /// None: only somebody waits for what was enqueued before.
    pub(crate) entries: Vec<Entry>,
    /// Its `ended_at` is filled in from the entries where it is missing.
    pub(crate) head: Head,
    pub(crate) event: Option<NewEvent>,
    /// Whether somebody waits for the commit of all entries so far.
    pub(crate) urgent: bool,
}

/// What a commit made durable of one saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) id: SagaId,
    /// The number of the row in the saga's journal.
    pub(crate) seq: i64,
    /// How many entries became durable by this commit; 0 where nothing of the row was written.
    pub(crate) entries: u64,
    pub(crate) outcome: Appended,
}

/// One saga's part of a commit under way.
#[derive(Debug)]
pub(super) struct Rider {
    id: SagaId,
    generation: u32,
    counted: u64,
    target: Written,
    seq: i64,
    entries: Vec<Entry>,
    head: Head,
    event: Option<NewEvent>,
}

#[derive(Debug)]
struct Queued {
    waiting: Waiting,
    id: SagaId,
    new: Option<Box<NewSaga>>,
    entries: Vec<Entry>,
    /// So many of the entries are of a machine that has left memory.
    stale: usize,
    head: Head,
    event: Option<NewEvent>,
}

#[derive(Debug)]
struct Track {
    /// From the commit of its start.
    no: Option<i64>,
    started_at: Timestamp,
    /// Its last row, written or under way.
    seq: i64,
    ticket: Option<u64>,
    in_flight: bool,
    ended_at: Option<Timestamp>,
    /// Counts adoptions: what an earlier machine enqueued is not reported to a later one.
    generation: u32,
    /// Its last row in the journal when it was last adopted.
    adopted: i64,
    forgotten: bool,
    /// Nothing of it is written any more: its start was known, it is in another lane, or a row of it cannot be written.
    dead: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    tracks: HashMap<SagaId, Track>,
    waiting: BTreeMap<u64, Queued>,
    weight: usize,
    next: u64,
    forced: u64,
    /// Starts of sagas that stand already.
    known: Vec<SagaId>,
    remembered: VecDeque<SagaId>,
}

impl Queue {
    /// Takes a part in; answers whether the lane has to look.
    pub(super) fn enqueue(&mut self, part: Part, weight: usize, now: Instant, bounds: &Bounds) -> bool {
        let new = match part.target {
            Target::New(new) => Some(new),
            Target::Known => None,
        };
        if let Some(new) = &new
            && !self.begin(part.id, new)
        {
            return true;
        }
        let Some(track) = self.tracks.get_mut(&part.id).filter(|track| !track.dead) else {
            tracing::debug!(saga.id = %part.id, "entries of a saga that is not in memory are left out");
            return false;
        };
        if let Some(queued) = track.ticket.and_then(|ticket| self.waiting.get_mut(&ticket)) {
            queued.entries.extend(part.entries);
            queued.head = part.head;
            queued.event = part.event.or(queued.event.take());
            queued.waiting.urgent |= part.urgent;
            queued.waiting.weight += weight;
        } else if part.entries.is_empty() {
            // All is durable, or on its way.
            return false;
        } else {
            let ticket = self.next;
            self.next += 1;
            track.ticket = Some(ticket);
            let waiting = Waiting { ticket, urgent: part.urgent, weight, since: now };
            let (id, entries, head, event) = (part.id, part.entries, part.head, part.event);
            self.waiting.insert(ticket, Queued { waiting, id, new, entries, stale: 0, head, event });
        }
        self.weight += weight;
        part.urgent || self.waiting.len() == 1 || self.waiting.len() >= bounds.rows || self.weight >= bounds.bytes
    }

    /// A start; `false` where the answer is known without a commit.
    fn begin(&mut self, id: SagaId, new: &NewSaga) -> bool {
        match self.tracks.get_mut(&id) {
            Some(track) if !track.dead && track.no.is_some() => {
                self.known.push(id);
                return false;
            }
            // Its first start is on its way and says what becomes of this one, also where the first has left memory: the
            // saga may have been taken up, and have ended, in another lane meanwhile.
            Some(track) if !track.dead && (track.in_flight || track.ticket.is_some()) => {
                track.forgotten = false;
                return false;
            }
            _ => {}
        }
        self.tracks.insert(id, Track::new(None, new.started_at, 0));
        true
    }

    /// A saga as the journal has it.
    pub(super) fn adopt(&mut self, id: SagaId, no: i64, started_at: Timestamp, seq: i64) {
        let Some(track) = self.tracks.get_mut(&id).filter(|track| !track.dead) else {
            self.tracks.insert(id, Track::new(Some(no), started_at, seq));
            return;
        };
        // Rows may be under way that the reader of the journal has not seen.
        track.no = Some(no);
        track.seq = track.seq.max(seq);
        track.adopted = seq;
        track.generation += 1;
        track.forgotten = false;
        if let Some(queued) = track.ticket.and_then(|ticket| self.waiting.get_mut(&ticket)) {
            queued.stale = queued.entries.len();
        }
    }

    /// A saga leaves memory. What it enqueued is still written.
    pub(super) fn forget(&mut self, id: SagaId) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.dead {
            self.tracks.remove(&id);
            return;
        }
        track.forgotten = true;
        self.remembered.push_back(id);
        for _ in 0..self.remembered.len().saturating_sub(REMEMBERED) {
            let Some(oldest) = self.remembered.pop_front() else { return };
            match self.tracks.get(&oldest) {
                Some(track) if track.forgotten && (track.in_flight || track.ticket.is_some()) => {
                    self.remembered.push_back(oldest);
                }
                Some(track) if track.forgotten => drop(self.tracks.remove(&oldest)),
                _ => {}
            }
        }
    }

    /// Sagas whose entries wait or are under way.
    pub(super) fn depth(&self) -> usize {
        self.waiting.len()
    }

    /// All that is here now goes with the next commits.
    pub(super) fn force(&mut self) -> u64 {
        self.forced = self.next;
        self.next
    }

    /// All tickets below are done, as long as nothing is under way.
    pub(super) fn done_below(&self) -> u64 {
        self.waiting.first_key_value().map_or(self.next, |(ticket, _)| *ticket)
    }

    pub(super) fn take_known(&mut self) -> Vec<Committed> {
        let known = std::mem::take(&mut self.known);
        known.into_iter().map(|id| Committed { id, seq: 1, entries: 0, outcome: Appended::Known }).collect()
    }

    pub(super) fn choose(&self, now: Instant, bounds: &Bounds) -> Choice {
        choose(self.waiting.values().map(|queued| queued.waiting), self.forced, now, bounds)
    }

    /// Takes the chosen parts out, each with the number of its row.
    pub(super) fn take(&mut self, tickets: &[u64]) -> Vec<Rider> {
        let mut riders = Vec::with_capacity(tickets.len());
        for queued in tickets.iter().filter_map(|ticket| self.waiting.remove(ticket)) {
            self.weight -= queued.waiting.weight;
            let Some(track) = self.tracks.get_mut(&queued.id) else { continue };
            riders.push(track.ride(queued));
        }
        riders
    }

    /// A commit has ended well. Answers what is to be reported.
    pub(super) fn committed(&mut self, riders: &[Rider], outcomes: &[Appended]) -> Vec<Committed> {
        let mut report = Vec::with_capacity(riders.len());
        for (rider, &outcome) in riders.iter().zip(outcomes) {
            let Some(track) = self.tracks.get_mut(&rider.id) else { continue };
            track.in_flight = false;
            match outcome {
                Appended::Started(no) => track.no = Some(no),
                // It was refused before the saga came back into this lane: the row's number is free.
                Appended::Elsewhere if track.generation != rider.generation => track.seq = track.adopted,
                Appended::Known | Appended::Elsewhere => self.bury(rider.id),
                Appended::Written => {}
            }
            let Some(track) = self.tracks.get(&rider.id) else { continue };
            if !track.forgotten && track.generation == rider.generation {
                let written = matches!(outcome, Appended::Started(_) | Appended::Written);
                let entries = if written { rider.counted } else { 0 };
                report.push(Committed { id: rider.id, seq: rider.seq, entries, outcome });
            }
        }
        report
    }

    /// Nothing of this saga is written from here on.
    pub(super) fn bury(&mut self, id: SagaId) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        (track.dead, track.in_flight) = (true, false);
        if let Some(queued) = track.ticket.take().and_then(|ticket| self.waiting.remove(&ticket)) {
            self.weight -= queued.waiting.weight;
        }
        if track.forgotten {
            self.tracks.remove(&id);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }
}

impl Track {
    fn new(no: Option<i64>, started_at: Timestamp, seq: i64) -> Self {
        let (ticket, ended_at) = (None, None);
        Self {
            no,
            started_at,
            seq,
            ticket,
            ended_at,
            in_flight: false,
            generation: 0,
            adopted: seq,
            forgotten: false,
            dead: false,
        }
    }

    fn ride(&mut self, queued: Queued) -> Rider {
        self.ticket = None;
        self.in_flight = true;
        self.seq += 1;
        self.ended_at = queued.entries.iter().rev().find_map(end).or(self.ended_at);
        let rests = queued.head.status.is_settled() || queued.head.status.is_parked();
        let ended_at = queued.head.ended_at.or(self.ended_at).filter(|_| rests);
        let target = match queued.new {
            Some(new) => Written::New(new),
            // Only starts have no number yet, and one that failed has buried the saga.
            None => Written::Known { no: self.no.unwrap_or(0), id: queued.id, started_at: self.started_at },
        };
        Rider {
            id: queued.id,
            generation: self.generation,
            counted: (queued.entries.len() - queued.stale) as u64,
            target,
            seq: self.seq,
            entries: queued.entries,
            head: Head { ended_at, ..queued.head },
            event: queued.event,
        }
    }
}

impl Rider {
    pub(super) fn id(&self) -> SagaId {
        self.id
    }

    /// The journal's row. What it is made of is not needed any more.
    pub(super) fn write(&mut self) -> Result<Append, serde_json::Error> {
        let entries = serde_json::to_string(&std::mem::take(&mut self.entries))?;
        let (target, head) = (self.target.clone(), self.head.clone());
        Ok(Append { target, seq: self.seq, entries, head, event: self.event.take() })
    }
}

/// When the saga came to rest by this entry.
fn end(entry: &Entry) -> Option<Timestamp> {
    match entry {
        Entry::Completed { at } | Entry::Compensated { at } | Entry::Failed { at } => Some(*at),
        _ => None,
    }
}

/// How many bytes a part will take, by estimate.
pub(super) fn weigh(part: &Part) -> usize {
    let new = match &part.target {
        Target::New(new) => 256 + new.input.len() + new.context.len(),
        Target::Known => 0,
    };
    new + part.event.as_ref().map_or(0, |event| 256 + size(&event.payload))
        + part.entries.iter().map(entry).sum::<usize>()
}

fn entry(entry: &Entry) -> usize {
    64 + match entry {
        Entry::Done { output, .. } => size(output.get()),
        Entry::Refused { code, detail, .. } => code.len() + detail.len(),
        Entry::Troubled { detail: text, .. } | Entry::Late { said: text, .. } => text.len(),
        _ => 0,
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(members) => 2 + members.iter().map(|(name, value)| name.len() + 4 + size(value)).sum::<usize>(),
    }
}
