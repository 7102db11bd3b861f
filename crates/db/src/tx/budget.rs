//! What retries are paid from, so that a storm of conflicts does not feed itself: when most transactions fail, each retry of
//! them is one more transaction to fail.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A retry costs this much; a transaction earns a tenth of it when it begins: retries are at most 10 % of transactions.
const RETRY: u64 = 1_000;
const EARNED: u64 = RETRY / 10;

/// What there is at first: a burst is no storm.
const AT_FIRST: u64 = 100 * RETRY;

/// The balance never exceeds this, however long it was quiet.
const MOST: u64 = 1_000 * RETRY;

/// Time alone fills up to this, so that a lone transaction can always be tried again, and this fast.
const FLOOR: u64 = 10 * RETRY;
const FLOOR_PER_SECOND: u64 = 5 * RETRY;

/// A budget of retries: a tenth of the transactions that share it, and a few a second in any case.
///
/// ```
/// use steadfast_db::tx::{Budget, Policy};
///
/// static STOCK: Budget = Budget::new();
/// let policy = Policy { budget: &STOCK, ..Policy::default() };
/// ```
#[derive(Debug)]
pub struct Budget(Mutex<Balance>);

impl Budget {
    /// A full one.
    pub const fn new() -> Self {
        Self(Mutex::new(Balance { left: AT_FIRST, filled_at: None }))
    }

    pub(super) fn deposit(&self) {
        self.lock().deposit();
    }

    /// Pays for a retry, if it can be paid for.
    pub(super) fn withdraw(&self) -> bool {
        let now = Instant::now();
        self.lock().withdraw(now)
    }

    fn lock(&self) -> MutexGuard<'_, Balance> {
        // Nothing panics between a balance and the next.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

/// The arithmetic; `now` is an argument.
#[derive(Debug)]
struct Balance {
    left: u64,
    /// When time was last credited.
    filled_at: Option<Instant>,
}

impl Balance {
    fn deposit(&mut self) {
        self.left = (self.left + EARNED).min(MOST);
    }

    fn withdraw(&mut self, now: Instant) -> bool {
        if self.left < FLOOR {
            let passed = self.filled_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            self.left = self.left.saturating_add(millis.saturating_mul(FLOOR_PER_SECOND / 1_000)).min(FLOOR);
        }
        self.filled_at = Some(now);
        let paid = self.left >= RETRY;
        if paid {
            self.left -= RETRY;
        }
        paid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(now: Instant) -> Balance {
        let mut balance = Balance { left: AT_FIRST, filled_at: None };
        while balance.withdraw(now) {}
        balance
    }

    #[test]
    fn a_burst_is_paid_for_and_a_storm_gets_a_tenth() {
        let now = Instant::now();
        let mut balance = Balance { left: AT_FIRST, filled_at: None };
        assert_eq!((0..1_000).filter(|_| balance.withdraw(now)).count(), 100);
        let paid = (0..1_000).filter(|_| {
            balance.deposit();
            balance.withdraw(now)
        });
        assert_eq!(paid.count(), 100, "a thousand transactions that all fail");
    }

    #[test]
    fn time_alone_pays_for_a_few() {
        let now = Instant::now();
        let mut balance = drained(now);
        assert!(!balance.withdraw(now + Duration::from_millis(199)));
        assert!(balance.withdraw(now + Duration::from_millis(400)));
        let later = now + Duration::from_hours(1);
        assert_eq!((0..100).filter(|_| balance.withdraw(later)).count(), 10, "no more than the floor");
    }

    #[test]
    fn quiet_years_buy_no_storm() {
        let mut balance = drained(Instant::now());
        for _ in 0..1_000_000 {
            balance.deposit();
        }
        let now = Instant::now();
        assert_eq!((0..10_000).filter(|_| balance.withdraw(now)).count(), 1_000);
    }
}
