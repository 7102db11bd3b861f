//! Up to when participants may prune their barriers.

use std::time::Duration;

use steadfast_core::Timestamp;

/// Far longer than a start is on its way to the journal, where nothing tells of it yet.
const RECENT: Duration = Duration::from_hours(1);

/// The pruning horizon, from the start of the oldest saga that is not over.
pub(super) fn behind(oldest: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let recent = now - RECENT;
    oldest.map_or(recent, |oldest| oldest.min(recent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_not_over_or_was_begun_lately_lies_behind_it() {
        let minute = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let cases = [(None, 240), (Some(100), 100), (Some(240), 240), (Some(250), 240), (Some(310), 240)];
        for (oldest, expected) in cases {
            assert_eq!(behind(oldest.map(minute), minute(300)), minute(expected), "{oldest:?}");
        }
    }
}
