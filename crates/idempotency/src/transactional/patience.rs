//! How long the database may keep a request waiting.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::Error;

/// Each step has so much even when there is nothing left, so that what is there already is taken.
const LEAST: Duration = Duration::from_millis(20);

/// What is left of the time that a request may wait for its database. The work itself takes its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(Duration);

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self(limit)
    }

    pub(crate) fn is_over(self) -> bool {
        self.0.is_zero()
    }

    /// So much of it was spent elsewhere.
    pub(crate) fn spend(&mut self, time: Duration) {
        self.0 = self.0.saturating_sub(time);
    }

    /// Waits, and no longer than there is patience.
    pub(crate) async fn wait<T>(&mut self, step: impl Future<Output = T>) -> Result<T, Error> {
        let begun = Instant::now();
        let done = timeout(self.0.max(LEAST), step).await;
        self.spend(begun.elapsed());
        done.map_err(|_| Error::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_steps_share_one_limit_and_none_waits_beyond_it() {
        let limit = Duration::from_mins(1);
        let step = Duration::from_millis(30);
        let mut patience = Patience::new(limit);
        patience.wait(tokio::time::sleep(step)).await.unwrap();
        assert!(patience.0 <= limit.saturating_sub(step) && !patience.is_over(), "{patience:?}");
        let mut patience = Patience(step);
        let late = patience.wait(std::future::pending::<()>()).await;
        assert!(matches!(late, Err(Error::TimedOut)) && patience.is_over(), "{patience:?}");
        assert_eq!(patience.wait(async { 7 }).await.unwrap(), 7, "what is there already is taken");
    }
}
