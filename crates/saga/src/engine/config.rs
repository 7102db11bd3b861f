//! How much an engine takes on, how it holds its lanes, and who says what a user may do.

use std::fmt::Debug;
use std::time::Duration;

use super::lane::Bounds;

/// The bounds of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// As whom the engine holds its lanes: unique for each start of a process, so that two of one name never take each
    /// other's lanes for their own. The default is random.
    pub node: String,
    /// How long a lane is held without being renewed. Nothing is sent in the last sixth of it.
    pub lease: Duration,
    /// How often it is renewed.
    pub renew: Duration,
    /// How often the engine asks the journal what there is to do; an idle engine asks nothing else.
    pub tick: Duration,
    /// Sagas that run at once; above it they wait in the queue as `pending`, until a node has room for them.
    pub in_flight: usize,
    /// Sagas that wait in the queue, of all nodes together; above it a start is answered 429.
    pub queue: usize,
    /// How much longer than usual a new saga may be expected to take, by what ends and what is in flight; above it a start is
    /// answered 429. [`Duration::MAX`] for no such bound.
    pub wait: Duration,
    /// How long a drain waits for calls in flight. What has no answer then is asked again by whoever takes the saga over.
    pub drain: Duration,
    /// What one commit takes.
    pub lane: Bounds,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: format!("node-{:016x}", fastrand::u64(..)),
            lease: Duration::from_secs(6),
            renew: Duration::from_secs(2),
            tick: Duration::from_millis(500),
            in_flight: 4_096,
            queue: 100_000,
            wait: Duration::from_secs(5),
            drain: Duration::from_millis(100),
            lane: Bounds::default(),
        }
    }
}

impl Config {
    /// Nothing is sent once less than this is left of a lease: a call then ends, or is given up, before another node can
    /// have taken the saga.
    pub(super) fn margin(&self) -> Duration {
        self.lease / 6
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
