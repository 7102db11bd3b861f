//! A hint that there may be something to publish.

use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes the relay of the same process; clones wake the same one. A hint is an invitation to look, never a promise: it
/// may come before the commit, too often, or not at all. Hints that arrive while the relay is looking become one.
#[derive(Clone, Debug, Default)]
pub struct Hint(Arc<Notify>);

impl Hint {
    /// A hint that nobody listens to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Invites the relay to look now. Best called after the commit; called before, the relay looks again every few
    /// milliseconds for a while.
    pub fn notify(&self) {
        self.0.notify_one();
    }

    /// Waits for the next hint, or for one that nobody has waited for.
    pub(crate) async fn notified(&self) {
        self.0.notified().await;
    }
}
