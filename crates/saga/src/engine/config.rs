//! How much an engine takes on, and who says what a user may do.

use std::fmt::Debug;
use std::time::Duration;

use super::lane::Bounds;

/// The bounds of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Sagas that run at once; above it they wait in the queue as `pending`.
    pub in_flight: usize,
    /// Sagas that wait in the queue; above it a start is answered 429.
    pub queue: usize,
    /// How long a drain waits for calls in flight.
    pub drain: Duration,
    /// What one commit takes.
    pub lane: Bounds,
}

impl Default for Config {
    fn default() -> Self {
        Self { in_flight: 4_096, queue: 100_000, drain: Duration::from_secs(5), lane: Bounds::default() }
    }
}

/// Says whether a user holds a permission at this moment; asked before every step. A compensation is never refused for
/// lack of one.
pub trait Permissions: Debug + Send + Sync {
    /// `at_start`: what the user was permitted when the saga began.
    fn holds(&self, user: &str, at_start: &[String], permission: &str) -> bool;
}

/// A user keeps what they were permitted at the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsAtStart;

impl Permissions for AsAtStart {
    fn holds(&self, _user: &str, at_start: &[String], permission: &str) -> bool {
        at_start.iter().any(|held| held == permission)
    }
}
