//! Where a lane reads next, as a function of what it has read: no I/O, no clock.
//!
//! ```text
//!   published, for good │ came late, may come late          │ not read yet
//!  ─────────────────────┼───────────────────────────────────┼─────────────▶ id, for each bucket
//!                     done                               position
//! ```
//!
//! Ids are not committed in order, so an event may appear behind the **position** from which a bucket is read on. It can
//! do so only while its transaction runs. `done` follows as far as a snapshot proves that no such transaction is left: the
//! newest id drawn (the frontier) is read, then a transaction id is taken, and once the oldest running transaction is not
//! older than that, whatever a *later* read finds up to the frontier is all there is. What lies between is looked through
//! again and again, but never for more than a part of the lane's time: shortly behind the position, where late events
//! stand, and, when a transaction that stays open keeps `done` far behind, stretch by stretch through the rest.
//!
//! Nothing here decides what is published: `published_at is null` does.

use std::collections::VecDeque;
use std::time::Duration;

use crate::lanes::Whence;

/// How far behind the position late events are expected, in ids.
const NEAR: i64 = 20_000;
/// Ids that one look into the rest covers.
const STRETCH: i64 = 200_000;
/// A look at what was read before is followed by so many times its duration of other work: at most 5 % of the time.
const REST: u32 = 19;
/// Without news the frontier is asked for this often: what is held back, or another lane's, is then behind the position.
const FRONTIER_AGE: Duration = Duration::from_secs(2);

/// What the database says of the frontier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frontier {
    /// The newest id that was drawn.
    pub(super) id: i64,
    /// Greater than every transaction that had drawn an id by then; none unless asked for.
    pub(super) proof: Option<i64>,
    /// The oldest transaction that may still run.
    pub(super) oldest: i64,
    /// Today, in days since 2000.
    pub(super) today: i32,
}

/// One read: buckets, and the id after which each is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) buckets: Vec<i16>,
    pub(super) after: Vec<i64>,
    pub(super) upto: i64,
    /// No row that matters is of an earlier day.
    pub(super) day: i32,
    /// Nor of a later one: partitions of days to come are not looked at.
    pub(super) last_day: i32,
    /// What had been proven before the read began.
    closed: i64,
    again: bool,
}

/// What a lane knows of its buckets.
#[derive(Debug)]
pub(super) struct Tide {
    first: i16,
    positions: Vec<i64>,
    done: Vec<i64>,
    // Up to here no new event can appear.
    closed: i64,
    // A frontier that waits for its proof.
    closing: Option<(i64, i64)>,
    asked_at: Option<Duration>,
    // From the first of these ids on nothing is of an earlier day than the second says.
    days: VecDeque<(i64, i32)>,
    // The newest day that the database's clock has shown.
    today: i32,
    // Where the reading on begins, so that each bucket has its turn.
    turn: usize,
    again_at: Duration,
    far: i64,
    far_next: bool,
}

impl Tide {
    /// The buckets `first ..= last`, read up to `mark`, above which nothing is of an earlier day.
    pub(super) fn new(first: i16, last: i16, mark: i64, day: i32) -> Self {
        let amount = usize::try_from(last - first + 1).unwrap_or(0);
        Self {
            first,
            positions: vec![mark; amount],
            done: vec![mark; amount],
            closed: mark,
            closing: None,
            asked_at: None,
            days: VecDeque::from([(i64::MIN, day)]),
            today: day,
            turn: 0,
            again_at: Duration::ZERO,
            far: mark,
            far_next: false,
        }
    }

    pub(super) fn buckets(&self) -> usize {
        self.done.len()
    }

    /// Up to which id everything that can ever wait has been read.
    pub(super) fn low(&self) -> i64 {
        self.done.iter().copied().min().unwrap_or(0)
    }

    /// Whether this id is one of those that were read for good.
    pub(super) fn is_done(&self, bucket: i16, id: i64) -> bool {
        id <= self.done[self.place(bucket)]
    }

    /// Up to which id every bucket has been read on.
    pub(super) fn read_to(&self) -> i64 {
        self.positions.iter().copied().min().unwrap_or(0)
    }

    /// A day that is not later than that of any event above this id.
    pub(super) fn day_above(&self, id: i64) -> i32 {
        self.days.iter().take_while(|(from, _)| *from <= id).last().map_or(0, |(_, day)| *day)
    }

    /// Goes back, when the lane reads anew.
    pub(super) fn go(&mut self, whence: Whence) {
        if let Whence::From(id) = whence {
            let before = id.saturating_sub(1);
            for at in self.positions.iter_mut().chain(&mut self.done) {
                *at = (*at).min(before);
            }
            self.far = self.far.min(before);
        }
    }

    /// Whether the next read needs a [`Frontier`], and beyond which id it asks for a proof.
    pub(super) fn asks_frontier(&mut self, now: Duration) -> Option<i64> {
        let is_old = self.asked_at.is_none_or(|at| now >= at + FRONTIER_AGE);
        let is_behind = self.positions.iter().any(|position| *position > self.closed);
        if !is_old && (now < self.again_at || !is_behind) {
            return None;
        }
        self.asked_at = Some(now);
        Some(self.closing.map_or(self.closed, |_| i64::MAX))
    }

    pub(super) fn on_frontier(&mut self, frontier: Frontier) {
        if self.closing.is_none() {
            self.closing = frontier.proof.map(|proof| (frontier.id, proof));
        }
        if let Some((id, _)) = self.closing.filter(|(_, proof)| frontier.oldest >= *proof) {
            self.closed = self.closed.max(id);
            self.closing = None;
        }
        self.today = self.today.max(frontier.today);
        // Whatever is drawn from now on is of this day or later, but for a writer that waited for a lock: hence the day
        // that readers allow.
        if self.days.back().is_some_and(|(_, day)| *day < frontier.today) {
            self.days.push_back((frontier.id, frontier.today));
            let low = self.low();
            while self.days.get(1).is_some_and(|(from, _)| *from <= low) {
                self.days.pop_front();
            }
        }
    }

    /// What to read now.
    pub(super) fn look(&mut self, now: Duration) -> Look {
        let newest = self.positions.iter().copied().max().unwrap_or(0);
        let is_behind = self.positions.iter().zip(&self.done).any(|(position, done)| position > done);
        if !is_behind || now < self.again_at {
            return self.look_from(i64::MAX, false, |position, _| position);
        }
        if newest - self.low() <= NEAR {
            return self.look_from(i64::MAX, true, |_, done| done);
        }
        self.far_next = !self.far_next;
        if self.far_next {
            return self.look_from(i64::MAX, true, |position, done| done.max(position.saturating_sub(NEAR)));
        }
        let low = self.low();
        if self.far >= newest - NEAR || self.far < low {
            self.far = low;
        }
        let (from, upto) = (self.far, self.far + STRETCH);
        self.far = upto;
        self.look_from(upto, true, |_, done| done.max(from))
    }

    fn look_from(&self, upto: i64, again: bool, from: impl Fn(i64, i64) -> i64) -> Look {
        let amount = self.done.len();
        let order = (0..amount).map(|n| (self.turn + n) % amount);
        let mut look =
            Look { buckets: vec![], after: vec![], upto, day: 0, last_day: self.today + 1, closed: self.closed, again };
        for at in order {
            look.buckets.push(self.first + i16::try_from(at).unwrap_or(0));
            look.after.push(from(self.positions[at], self.done[at]));
        }
        // A day is allowed for a writer that waited.
        look.day = self.day_above(look.after.iter().copied().min().unwrap_or(0)) - 1;
        look
    }

    /// Takes in what a look has found, as buckets and ids in the order of the look: at most `batch` of a bucket, and
    /// `is_cut` when more may follow. Answers whether reading on may find more at once.
    pub(super) fn found(
        &mut self,
        look: &Look,
        rows: impl Iterator<Item = (i16, i64)>,
        batch: usize,
        is_cut: bool,
        (began, ended): (Duration, Duration),
    ) -> bool {
        if look.again {
            self.again_at = ended + ended.saturating_sub(began) * REST;
        }
        let mut counts = vec![(0_usize, i64::MIN); self.done.len()];
        let mut last = None;
        for (bucket, id) in rows {
            let at = self.place(bucket);
            counts[at] = (counts[at].0 + 1, id);
            last = Some(at);
        }
        let mut more = false;
        let mut is_reached = true;
        for (bucket, after) in look.buckets.iter().zip(&look.after) {
            let at = self.place(*bucket);
            if !is_reached {
                continue;
            }
            let (count, newest) = counts[at];
            let is_partly = count >= batch || (is_cut && last == Some(at));
            let end = if is_partly { newest } else { look.upto };
            if *after <= self.done[at] {
                self.done[at] = self.done[at].max(end.min(look.closed));
            }
            let read_to = if is_partly || count > 0 { newest } else { *after };
            // An empty rest is read as far as nothing can appear in it.
            let read_to = if is_partly || look.upto < i64::MAX { read_to } else { read_to.max(look.closed) };
            if look.upto == i64::MAX {
                more |= is_partly && newest >= self.positions[at];
                self.positions[at] = self.positions[at].max(read_to);
            }
            if is_cut && last == Some(at) {
                is_reached = false;
                self.turn = at;
            }
        }
        more || is_cut && !look.again
    }

    fn place(&self, bucket: i16) -> usize {
        usize::try_from(bucket - self.first).unwrap_or(0).min(self.done.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests;
