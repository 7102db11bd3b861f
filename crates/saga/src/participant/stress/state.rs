//! The rules: state, input and time in, decision out. `now` is the time since the gate's beginning.

use std::collections::HashSet;
use std::time::Duration;

use steadfast_core::Op;

/// So many failures in a row, and the participant is taken for down.
pub(super) const FAILURES: u32 = 5;

/// While it is down, one call in this time.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The longest pause of the whole participant that a `Retry-After` brings about; longer ones are asked for again.
pub(super) const PAUSE_MAX: Duration = Duration::from_mins(1);

/// Those that are turned away come back spread over up to this time.
pub(super) const SPREAD_MAX: Duration = Duration::from_secs(30);

/// How many of those turned away shall come back in a second.
const RETURNS_PER_SECOND: u64 = 1_000;

/// A retry costs this much; an answer earns a tenth of it: retries are at most 10 % of answers.
const RETRY: u64 = 1_000;
const EARNED: u64 = RETRY / 10;

/// What answers can earn at most.
const BALANCE_MAX: u64 = 1_000 * RETRY;

/// Time alone fills up to this, so that a lone saga can always retry, and this fast.
const FLOOR: u64 = 10 * RETRY;
const FLOOR_PER_SECOND: u64 = 5 * RETRY;

/// What actions leave to compensations.
const RESERVE: u64 = 2 * RETRY;

/// How many calls in doubt are remembered.
pub(super) const DOUBTFUL_MAX: usize = 65_536;

/// Which traffic goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Takes back: always first, for it ends what holds stock and money.
    Compensation,
    /// Goes forward.
    Action,
}

impl Class {
    /// The class of an effect.
    pub(crate) const fn of(op: Op) -> Self {
        match op {
            Op::Compensate => Self::Compensation,
            Op::Action => Self::Action,
        }
    }
}

/// What a call says of its participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It lives, and has answered.
    Answered,
    /// The call was sent, and what came of it is not known.
    Doubtful,
    /// It could not be reached.
    Unsent,
    /// It asks all to stay away for a while.
    Pause(Duration),
    /// Nothing.
    Neutral,
}

/// Whether a call may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Go,
    /// It is taken for down; this call is to show whether it still is.
    Trial,
    Away(Pause),
}

/// A call is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// How long to stay away.
    pub(crate) length: Duration,
    /// Why, for people.
    pub(crate) why: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaker {
    Closed { failures: u32 },
    Open { probe_at: Duration },
}

/// What is known of a participant.
#[derive(Debug)]
pub(super) struct State {
    breaker: Breaker,
    paused_until: Duration,
    /// It has asked for a pause, and has answered nothing since.
    asked: bool,
    balance: u64,
    filled_at: Duration,
    /// Calls that were sent and whose outcome is unknown: the next call of the same is a retry. One that was turned away
    /// or not sent is none, or a long outage would be followed by a longer one.
    doubtful: HashSet<u64>,
    crowd: Crowd,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            breaker: Breaker::Closed { failures: 0 },
            paused_until: Duration::ZERO,
            asked: false,
            balance: FLOOR,
            filled_at: Duration::ZERO,
            doubtful: HashSet::new(),
            crowd: Crowd::default(),
        }
    }

    /// Whether it is taken for down.
    pub(super) const fn is_down(&self) -> bool {
        matches!(self.breaker, Breaker::Open { .. })
    }

    /// Whether nobody gets an answer from it at present: it is taken for down, or asks for one pause after the other.
    pub(super) const fn is_away(&self) -> bool {
        self.asked || self.is_down()
    }

    #[cfg(test)]
    pub(super) fn is_doubtful(&self, call: u64) -> bool {
        self.doubtful.contains(&call)
    }

    #[cfg(test)]
    pub(super) fn doubts(&self) -> usize {
        self.doubtful.len()
    }

    /// Whether this call may go now. Whoever may go is counted as gone.
    pub(super) fn admit(&mut self, now: Duration, class: Class, call: u64, random: u64) -> Admission {
        if let Some((left, why)) = self.closed(now) {
            return Admission::Away(self.away(now, left, why, random));
        }
        if let Breaker::Open { probe_at } = &mut self.breaker {
            *probe_at = now + PROBE_EVERY;
            return Admission::Trial;
        }
        if self.doubtful.contains(&call) {
            self.fill(now);
            let needed = if class == Class::Action { RETRY + RESERVE } else { RETRY };
            if self.balance < needed {
                let left = Duration::from_millis((needed - self.balance) * 1_000 / FLOOR_PER_SECOND + 1);
                return Admission::Away(self.away(now, left, "too many calls to it are retries", random));
            }
            self.balance -= RETRY;
        }
        Admission::Go
    }

    /// Turns a call away that would only wait in vain; counts nothing.
    pub(super) fn turn_away(&mut self, now: Duration, random: u64) -> Option<Pause> {
        let (left, why) = self.closed(now)?;
        Some(self.away(now, left, why, random))
    }

    /// Turns a call away for which there is no place to wait.
    pub(super) fn full(&mut self, now: Duration, random: u64) -> Pause {
        self.away(now, PROBE_EVERY, "the participant is fully occupied", random)
    }

    /// Why nobody may go now, and for how long.
    fn closed(&self, now: Duration) -> Option<(Duration, &'static str)> {
        if now < self.paused_until {
            return Some((self.paused_until.saturating_sub(now), "the participant has asked for a pause"));
        }
        match self.breaker {
            Breaker::Open { probe_at } if now < probe_at => {
                Some((probe_at.saturating_sub(now), "the participant is down"))
            }
            _ => None,
        }
    }

    /// A call that was admitted has ended.
    pub(super) fn ended(&mut self, now: Duration, call: u64, signal: Signal) {
        match signal {
            Signal::Answered => {
                self.breaker = Breaker::Closed { failures: 0 };
                self.asked = false;
                self.balance = (self.balance + EARNED).min(BALANCE_MAX);
                if !self.doubtful.is_empty() {
                    self.doubtful.remove(&call);
                }
            }
            Signal::Doubtful => {
                // Those whose sagas have given up are never asked about again: forgotten now and then.
                if self.doubtful.len() >= DOUBTFUL_MAX {
                    self.doubtful.clear();
                }
                self.doubtful.insert(call);
                self.failed(now);
            }
            Signal::Unsent => self.failed(now),
            Signal::Pause(length) => {
                self.paused_until = self.paused_until.max(now + length.min(PAUSE_MAX));
                self.asked = true;
            }
            Signal::Neutral => {}
        }
    }

    fn failed(&mut self, now: Duration) {
        if let Breaker::Closed { failures } = &mut self.breaker {
            *failures += 1;
            if *failures >= FAILURES {
                self.breaker = Breaker::Open { probe_at: now + PROBE_EVERY };
            }
        }
    }

    fn fill(&mut self, now: Duration) {
        let millis = u64::try_from(now.saturating_sub(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        let earned = millis.saturating_mul(FLOOR_PER_SECOND) / 1_000;
        if earned > 0 {
            self.filled_at = now;
            self.balance = self.balance.max(self.balance.saturating_add(earned).min(FLOOR));
        }
    }

    fn away(&mut self, now: Duration, left: Duration, why: &'static str, random: u64) -> Pause {
        let spread = self.crowd.spread(now);
        let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
        let length = left + Duration::from_micros(random % micros.saturating_add(1));
        self.crowd.turned_away(length);
        Pause { length, why }
    }
}

/// How many stay away. By Little's law the pauses that are handed out in a second, added up in seconds, are their number.
#[derive(Debug, Default)]
struct Crowd {
    second: u64,
    /// Of this second, in milliseconds.
    handed_out: u64,
    /// Of the second before.
    size: u64,
}

impl Crowd {
    fn spread(&mut self, now: Duration) -> Duration {
        let second = now.as_secs();
        if second != self.second {
            self.size = if second == self.second + 1 { self.handed_out / 1_000 } else { 0 };
            self.second = second;
            self.handed_out = 0;
        }
        // A crowd that comes all at once has no second before: what this one has seen counts as well.
        let size = self.size.max(self.handed_out / 1_000);
        Duration::from_millis(size * 1_000 / RETURNS_PER_SECOND).min(SPREAD_MAX)
    }

    fn turned_away(&mut self, length: Duration) {
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.handed_out = self.handed_out.saturating_add(millis);
    }
}
