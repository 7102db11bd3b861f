//! Waiting for a condition, never for a time.

use std::time::Duration;

/// Polls `condition` until it holds.
///
/// # Panics
/// With `what`, when it does not hold within `limit`.
pub async fn wait_for<F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let deadline = tokio::time::Instant::now() + limit;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
