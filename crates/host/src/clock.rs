//! The one place where the platform reads the time of the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use steadfast_core::{Clock, Timestamp};

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "the one real source of time; everything else takes a Clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lives_in_this_century() {
        let day = System.now().day();
        assert!((20_000..60_000).contains(&day), "{day}");
    }
}
