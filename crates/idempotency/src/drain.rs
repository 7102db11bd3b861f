//! Executions outlive the connection that asked for them; this is what a shutting down process waits for.

use std::fmt;
use std::future::Future;

use tokio_util::task::TaskTracker;

/// The executions that are under way; clones share them. Give one to every layer and wait for it at SIGTERM, after
/// the listeners have been closed.
#[derive(Clone, Default)]
pub struct Drain(TaskTracker);

impl Drain {
    /// With nothing under way.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many executions are under way.
    pub fn running(&self) -> usize {
        self.0.len()
    }

    /// Waits until none is under way. Requests that still arrive are executed and waited for as well.
    pub async fn wait(&self) {
        self.0.close();
        self.0.wait().await;
    }

    pub(crate) fn spawn(&self, execution: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(execution);
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("running", &self.running()).finish()
    }
}
