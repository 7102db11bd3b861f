//! Time as a value.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch, UTC.
///
/// ```
/// use std::time::Duration;
/// use steadfast_core::Timestamp;
///
/// let start = Timestamp::from_millis(1_000);
/// assert_eq!(start + Duration::from_secs(2), Timestamp::from_millis(3_000));
/// assert_eq!(start.since(Timestamp::from_millis(400)), Duration::from_millis(600));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that lies `millis` after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time that has passed since `earlier`; zero where `earlier` is later, as after a step of the clock.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The day in UTC as days since the Unix epoch; the partition of journals and outboxes.
    pub const fn day(self) -> i64 {
        self.0.div_euclid(86_400_000)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the end of time.
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the beginning of time.
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// A source of the present moment. The real one is `steadfast_host::clock::System`; tests bring a seeded one.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present moment. It may step backwards, as wall clocks do; callers must not rely on it for order.
    fn now(&self) -> Timestamp;
}
