//! When a platform is at rest: every saga settled or parked, every event published and projected.

use std::time::Duration;

use anyhow::Result;
use goodgo_pos::check::{Error, Stores, under_way};
use steadfast_core::{Classified, ErrorKind};
use tokio::time::Instant;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until nothing moves any more, at most `limit`; answers whether that is so. A server that is away for a moment is
/// asked again.
pub(crate) async fn wait(stores: &Stores, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        match under_way(stores).await {
            Ok(found) if found.is_nothing() => return Ok(true),
            Ok(_) if Instant::now() >= deadline => return Ok(false),
            Err(error) if !is_passing(&error) || Instant::now() >= deadline => return Err(error.into()),
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Reads until all servers answer, at most `limit`, with a pause after each time that one did not.
#[cfg(feature = "kafka")]
pub(super) async fn patiently<T>(
    limit: Duration,
    pause: Duration,
    read: impl AsyncFn() -> Result<T, Error>,
) -> Result<T, Error> {
    let deadline = Instant::now() + limit;
    loop {
        match read().await {
            Err(error) if is_passing(&error) && Instant::now() < deadline => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a server is away: it is asked again");
                tokio::time::sleep(pause).await;
            }
            read => return read,
        }
    }
}

fn is_passing(error: &Error) -> bool {
    error.kind() == ErrorKind::Transient
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn away() -> Error {
        steadfast_bus::Error::Unavailable("gone".to_owned()).into()
    }

    #[tokio::test]
    async fn who_is_away_for_a_moment_is_asked_again_and_who_stays_away_is_told_of() {
        let asked = Cell::new(0);
        let read = async || {
            asked.set(asked.get() + 1);
            if asked.get() < 3 { Err(away()) } else { Ok(7) }
        };
        let (long, short) = (Duration::from_secs(10), Duration::from_millis(1));
        assert_eq!(patiently(long, short, read).await.unwrap(), 7);
        assert_eq!(asked.get(), 3);
        let gone = patiently(short, short, async || Err::<(), _>(away())).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Transient);
        let corrupt = || Error::Corrupt { database: "order", fault: "x".to_owned() };
        let asked = Cell::new(0);
        let read = async || {
            asked.set(asked.get() + 1);
            Err::<(), _>(corrupt())
        };
        assert!(patiently(long, short, read).await.is_err());
        assert_eq!(asked.get(), 1);
    }
}
