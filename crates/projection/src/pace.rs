//! How many events the next transaction takes, as a function of how the last ones went: no I/O, no clock.
//!
//! A transaction holds the rows of its aggregates until it commits. Where events of one aggregate come from several
//! partitions, others wait for those rows: a batch that takes seconds makes them run into their lock timeout, and what they
//! have done is lost. So a slow or a failed batch is followed by a smaller one, and a quick one by a larger.

use std::time::Duration;

/// A batch that takes longer is too large.
const SLOW: Duration = Duration::from_secs(1);
/// After a full batch that took less there may be more.
const QUICK: Duration = Duration::from_millis(250);
/// Smaller is no help: each has a commit of its own.
const LEAST: usize = 16;

/// The size of batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    most: usize,
    size: usize,
}

impl Pace {
    /// As large as they may be.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, size: most }
    }

    /// The most events of the next batch.
    pub(crate) fn size(self) -> usize {
        self.size
    }

    /// So many events were committed in this time.
    pub(crate) fn committed(&mut self, events: usize, took: Duration) {
        if took > SLOW {
            self.shrink();
        } else if took < QUICK && events >= self.size {
            self.size = self.size.saturating_mul(2).min(self.most);
        }
    }

    /// A batch was rolled back, by nobody's fault.
    pub(crate) fn failed(&mut self) {
        self.shrink();
    }

    fn shrink(&mut self) {
        self.size = (self.size / 2).max(LEAST.min(self.most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(most: usize, steps: impl IntoIterator<Item = Option<(usize, u64)>>) -> Vec<usize> {
        let mut pace = Pace::new(most);
        let step = |step: Option<(usize, u64)>| {
            match step {
                Some((events, millis)) => pace.committed(events, Duration::from_millis(millis)),
                None => pace.failed(),
            }
            pace.size()
        };
        steps.into_iter().map(step).collect()
    }

    #[test]
    fn slow_and_failed_batches_are_followed_by_smaller_ones_and_quick_ones_by_larger() {
        assert_eq!(sizes(1_000, [Some((1_000, 1_001)), None, Some((250, 600))]), [500, 250, 250]);
        assert_eq!(sizes(1_000, [None, Some((500, 20)), Some((1_000, 20))]), [500, 1_000, 1_000]);
        assert_eq!(sizes(1_000, [None, Some((499, 20))]), [500, 500], "it was not full");
    }

    #[test]
    fn they_shrink_to_a_floor_and_to_no_more_than_was_asked_for() {
        assert_eq!(sizes(1_000, [None; 9]).last(), Some(&LEAST));
        assert_eq!(sizes(4, [None, None]), [4, 4]);
    }
}
