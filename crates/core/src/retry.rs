//! When to try again: exponential back-off with full jitter, as a function of the attempt and of randomness that the
//! caller draws (Brooker, "Exponential Backoff And Jitter", 2015).

use std::time::Duration;

/// Exponential back-off. The pause before attempt n + 1 lies between zero and `min(cap, base * 2^(n-1))`.
///
/// ```
/// use std::time::Duration;
/// use steadfast_core::retry::Backoff;
///
/// let backoff = Backoff { base: Duration::from_millis(5), cap: Duration::from_millis(200) };
/// assert_eq!(backoff.ceiling(1), Duration::from_millis(5));
/// assert_eq!(backoff.ceiling(3), Duration::from_millis(20));
/// assert_eq!(backoff.ceiling(60), Duration::from_millis(200));
/// assert!(backoff.pause(3, u64::MAX) <= Duration::from_millis(20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling of the first pause.
    pub base: Duration,
    /// The ceiling of every pause.
    pub cap: Duration,
}

impl Backoff {
    /// The longest pause after `failures` failed attempts (1 for the first).
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(32);
        self.base.checked_mul(1 << doublings.min(31)).unwrap_or(self.cap).min(self.cap)
    }

    /// A pause between zero and [`ceiling`](Self::ceiling), chosen by `random`.
    pub fn pause(&self, failures: u32, random: u64) -> Duration {
        let ceiling = u64::try_from(self.ceiling(failures).as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random % ceiling.saturating_add(1))
    }
}
