//! Which ids a lane has been handed: a window of bits that moves on. What has left it counts as unseen, and is looked up.

use std::collections::VecDeque;

/// Ids that the window covers at most: half a megabyte.
const WIDTH: i64 = 4 * 1024 * 1024;

/// A set of recent ids.
#[derive(Debug, Default)]
pub(super) struct Seen {
    // The first id of the first word, a multiple of 64.
    base: i64,
    words: VecDeque<u64>,
}

impl Seen {
    pub(super) fn contains(&self, id: i64) -> bool {
        let place = id - self.base;
        let word = usize::try_from(place / 64).ok().filter(|_| place >= 0).and_then(|at| self.words.get(at));
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// Adds an id; answers whether it is new, as far as the window knows.
    pub(super) fn insert(&mut self, id: i64) -> bool {
        if self.words.is_empty() {
            self.base = id.div_euclid(64) * 64;
        }
        if id < self.base {
            return true;
        }
        let mut at = usize::try_from((id - self.base) / 64).unwrap_or(usize::MAX);
        let width = usize::try_from(WIDTH / 64).unwrap_or(usize::MAX);
        if at >= width {
            let gone = at - width + 1;
            self.words.drain(..gone.min(self.words.len()));
            self.base += i64::try_from(gone).unwrap_or(i64::MAX / 64) * 64;
            at = width - 1;
        }
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let bit = 1 << ((id - self.base) % 64);
        let is_new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_left_the_window_counts_as_unseen() {
        let mut seen = Seen::default();
        assert!(seen.insert(1_000));
        assert!(!seen.insert(1_000));
        assert!(seen.insert(1_000 + WIDTH));
        assert!(!seen.contains(1_000) && seen.contains(1_000 + WIDTH));
        assert!(seen.insert(1_000), "it is behind the window");
        assert!(!seen.contains(1_000));
        assert!(seen.insert(1_000 + 100 * WIDTH));
        assert!(!seen.contains(1_000 + WIDTH) && seen.contains(1_000 + 100 * WIDTH));
    }

    proptest! {
        #[test]
        fn within_the_window_it_is_a_set(first in 1_i64..1_000_000, ids in prop::collection::vec(0_i64..5_000, 0..200)) {
            let (mut seen, mut model) = (Seen::default(), HashSet::new());
            seen.insert(first);
            model.insert(first);
            for id in ids.iter().map(|id| first + id) {
                prop_assert_eq!(seen.insert(id), model.insert(id));
            }
            for id in first..first + 5_000 {
                prop_assert_eq!(seen.contains(id), model.contains(&id));
            }
        }
    }
}
