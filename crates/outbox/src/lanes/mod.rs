//! What a relay does next, as a function of what it knows: no I/O, no clock, no randomness.
//!
//! ```text
//!            read                    next_batch            on_produced           take_marks      on_marked
//!  outbox ──────────▶ ready (bounded) ─────────▶ in flight ───────────▶ to mark ───────────▶ marking ──────▶ gone
//!     ▲                                              │ refused: hold its aggregate, try it again later
//!     └───────────── rewind: read anew ◀─────────────┘ failed: nobody's fault, try all again
//! ```
//!
//! Where a store reads on from only accelerates: `published_at is null` decides. Whenever the order or the place of
//! something is in doubt (a failed batch, a released aggregate), the lane stops, lets what is in flight be marked, and
//! reads anew from the first event in doubt. Nothing is read anew while marks are open, and what a store hands out twice
//! is known by its id, so no event is sent twice by a relay that lives.
//!
//! | event | what becomes of it |
//! |---|---|
//! | acknowledged | marked, together with others, in one commit |
//! | failed: the log is away, full, slow | no blame: back-off, rewind, again in order |
//! | refused: the log will never take it | its aggregate is held, the rest flows; it is tried again, then a dead letter |
//! | crash between acknowledgement and mark | sent again: at most two batches |

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use steadfast_core::Timestamp;
use steadfast_core::retry::Backoff;

/// The bounds within which a lane decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Events of one batch.
    pub(crate) batch: usize,
    /// Attempts after which a refused event is a dead letter.
    pub(crate) max_attempts: u32,
    /// Pauses between attempts of a refused event.
    pub(crate) parked: Backoff,
    /// Pauses after a failure that is no event's fault.
    pub(crate) retry: Backoff,
}

/// An aggregate: its type and id.
pub(crate) type Aggregate = (String, String);

/// Where a row is, for a store whose index needs more than the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) bucket: i16,
    /// Days since 2000.
    pub(crate) day: i32,
}

/// From where the next events are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whence {
    /// From where the last read ended.
    On,
    /// Again, from this id at the latest.
    From(i64),
}

/// An event that was read, with what will be sent.
#[derive(Clone, Debug)]
pub(crate) struct Entry<R> {
    pub(crate) id: i64,
    pub(crate) spot: Spot,
    pub(crate) aggregate: Aggregate,
    pub(crate) created_at: Timestamp,
    pub(crate) item: R,
}

/// What became of one event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Durable in the log.
    Acked,
    /// The log will never take it.
    Refused(String),
    /// The log could not take it now.
    Failed,
}

/// An event that holds its aggregate back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Park {
    pub(crate) event: i64,
    pub(crate) spot: Spot,
    pub(crate) aggregate: Aggregate,
    pub(crate) attempts: u32,
    pub(crate) error: String,
    pub(crate) next_attempt_at: Timestamp,
    pub(crate) dead: bool,
}

/// What one commit writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Events that are published.
    pub(crate) published: Vec<i64>,
    /// Where they are, in the same order.
    pub(crate) spots: Vec<Spot>,
    /// Events that hold their aggregate back.
    pub(crate) parked: Vec<Park>,
    /// Events that no longer do.
    pub(crate) released: Vec<i64>,
}

impl Marks {
    fn is_empty(&self) -> bool {
        self.published.is_empty() && self.parked.is_empty() && self.released.is_empty()
    }
}

/// What the answers to a batch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// When the acknowledged events were written.
    pub(crate) published: Vec<Timestamp>,
    /// How many were refused.
    pub(crate) refused: usize,
    /// How many failed.
    pub(crate) failed: usize,
    /// How long to send nothing.
    pub(crate) pause: Option<Duration>,
}

/// A held aggregate as the database has it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) aggregate: Aggregate,
    pub(crate) event: i64,
    pub(crate) attempts: u32,
    /// Whether it is time to try the event again.
    pub(crate) due: bool,
}

#[derive(Debug)]
struct Held {
    event: i64,
    attempts: u32,
    // Being tried, or not yet written as it stands here: the database's view of it is old.
    busy: bool,
}

#[derive(Debug)]
struct Flight {
    id: i64,
    spot: Spot,
    aggregate: Aggregate,
    created_at: Timestamp,
}

#[derive(Debug, Default)]
struct Marking {
    published: Vec<i64>,
    holding: Vec<i64>,
    parked: Vec<Aggregate>,
    released: Vec<Aggregate>,
}

/// The state of one lane.
#[derive(Debug)]
pub(crate) struct Lane<R> {
    limits: Limits,
    reading: bool,
    // From where to read anew, as soon as that may be.
    rewind: Option<i64>,
    // What was read and is not yet marked: handed out again, it is left out.
    known: HashSet<i64>,
    // What was marked since the read under way began, which may still see it waiting.
    recent: HashSet<i64>,
    newest: i64,
    // Events up to here that a sweep finds waiting should have been found before.
    swept_to: i64,
    ready: VecDeque<Entry<R>>,
    flying: Vec<Flight>,
    marks: Marks,
    released: Vec<Aggregate>,
    marking: Option<Marking>,
    held: HashMap<Aggregate, Held>,
    failures: u32,
}

impl<R> Lane<R> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            reading: false,
            rewind: None,
            known: HashSet::new(),
            recent: HashSet::new(),
            newest: 0,
            swept_to: 0,
            ready: VecDeque::new(),
            flying: Vec::new(),
            marks: Marks::default(),
            released: Vec::new(),
            marking: None,
            held: HashMap::new(),
            failures: 0,
        }
    }

    /// From where to read the next batch, if there is room. To be asked only when no read is under way; the read's outcome
    /// comes back by [`on_read`](Self::on_read) or [`on_read_failed`](Self::on_read_failed).
    pub(crate) fn next_read(&mut self) -> Option<Whence> {
        let whence = match self.rewind {
            Some(_) if !self.is_settled() => return None,
            Some(from) => {
                self.rewind = None;
                self.known.clear();
                Whence::From(from)
            }
            None if self.ready.len() < self.limits.batch => Whence::On,
            None => return None,
        };
        self.reading = true;
        Some(whence)
    }

    /// Takes in what was read. Answers with how many of them a sweep has found that should have been found before.
    pub(crate) fn on_read(&mut self, entries: Vec<Entry<R>>) -> usize {
        self.reading = false;
        let recent = std::mem::take(&mut self.recent);
        if let Some(from) = self.rewind {
            // The store has moved on past them: they are read anew.
            self.rewind = Some(entries.iter().map(|entry| entry.id).fold(from, i64::min));
            return 0;
        }
        let Some(last) = entries.last().map(|entry| entry.id) else {
            self.swept_to = 0;
            return 0;
        };
        self.newest = self.newest.max(last);
        let mut found = 0;
        for entry in entries {
            let is_new =
                !self.held.contains_key(&entry.aggregate) && !recent.contains(&entry.id) && self.known.insert(entry.id);
            if is_new {
                found += usize::from(entry.id <= self.swept_to);
                self.ready.push_back(entry);
            }
        }
        if last >= self.swept_to {
            self.swept_to = 0;
        }
        found
    }

    /// The read under way has failed. What it was to read anew still is.
    pub(crate) fn on_read_failed(&mut self, whence: Whence) {
        self.reading = false;
        self.recent.clear();
        if let Whence::From(from) = whence {
            self.rewind_from(from);
        }
    }

    /// The first id that this lane has read and not yet marked, or will read anew; `with_marks` counts those whose marks
    /// are not committed yet. What stands below may be passed by a low-water mark.
    pub(crate) fn floor(&self, with_marks: bool) -> Option<i64> {
        let read = self.ready.iter().map(|entry| entry.id).chain(self.flying.iter().map(|flight| flight.id));
        let marking = self.marking.iter().flat_map(|marking| marking.published.iter().chain(&marking.holding));
        let marks = self.marks.published.iter().chain(marking).copied().filter(|_| with_marks);
        let parks = self.marks.parked.iter().map(|park| park.event);
        read.chain(self.rewind).chain(marks).chain(parks).min()
    }

    /// The next batch to send, in order. Empty while one is in flight, and while more than a batch waits to be marked:
    /// so a crash repeats at most two batches.
    pub(crate) fn next_batch(&mut self) -> Vec<R> {
        if self.rewind.is_some() || !self.flying.is_empty() || self.unmarked() > self.limits.batch {
            return Vec::new();
        }
        let amount = self.ready.len().min(self.limits.batch);
        let mut items = Vec::with_capacity(amount);
        for entry in self.ready.drain(..amount) {
            let Entry { id, spot, aggregate, created_at, item } = entry;
            self.flying.push(Flight { id, spot, aggregate, created_at });
            items.push(item);
        }
        items
    }

    /// Takes in the answers to the batch in flight; `random` spreads the pauses.
    pub(crate) fn on_produced(&mut self, verdicts: Vec<Verdict>, now: Timestamp, random: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let flying = std::mem::take(&mut self.flying);
        let mut failed_from = i64::MAX;
        // An answer that is missing is a failure: nothing is known of the event.
        let verdicts = verdicts.into_iter().chain(std::iter::repeat(Verdict::Failed));
        for (flight, verdict) in flying.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Acked => {
                    outcome.published.push(flight.created_at);
                    self.marks.published.push(flight.id);
                    self.marks.spots.push(flight.spot);
                    if self.held.get(&flight.aggregate).is_some_and(|held| held.event == flight.id) {
                        // It stays held and busy until the release is written.
                        self.marks.released.push(flight.id);
                        self.released.push(flight.aggregate);
                    }
                }
                Verdict::Refused(error) => {
                    outcome.refused += 1;
                    self.park(flight, error, now, random);
                }
                Verdict::Failed => {
                    outcome.failed += 1;
                    // One that is held is not read again but tried again.
                    match self.held.get_mut(&flight.aggregate).filter(|held| held.event == flight.id) {
                        Some(held) => held.busy = false,
                        None => failed_from = failed_from.min(flight.id),
                    }
                }
            }
        }
        if outcome.failed > 0 {
            self.failures = self.failures.saturating_add(1);
            outcome.pause = Some(self.limits.retry.pause(self.failures, random));
            self.rewind_from(failed_from);
        } else {
            self.failures = 0;
        }
        outcome
    }

    /// Holds the aggregate of a refused event, unless an earlier event of it holds it already.
    fn park(&mut self, flight: Flight, error: String, now: Timestamp, random: u64) {
        let held =
            self.held.entry(flight.aggregate.clone()).or_insert(Held { event: flight.id, attempts: 0, busy: true });
        if held.event != flight.id {
            return;
        }
        held.busy = true;
        held.attempts = held.attempts.saturating_add(1);
        let attempts = held.attempts;
        let pause = self.limits.parked.ceiling(attempts);
        let spread = self.limits.parked.pause(attempts, random) / 4;
        self.ready.retain(|entry| entry.aggregate != flight.aggregate);
        self.marks.parked.push(Park {
            event: flight.id,
            spot: flight.spot,
            aggregate: flight.aggregate,
            attempts,
            error,
            next_attempt_at: now + pause + spread,
            dead: attempts >= self.limits.max_attempts,
        });
    }

    /// What the next commit writes, when there is something and none is under way. Its outcome comes back by
    /// [`on_marked`](Self::on_marked).
    pub(crate) fn take_marks(&mut self) -> Option<Marks> {
        if self.marking.is_some() || self.marks.is_empty() {
            return None;
        }
        let marks = std::mem::take(&mut self.marks);
        self.marking = Some(Marking {
            published: marks.published.clone(),
            holding: marks.parked.iter().map(|park| park.event).collect(),
            parked: marks.parked.iter().map(|park| park.aggregate.clone()).collect(),
            released: std::mem::take(&mut self.released),
        });
        Some(marks)
    }

    /// The marks are committed.
    pub(crate) fn on_marked(&mut self) {
        let Some(marking) = self.marking.take() else { return };
        for aggregate in marking.parked {
            if let Some(held) = self.held.get_mut(&aggregate) {
                held.busy = false;
            }
        }
        for id in &marking.published {
            self.known.remove(id);
        }
        if self.reading {
            self.recent.extend(&marking.published);
        }
        for aggregate in marking.released {
            if let Some(held) = self.held.remove(&aggregate) {
                self.rewind_from(held.event);
            }
        }
    }

    /// Takes in which aggregates the database holds back; answers with the events to load and try again.
    pub(crate) fn refresh(&mut self, known: &[Known]) -> Vec<i64> {
        let mut gone = None;
        let names: HashSet<&Aggregate> = known.iter().map(|known| &known.aggregate).collect();
        self.held.retain(|aggregate, held| {
            let keep = held.busy || names.contains(aggregate);
            if !keep {
                gone = gone.into_iter().chain([held.event]).min();
            }
            keep
        });
        if let Some(from) = gone {
            self.rewind_from(from);
        }
        let mut due = Vec::new();
        for known in known {
            let held = self.held.entry(known.aggregate.clone()).or_insert_with(|| {
                self.ready.retain(|entry| entry.aggregate != known.aggregate);
                Held { event: known.event, attempts: known.attempts, busy: false }
            });
            if held.busy {
                continue;
            }
            held.event = known.event;
            held.attempts = known.attempts;
            if known.due {
                due.push(known.event);
            }
        }
        due
    }

    /// Takes in events that are to be tried again, of those that were asked for; one that is not among them no longer
    /// waits, and its aggregate goes on.
    pub(crate) fn on_retries(&mut self, asked: &[i64], entries: Vec<Entry<R>>) {
        let mut vanished: HashSet<i64> = asked.iter().copied().collect();
        for entry in &entries {
            vanished.remove(&entry.id);
        }
        for (aggregate, held) in &mut self.held {
            if vanished.contains(&held.event) && !held.busy {
                held.busy = true;
                self.marks.released.push(held.event);
                self.released.push(aggregate.clone());
            }
        }
        for entry in entries.into_iter().rev() {
            let held = self.held.get_mut(&entry.aggregate).filter(|held| held.event == entry.id && !held.busy);
            if let Some(held) = held {
                held.busy = true;
                self.known.insert(entry.id);
                self.ready.push_front(entry);
            }
        }
    }

    /// Looks once more at everything that waits: nothing should be found that was not known.
    pub(crate) fn sweep(&mut self) {
        if self.rewind.is_none() {
            let newest = self.newest;
            self.rewind_from(0);
            self.swept_to = newest;
        }
    }

    /// Forgets what was read and reads anew, from this id or an earlier one that was not sent yet, as soon as nothing is
    /// in flight or unmarked.
    pub(crate) fn rewind_from(&mut self, from: i64) {
        self.swept_to = 0;
        let mut from = self.rewind.map_or(from, |earlier| earlier.min(from));
        for entry in self.ready.drain(..) {
            match self.held.get_mut(&entry.aggregate) {
                Some(held) => held.busy = false,
                None => from = from.min(entry.id),
            }
        }
        self.rewind = Some(from);
    }

    /// Whether what was read is forgotten and will be read anew.
    pub(crate) fn will_rewind(&self) -> bool {
        self.rewind.is_some()
    }

    /// Whether marks should be written at once instead of with the next ones.
    pub(crate) fn marks_are_urgent(&self) -> bool {
        self.rewind.is_some()
            || self.marks.published.len() >= self.limits.batch
            || !self.marks.parked.is_empty()
            || !self.marks.released.is_empty()
    }

    /// Whether there is something to mark that is not being marked.
    pub(crate) fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Whether nothing is in flight or unmarked.
    pub(crate) fn is_settled(&self) -> bool {
        self.flying.is_empty() && self.marks.is_empty() && self.marking.is_none()
    }

    fn unmarked(&self) -> usize {
        self.marks.published.len() + self.marking.as_ref().map_or(0, |marking| marking.published.len())
    }
}

#[cfg(test)]
mod tests;
