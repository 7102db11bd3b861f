//! When a platform is at rest: every saga settled or parked, every event published and projected.

use std::time::Duration;

use anyhow::Result;
use goodgo_pos::check::{Stores, under_way};
use tokio::time::Instant;

/// Waits until nothing moves any more, at most `limit`; answers whether that is so.
pub(crate) async fn wait(stores: &Stores, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while !under_way(stores).await?.is_nothing() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(true)
}
