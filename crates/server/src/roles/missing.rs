//! What a role cannot work without: asked for every other second, shown at `/readyz`, told in the log when it changes.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use steadfast_core::{Classified, ErrorKind};
use steadfast_host::health::Health;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fault::chain;

/// How often it is asked for, and how long an answer may take: `/readyz` is right within ten seconds.
const PERIOD: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(6);
/// How long a role waits at its start for what may be at fault for good.
const FIRST: Duration = Duration::from_secs(3);

type Answer = Pin<Box<dyn Future<Output = Result<(), Absence>> + Send>>;

/// Why it cannot be worked with.
#[derive(Debug)]
pub(crate) struct Absence {
    /// For `/readyz`, which everybody may read: no host, user or secret.
    shown: String,
    cause: String,
    passes: bool,
}

impl Absence {
    /// By the kind of the error.
    pub(crate) fn of<E: Classified + std::error::Error>(shown: &str, error: &E) -> Self {
        Self { shown: shown.to_owned(), passes: error.kind() == ErrorKind::Transient, cause: chain(error) }
    }

    /// Waiting may mend it.
    pub(crate) fn passing(shown: &str, error: &dyn std::error::Error) -> Self {
        Self { shown: shown.to_owned(), passes: true, cause: chain(error) }
    }

    /// No waiting mends it.
    pub(crate) fn lasting(shown: &str) -> Self {
        Self { shown: shown.to_owned(), passes: false, cause: shown.to_owned() }
    }
}

/// One thing that a role needs.
pub(crate) struct Missing {
    name: String,
    ask: Box<dyn Fn() -> Answer + Send + Sync>,
    /// `None` while it is there.
    state: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Missing").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Missing {
    /// `ask` says whether it is there.
    pub(crate) fn watched<F>(name: impl Into<String>, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Absence>> + Send + 'static,
    {
        let state = Arc::new(Mutex::new(Some("not heard of yet".to_owned())));
        Self { name: name.into(), ask: Box::new(move || Box::pin(ask())), state }
    }

    /// Shows it at `/readyz`.
    pub(crate) fn show_in(&self, health: &Health) {
        let state = Arc::clone(&self.state);
        health.check(&*self.name, Duration::from_secs(1), move || {
            let missing = state.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move { missing.map_or(Ok(()), Err) }
        });
    }

    /// Asks once, before the role begins to work.
    ///
    /// # Errors
    /// A fault that no waiting mends.
    pub(crate) async fn first(self) -> Result<Self> {
        match timeout(FIRST, (self.ask)()).await {
            Ok(Err(Absence { cause, passes: false, .. })) => bail!("{}: {cause}", self.name),
            _ => Ok(self),
        }
    }

    /// Asks until `stop`.
    ///
    /// # Errors
    /// A fault that no waiting mends, as long as it has never been there: then the configuration is at fault. Later ones
    /// are shown and told, and do not end the role.
    pub(crate) async fn watch(self, stop: CancellationToken) -> Result<()> {
        let mut met = false;
        let mut told: Option<String> = None;
        loop {
            let Some(answer) = stop.run_until_cancelled(timeout(ANSWER, (self.ask)())).await else { return Ok(()) };
            let missing = match answer.unwrap_or_else(|late| Err(Absence::passing("it does not answer", &late))) {
                Ok(()) => {
                    if told.take().is_some() {
                        tracing::warn!(name = self.name, "it can be worked with again");
                    }
                    met = true;
                    None
                }
                Err(Absence { cause, passes: false, .. }) if !met => bail!("{}: {cause}", self.name),
                Err(Absence { shown, cause, .. }) => {
                    if told.as_ref() != Some(&cause) {
                        tracing::warn!(name = self.name, cause, "it cannot be worked with: trying again");
                        told = Some(cause);
                    }
                    Some(shown)
                }
            };
            *self.state.lock().unwrap_or_else(PoisonError::into_inner) = missing;
            if stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_none() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use steadfast_testkit::wait_for;

    use super::*;

    fn fault() -> std::io::Error {
        std::io::Error::other("connection refused by 10.0.0.7")
    }

    async fn ends_with(passes: bool, good_first: bool) -> Option<String> {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let missing = Missing::watched("thing", move || {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if first && good_first {
                    return Ok(());
                }
                Err(if passes { Absence::passing("away", &fault()) } else { Absence::lasting("wrong") })
            }
        });
        let (health, stop) = (Health::new(), CancellationToken::new());
        missing.show_in(&health);
        let watching = tokio_util::task::TaskTracker::new().spawn(missing.watch(stop.clone()));
        wait_for("it was asked for", Duration::from_secs(5), || async {
            watching.is_finished()
                || (asked.load(Ordering::SeqCst) > 0 && health_says(&health).await != "not heard of yet")
        })
        .await;
        let shown = health_says(&health).await;
        assert!(!shown.contains("10.0.0.7"), "everybody may read it: {shown}");
        stop.cancel();
        watching.await.unwrap().err().map(|error| format!("{error:#}"))
    }

    async fn health_says(health: &Health) -> String {
        health.missing().await.first().map(|missing| missing.why.clone()).unwrap_or_default()
    }

    #[tokio::test]
    async fn only_a_fault_that_no_waiting_mends_and_that_comes_first_ends_the_role() {
        assert_eq!(ends_with(true, false).await, None);
        assert_eq!(ends_with(false, true).await, None);
        assert_eq!(ends_with(false, false).await.as_deref(), Some("thing: wrong"));
    }
}
