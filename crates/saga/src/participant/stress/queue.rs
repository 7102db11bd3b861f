//! Two queues, one before the other.

use std::collections::VecDeque;

use super::state::Class;

/// Whoever came first goes first, compensations before actions.
#[derive(Debug)]
pub(super) struct Queue<T> {
    compensations: VecDeque<T>,
    actions: VecDeque<T>,
    most: usize,
}

impl<T> Queue<T> {
    /// For `most` of each class.
    pub(super) const fn new(most: usize) -> Self {
        Self { compensations: VecDeque::new(), actions: VecDeque::new(), most }
    }

    pub(super) fn len(&self) -> usize {
        self.compensations.len() + self.actions.len()
    }

    /// Gives it back where there is no room.
    pub(super) fn push(&mut self, class: Class, waiting: T) -> Result<(), T> {
        let queue = match class {
            Class::Compensation => &mut self.compensations,
            Class::Action => &mut self.actions,
        };
        if queue.len() >= self.most {
            return Err(waiting);
        }
        queue.push_back(waiting);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        self.compensations.pop_front().or_else(|| self.actions.pop_front())
    }
}
