//! When a row is hot: so many are at it at once that they wait for its lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Key;

/// Counts who is at which row in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heat {
    counts: Arc<Mutex<HashMap<Key, usize>>>,
    hot: usize,
}

/// Somebody at some rows, until it is dropped.
#[derive(Debug)]
pub struct Warm {
    heat: Heat,
    keys: Vec<Key>,
    hot: bool,
}

impl Heat {
    /// Rows are hot from so many at once.
    pub fn new(hot: usize) -> Self {
        Self { counts: Arc::default(), hot }
    }

    /// Comes to these rows.
    pub fn come(&self, keys: impl IntoIterator<Item = Key>) -> Warm {
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut counts = self.lock();
        let mut hot = false;
        for key in &keys {
            let count = counts.entry(key.clone()).or_default();
            *count += 1;
            hot |= *count >= self.hot;
        }
        drop(counts);
        Warm { heat: self.clone(), keys, hot }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        // Counts that a panic has left behind only make a row seem warmer.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Warm {
    /// Whether one of the rows was hot when this one came.
    pub const fn is_hot(&self) -> bool {
        self.hot
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        let mut counts = self.heat.lock();
        for key in &self.keys {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_hot_while_enough_are_at_it() {
        let heat = Heat::new(2);
        let come = |key: &str| heat.come([Key::from(key)]);
        let first = come("a");
        assert!(!first.is_hot());
        let second = come("a");
        assert!(second.is_hot() && !come("b").is_hot());
        drop((first, second));
        assert!(!come("a").is_hot());
        assert!(heat.lock().is_empty(), "what is cold is forgotten");
    }
}
