//! The signals that end a process.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;

/// A token that is cancelled by SIGTERM or SIGINT, whichever comes first. Everything that runs for long takes a clone,
/// ends what it has begun and returns.
pub fn on_signal() -> Result<CancellationToken, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    // It ends with the process at the latest, so nobody waits for it.
    TaskTracker::new().spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = cancelled.cancelled() => return,
        };
        tracing::info!(signal = name, "ending: no new work is taken, what has begun is finished");
        cancelled.cancel();
    });
    Ok(token)
}
