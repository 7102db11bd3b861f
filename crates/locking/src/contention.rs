//! Which rows are fought over: pure, bounded, forgetful.
//!
//! The busiest rows of an entity are tracked by `SpaceSaving` (Metwally, Agrawal, El Abbadi, 2005): 64 counters find every
//! row that has more than 1/64 of the attempts, however many rows there are. Conflicts are counted only while a row is
//! tracked, and set in relation to the attempts of that time, so the rate is exact for what was seen. All counts halve
//! every minute.
//!
//! | conflicts of a row's attempts | health | advice |
//! |---|---|---|
//! | below 5 % | healthy | optimistic |
//! | 5 to 10 % | elevated | as before (hysteresis) |
//! | above 10 % | contended | pessimistic |

use std::time::Duration;

/// Rows tracked for each entity.
const ROWS: usize = 64;
/// After this long a count weighs half.
const HALF_LIFE: Duration = Duration::from_mins(1);
/// Counts are decayed at this grain.
const GRAIN: Duration = Duration::from_secs(1);
/// A verdict needs this many attempts.
const SAMPLE: f64 = 20.0;
const HEALTHY_BELOW: f64 = 0.05;
const CONTENDED_ABOVE: f64 = 0.10;

/// How a row fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Below 5 % conflicts, or too few attempts to tell.
    Healthy,
    /// 5 to 10 %.
    Elevated,
    /// Above 10 %.
    Contended,
}

/// How a row should be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Go on with versions.
    Optimistic,
    /// Consider a pessimistic lock, or `adjust` where it is a count.
    Pessimistic,
}

/// A tracked row.
#[derive(Clone, Debug, PartialEq)]
pub struct HotRow<K> {
    /// Which row.
    pub key: K,
    /// Its attempts, decayed; an upper bound.
    pub attempts: f64,
    /// Conflicts for each attempt that was observed, 0 to 1.
    pub conflict_rate: f64,
    /// What that means.
    pub health: Health,
    /// What to do.
    pub advice: Advice,
}

/// The monitor of one entity.
#[derive(Debug)]
pub struct Contention<K> {
    slots: Vec<Slot<K>>,
    attempts: f64,
    conflicts: f64,
    decayed_at: Duration,
}

#[derive(Debug)]
struct Slot<K> {
    key: K,
    count: f64,
    /// How much of `count` may belong to rows that held the slot before.
    inherited: f64,
    conflicts: f64,
    advice: Advice,
}

impl<K> Default for Contention<K> {
    fn default() -> Self {
        Self { slots: Vec::with_capacity(ROWS), attempts: 0.0, conflicts: 0.0, decayed_at: Duration::ZERO }
    }
}

impl<K: Clone + Eq> Contention<K> {
    /// Records one attempt at `now`, the time since some fixed moment. The new advice, when it changed for this row.
    pub fn record(&mut self, key: &K, conflicted: bool, now: Duration) -> Option<Advice> {
        self.decay(now);
        let conflict = if conflicted { 1.0 } else { 0.0 };
        self.attempts += 1.0;
        self.conflicts += conflict;
        let slot = self.slot(key)?;
        slot.count += 1.0;
        slot.conflicts += conflict;
        let advice = match slot.health() {
            _ if slot.observed() < SAMPLE => slot.advice,
            Health::Healthy => Advice::Optimistic,
            Health::Elevated => slot.advice,
            Health::Contended => Advice::Pessimistic,
        };
        let changed = advice != slot.advice;
        slot.advice = advice;
        changed.then_some(advice)
    }

    /// Updates that succeed, in percent, over all rows and about the last minutes; 100 before the first.
    pub fn success_percent(&self) -> f64 {
        if self.attempts > 0.0 { 100.0 * (1.0 - self.conflicts / self.attempts) } else { 100.0 }
    }

    /// How many tracked rows should be locked pessimistically.
    pub fn contended(&self) -> usize {
        self.slots.iter().filter(|slot| slot.advice == Advice::Pessimistic).count()
    }

    /// The tracked rows, busiest first.
    pub fn hot_rows(&self) -> Vec<HotRow<K>> {
        let mut rows: Vec<_> = self
            .slots
            .iter()
            .map(|slot| HotRow {
                key: slot.key.clone(),
                attempts: slot.count,
                conflict_rate: slot.rate(),
                health: slot.health(),
                advice: slot.advice,
            })
            .collect();
        rows.sort_by(|a, b| b.attempts.total_cmp(&a.attempts));
        rows
    }

    /// The row's slot: its own, a free one, or that of the row with the fewest attempts, whose count it inherits.
    fn slot(&mut self, key: &K) -> Option<&mut Slot<K>> {
        let index = if let Some(index) = self.slots.iter().position(|slot| slot.key == *key) {
            index
        } else if self.slots.len() < ROWS {
            self.slots.push(Slot::new(key.clone(), 0.0));
            self.slots.len() - 1
        } else {
            let (index, least) = self.slots.iter().enumerate().min_by(|(_, a), (_, b)| a.count.total_cmp(&b.count))?;
            self.slots[index] = Slot::new(key.clone(), least.count);
            index
        };
        self.slots.get_mut(index)
    }

    fn decay(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.decayed_at);
        if passed < GRAIN {
            return;
        }
        self.decayed_at = now;
        let factor = 0.5_f64.powf(passed.as_secs_f64() / HALF_LIFE.as_secs_f64());
        self.attempts *= factor;
        self.conflicts *= factor;
        for slot in &mut self.slots {
            slot.count *= factor;
            slot.inherited *= factor;
            slot.conflicts *= factor;
        }
        self.slots.retain(|slot| slot.count >= 0.5);
    }
}

impl<K> Slot<K> {
    fn new(key: K, inherited: f64) -> Self {
        Self { key, count: inherited, inherited, conflicts: 0.0, advice: Advice::Optimistic }
    }

    fn observed(&self) -> f64 {
        self.count - self.inherited
    }

    fn rate(&self) -> f64 {
        if self.observed() > 0.0 { (self.conflicts / self.observed()).min(1.0) } else { 0.0 }
    }

    fn health(&self) -> Health {
        match self.rate() {
            _ if self.observed() < SAMPLE => Health::Healthy,
            rate if rate < HEALTHY_BELOW => Health::Healthy,
            rate if rate > CONTENDED_ABOVE => Health::Contended,
            _ => Health::Elevated,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const T: Duration = Duration::from_secs(7);

    /// Feeds `attempts` attempts, every `nth` of them a conflict (0: none), at one moment.
    fn feed(monitor: &mut Contention<u32>, key: u32, attempts: u32, nth: u32, now: Duration) -> Vec<Advice> {
        (1..=attempts).filter_map(|i| monitor.record(&key, nth != 0 && i % nth == 0, now)).collect()
    }

    #[test]
    fn advice_turns_above_ten_percent_and_back_below_five() {
        let mut monitor = Contention::default();
        assert_eq!(feed(&mut monitor, 1, 100, 25, T), [], "4 % is healthy");
        assert_eq!(monitor.hot_rows()[0].health, Health::Healthy);
        let mut monitor = Contention::default();
        assert_eq!(feed(&mut monitor, 1, 100, 14, T), [], "7 % is elevated and changes nothing");
        assert_eq!(monitor.hot_rows()[0].health, Health::Elevated);
        assert_eq!(feed(&mut monitor, 1, 100, 5, T), [Advice::Pessimistic]);
        assert_eq!((monitor.hot_rows()[0].health, monitor.contended()), (Health::Contended, 1));
        assert_eq!(feed(&mut monitor, 1, 150, 0, T), [], "27 of 350, elevated again: the advice stays");
        assert_eq!(monitor.hot_rows()[0].health, Health::Elevated);
        assert_eq!(feed(&mut monitor, 1, 400, 0, T), [Advice::Optimistic]);
        assert_eq!(monitor.contended(), 0);
    }

    #[test]
    fn exactly_ten_percent_is_not_above_it() {
        let mut monitor = Contention::default();
        assert_eq!(feed(&mut monitor, 1, 100, 10, T), []);
        assert_eq!(monitor.hot_rows()[0].health, Health::Elevated);
    }

    #[test]
    fn a_few_unlucky_attempts_are_no_verdict() {
        let mut monitor = Contention::default();
        assert_eq!(feed(&mut monitor, 1, 19, 1, T), []);
        assert_eq!(feed(&mut monitor, 1, 1, 1, T), [Advice::Pessimistic]);
    }

    #[test]
    fn one_hot_row_is_found_among_thousands() {
        let mut monitor = Contention::default();
        for i in 0..10_000_u32 {
            monitor.record(&(i + 10), false, T);
            if i % 10 == 0 {
                monitor.record(&1, i % 20 == 0, T);
            }
        }
        let rows = monitor.hot_rows();
        let row = rows.iter().find(|row| row.key == 1).expect("it has a tenth of the attempts");
        assert_eq!((rows.len(), row.health, row.advice), (ROWS, Health::Contended, Advice::Pessimistic));
        assert!(row.conflict_rate > 0.4);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut monitor = Contention::default();
        feed(&mut monitor, 1, 1_000, 2, T);
        assert!((monitor.success_percent() - 50.0).abs() < 0.1);
        feed(&mut monitor, 1, 100, 0, T + 10 * HALF_LIFE);
        assert!(monitor.success_percent() > 99.0);
        assert_eq!(monitor.contended(), 0);
        feed(&mut monitor, 2, 1, 0, T + 40 * HALF_LIFE);
        assert_eq!(monitor.hot_rows().len(), 1, "the old row is no longer tracked");
    }

    #[test]
    fn a_monitor_without_attempts_is_all_success() {
        assert!((Contention::<u32>::default().success_percent() - 100.0).abs() < f64::EPSILON);
    }

    proptest! {
        /// SpaceSaving's promises: every row with more than 1/64 of the attempts is tracked, no count is below the truth,
        /// and what was observed is never above it.
        #[test]
        fn counts_bound_the_truth(keys in proptest::collection::vec((0_u32..200, any::<bool>()), 1..3_000)) {
            let mut monitor = Contention::default();
            let mut truth: HashMap<u32, (u32, u32)> = HashMap::new();
            for (key, conflicted) in &keys {
                // Square the draw so that some rows are hot.
                let key = key * key / 200;
                monitor.record(&key, *conflicted, T);
                let entry = truth.entry(key).or_default();
                entry.0 += 1;
                entry.1 += u32::from(*conflicted);
            }
            prop_assert!(monitor.slots.len() <= ROWS);
            let share = f64::from(u32::try_from(keys.len()).unwrap()) / 64.0;
            for (key, (attempts, conflicts)) in truth {
                match monitor.slots.iter().find(|slot| slot.key == key) {
                    Some(slot) => {
                        prop_assert!(slot.count >= f64::from(attempts));
                        prop_assert!(slot.observed() <= f64::from(attempts));
                        prop_assert!(slot.conflicts <= f64::from(conflicts));
                        prop_assert!((0.0..=1.0).contains(&slot.rate()));
                    }
                    None => prop_assert!(f64::from(attempts) <= share),
                }
            }
        }

        /// Time may stand still or run backwards; rates stay rates.
        #[test]
        fn rates_stay_rates(steps in proptest::collection::vec((0_u32..80, any::<bool>(), 0_u64..100_000), 1..500)) {
            let mut monitor = Contention::default();
            for (key, conflicted, millis) in steps {
                monitor.record(&key, conflicted, Duration::from_millis(millis));
                prop_assert!((0.0..=100.0).contains(&monitor.success_percent()));
                prop_assert!(monitor.hot_rows().iter().all(|row| (0.0..=1.0).contains(&row.conflict_rate)));
            }
        }
    }
}
