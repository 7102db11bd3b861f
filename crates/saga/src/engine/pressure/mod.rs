//! Whether one more saga of a definition would have to wait too long, from how many there are and how fast they end.
//!
//! By Little's law a saga takes as long as those in flight, one of them ending after the other. What it takes beyond the time
//! that it usually takes is waiting: for a turn, a connection, a processor. A count alone would not tell: 4,000 sagas are
//! seconds for one machine and minutes for another.
//!
//! Few are never too many, and nothing is refused as long as nothing is known: a node that has just started, or has had
//! little to do, takes what comes until the first of it have ended. What the rule cannot tell from waiting is a load of sagas
//! that take long by nature which grows several times within that length: some of it is refused until the first have ended.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

/// So many in flight are no crowd, whatever they take.
pub(super) const FEW: usize = 16;

/// How many ends the rate is taken from, and the fewest that tell one.
const ENDS: usize = 32;
const LEAST: usize = 4;

/// After a lull of this length the rate from before says nothing of what can be done now: it was what came, not what could be
/// carried.
const LULL: Duration = Duration::from_secs(1);

/// The weight of one saga in the usual time, as a divisor.
const WEIGHT: u32 = 16;

/// The sagas of one definition at this node. Moments are times since a common beginning.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    in_flight: usize,
    /// When they were last a crowd.
    crowded: Duration,
    /// When the last ones ended, oldest first.
    ends: VecDeque<Duration>,
    /// How long one takes that begins among few.
    usual: Option<Duration>,
}

impl Pressure {
    /// How many there are.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether one more would be among few.
    pub(super) const fn is_calm(&self) -> bool {
        self.in_flight < FEW
    }

    /// One more is in memory.
    pub(super) fn entered(&mut self, now: Duration) {
        self.in_flight += 1;
        if self.in_flight > FEW {
            if now.saturating_sub(self.crowded) >= LULL {
                self.ends.clear();
            }
            self.crowded = now;
        }
    }

    /// One has left memory, ended or not.
    pub(super) fn left(&mut self, now: Duration) {
        if self.in_flight > FEW {
            self.crowded = now;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// One was settled or parked. `took`: its whole time, where it began among few.
    pub(super) fn ended(&mut self, now: Duration, took: Option<Duration>) {
        if self.ends.len() == ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
        if let Some(took) = took {
            self.usual = Some(self.usual.map_or(took, |usual| (usual * (WEIGHT - 1) + took) / WEIGHT));
        }
    }

    /// By how much one more would wait longer than `wait`, where so many wait `ahead` of it beside those in flight; `None`
    /// where it would not, or nobody knows.
    pub(super) fn excess(&self, now: Duration, ahead: usize, wait: Duration) -> Option<Duration> {
        let crowd = self.in_flight.saturating_add(ahead);
        if crowd <= FEW || self.ends.len() < LEAST {
            return None;
        }
        let apart = now.saturating_sub(*self.ends.front()?) / u32::try_from(self.ends.len()).ok()?;
        let expected = apart.saturating_mul(u32::try_from(crowd).unwrap_or(u32::MAX));
        // Twice the usual time: a rate from so few ends is often a fifth off.
        let bound = wait.saturating_add(self.usual.unwrap_or_default().saturating_mul(2));
        expected.checked_sub(bound).filter(|excess| !excess.is_zero())
    }
}

/// Of a node's places, those that are kept for definitions that have few sagas in flight, so that one definition whose sagas
/// all wait for a participant does not keep the others out.
pub(super) const fn kept(in_flight: usize) -> usize {
    in_flight / 8
}
