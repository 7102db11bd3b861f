//! Waiting for what passes by itself, such as a database that is away when the process starts.

use std::error::Error;
use std::time::Duration;

use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, ErrorKind};

/// The pauses between attempts.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(3) };

/// Tries until an attempt succeeds, or fails in a way that no waiting mends. `what` cannot be done, as the log says it:
/// "the journal cannot be opened".
///
/// # Errors
/// The first error that is not [`ErrorKind::Transient`].
pub async fn patiently<T, E: Classified + Error>(what: &str, attempt: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
    let mut failures = 0_u32;
    loop {
        let error = match attempt().await {
            Err(error) if error.kind() == ErrorKind::Transient => error,
            ended => return ended,
        };
        failures = failures.saturating_add(1);
        tracing::warn!(cause = chain(&error), failures, "{what}: trying again");
        tokio::time::sleep(BACKOFF.pause(failures, fastrand::u64(..))).await;
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::Error;

    async fn attempts(errors: &[fn() -> Error]) -> (Result<(), Error>, u32) {
        let made = AtomicU32::new(0);
        let outcome = patiently("the thing cannot be had", async || {
            let nth = made.fetch_add(1, Ordering::SeqCst);
            errors.get(nth as usize).map_or(Ok(()), |error| Err(error()))
        });
        let outcome = outcome.await;
        (outcome, made.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn only_what_passes_is_waited_for() {
        let away: fn() -> Error = || Error::Listen(std::io::Error::other("away"));
        let wrong: fn() -> Error = || Error::Installed("another");
        assert!(matches!(attempts(&[away, away]).await, (Ok(()), 3)));
        assert!(matches!(attempts(&[away, wrong, away]).await, (Err(Error::Installed(_)), 2)));
    }

    #[test]
    fn all_causes_are_told() {
        let error = Error::Listen(std::io::Error::other("too many files"));
        assert_eq!(chain(&error), "the listener failed: too many files");
    }
}
