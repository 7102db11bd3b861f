//! Old days of an outbox, moved off on schedule.

use std::path::Path;
use std::sync::Arc;

use steadfast_core::{Classified, Clock, Timestamp};
use steadfast_outbox::{Error, Outbox};
use tokio_util::sync::CancellationToken;

use super::config::Archive;

/// Events of one step, where a step is not a day.
pub(crate) const STEP: u32 = 10_000;

/// Moves off what is old enough, until `stop`.
pub(super) async fn run(name: String, outbox: Outbox, plan: Archive, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let folder = plan.folder.join(&name);
    let mut ticks = tokio::time::interval(plan.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        // A file that is cut short by the end of the process is written anew by the next run.
        let Some(moved) = stop.run_until_cancelled(once(&outbox, &folder, clock.now() - plan.keep)).await else {
            return;
        };
        match moved {
            Ok(0) => {}
            Ok(events) => tracing::info!(database = name, events, "old days of the outbox were archived"),
            Err(error) => {
                let kind = error.kind();
                tracing::error!(database = name, error = &error as &dyn std::error::Error, ?kind, "archiving failed");
            }
        }
    }
}

/// Moves off what was written before; how many events.
pub(crate) async fn once(outbox: &Outbox, folder: &Path, before: Timestamp) -> Result<u64, Error> {
    tokio::fs::create_dir_all(folder).await.map_err(Error::Archive)?;
    let mut all = 0;
    loop {
        match outbox.archive_into(folder, before, STEP).await? {
            0 => return Ok(all),
            events => all += events,
        }
    }
}
