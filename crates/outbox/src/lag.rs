//! How late publication is: over the events published in the last minute, and over those that still wait at the age they
//! have now. So the figure rises while nothing is published, which is when it matters. Pure.

use std::time::Duration;

use steadfast_core::Timestamp;

/// The quantiles that are served, with their labels.
pub(crate) const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.95, "0.95"), (0.99, "0.99"), (1.0, "1")];

/// Seconds that published events are remembered for.
const SLOTS: u32 = 60;
/// Each doubling of the lag is divided into so many buckets: a quantile is at most 1/16 too high.
const PARTS: u64 = 16;
/// Buckets up to 2^40 ms, which is 34 years.
const BUCKETS: usize = 16 * 38;

#[derive(Clone, Debug)]
struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }

    fn add(&mut self, millis: u64) {
        self.counts[bucket(millis)] += 1;
        self.total += 1;
        self.max = self.max.max(millis);
    }

    fn merge(&mut self, other: &Self) {
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            *own += others;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    fn clear(&mut self) {
        if self.total > 0 {
            self.counts.fill(0);
        }
        self.total = 0;
        self.max = 0;
    }

    /// The smallest value that at least this part of all values do not exceed, rounded up within its bucket.
    fn quantile(&self, part: f64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among far fewer than 2^52 events"
        )]
        let rank = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return upper(bucket).min(self.max);
            }
        }
        self.max
    }
}

/// The bucket of a value: exact below 16, then 16 to each doubling.
fn bucket(millis: u64) -> usize {
    if millis < PARTS {
        return usize::try_from(millis).unwrap_or(0);
    }
    let exponent = u64::from(millis.ilog2());
    let index = (exponent - 3) * PARTS + ((millis >> (exponent - 4)) & (PARTS - 1));
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let exponent = bucket / PARTS + 3;
    let part = bucket % PARTS;
    (1 << exponent) + ((part + 1) << (exponent - 4)) - 1
}

/// The lags of the last minute.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    slots: Vec<Histogram>,
    // The second that each slot holds.
    seconds: Vec<i64>,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Histogram::new()).collect(), seconds: (0..SLOTS).map(|_| i64::MIN).collect() }
    }

    /// An event written at `created_at` was published at `now`.
    pub(crate) fn record(&mut self, now: Timestamp, created_at: Timestamp) {
        let second = now.as_millis().div_euclid(1000);
        let slot = usize::try_from(second.rem_euclid(i64::from(SLOTS))).unwrap_or(0);
        if self.seconds[slot] != second {
            self.slots[slot].clear();
            self.seconds[slot] = second;
        }
        self.slots[slot].add(millis(now, created_at));
    }

    /// The lag at each of [`QUANTILES`], in order; zero where nothing was published and nothing waits.
    pub(crate) fn quantiles(&self, now: Timestamp, waiting: &[Timestamp]) -> [Duration; QUANTILES.len()] {
        let second = now.as_millis().div_euclid(1000);
        let mut all = Histogram::new();
        for (slot, of) in self.slots.iter().zip(&self.seconds) {
            if (second - i64::from(SLOTS) + 1..=second).contains(of) {
                all.merge(slot);
            }
        }
        for created_at in waiting {
            all.add(millis(now, *created_at));
        }
        QUANTILES.map(|(part, _)| Duration::from_millis(all.quantile(part)))
    }
}

fn millis(now: Timestamp, created_at: Timestamp) -> u64 {
    u64::try_from(now.since(created_at).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    fn millis_of(lags: [Duration; 4]) -> [u128; 4] {
        lags.map(|lag| lag.as_millis())
    }

    #[test]
    fn nothing_is_no_lag() {
        assert_eq!(millis_of(Window::new().quantiles(at(0), &[])), [0; 4]);
    }

    #[test]
    fn quantiles_are_of_what_was_published() {
        let mut window = Window::new();
        for lag in 1..=100 {
            window.record(at(0), at(-lag));
        }
        let [half, p95, p99, max] = millis_of(window.quantiles(at(10), &[]));
        assert!((50..=53).contains(&half), "{half}");
        assert!((95..=100).contains(&p95), "{p95}");
        assert!((99..=100).contains(&p99), "{p99}");
        assert_eq!(max, 100);
    }

    #[test]
    fn a_minute_later_it_is_forgotten() {
        let mut window = Window::new();
        window.record(at(0), at(-5_000));
        assert_eq!(millis_of(window.quantiles(at(59_000), &[])), [5_000; 4]);
        assert_eq!(millis_of(window.quantiles(at(60_000), &[])), [0; 4]);
        window.record(at(60_000), at(59_990));
        assert_eq!(millis_of(window.quantiles(at(60_000), &[])), [10; 4]);
    }

    #[test]
    fn while_the_relay_is_stuck_the_lag_grows_past_the_alert() {
        let mut window = Window::new();
        for _ in 0..1_000 {
            window.record(at(0), at(-3));
        }
        let waiting = [at(1_000), at(2_000)];
        // At once only the longest shows it; when the last minute holds nothing published, all do.
        assert_eq!(millis_of(window.quantiles(at(11_000), &waiting)), [3, 3, 3, 10_000]);
        let late = window.quantiles(at(302_001), &waiting);
        assert!(late.iter().all(|lag| *lag > Duration::from_secs(299)), "{late:?}");
        assert!(window.quantiles(at(303_000), &waiting)[0] > Duration::from_mins(5));
    }

    #[test]
    fn a_clock_that_steps_back_does_no_harm() {
        let mut window = Window::new();
        window.record(at(0), at(500));
        assert_eq!(millis_of(window.quantiles(at(0), &[at(900)])), [0; 4]);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_and_is_at_most_a_sixteenth_too_high(value in 0_u64..1 << 40) {
            let top = upper(bucket(value));
            prop_assert!(top >= value);
            prop_assert!(top - value <= value / 16);
            prop_assert!(bucket(value) == 0 || upper(bucket(value) - 1) < value);
        }
    }
}
