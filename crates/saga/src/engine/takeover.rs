//! Lanes of other nodes: taken over where their lease has ended, worked off, and given up again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::core::Core;
use super::recovery::Patience;
use super::tenure::Tenure;
use crate::Error;
use crate::journal::Lane;

/// How long a lane waits for its last entries before it is given up.
const FLUSH: Duration = Duration::from_secs(5);

/// How often a lane is looked at again in which something rests that cannot be taken up.
const LOOK: Duration = Duration::from_mins(1);

/// Takes a lapsed lane, with all that is unsettled in it.
pub(super) async fn take_over(core: Arc<Core>, seen: Lane) {
    let asked = Instant::now();
    match core.journal.take_over(seen, core.hold()).await {
        Ok(Some(owner)) => {
            tracing::info!(lane = owner.id, epoch = owner.epoch, former = seen.epoch, "a lane is taken over");
            let tenure = core.enter(owner, asked);
            core.duties.end_taking(seen.id);
            if let Err(error) = core.recover(&tenure, Patience::Endless).await {
                tracing::debug!(%error, "the lane was lost before it was read");
            }
            tenure.set_recovered();
            core.emptied.notify_one();
            return;
        }
        Ok(None) => tracing::debug!(lane = seen.id, "another node was first to take the lane over"),
        Err(error) => tracing::warn!(%error, lane = seen.id, "a lane could not be taken over: it is tried again"),
    }
    core.duties.end_taking(seen.id);
}

/// Gives lanes up that were taken over and hold nothing unsettled any more.
pub(super) async fn retire(core: Arc<Core>) {
    // Where something rests that cannot be taken up: whoever took the lane over could not do so either.
    let mut kept: HashSet<(i64, i64)> = HashSet::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = core.emptied.notified() => {}
            _ = look.tick() => kept.clear(),
        }
        for tenure in core.tenures.guests().iter().filter(|tenure| tenure.is_recovered() && tenure.is_empty()) {
            let Lane { id, epoch } = tenure.owner;
            if kept.contains(&(id, epoch)) {
                continue;
            }
            match core.retire(tenure).await {
                Ok(true) => tracing::info!(lane = id, epoch, "a lane that was taken over is empty and given up"),
                Ok(false) => drop(kept.insert((id, epoch))),
                Err(error) => tracing::debug!(%error, lane = id, "a lane could not be given up"),
            }
        }
    }
}

impl Core {
    async fn retire(self: &Arc<Self>, tenure: &Arc<Tenure>) -> Result<bool, Error> {
        if tokio::time::timeout(FLUSH, tenure.lane.flush()).await != Ok(true) {
            return Ok(false);
        }
        if !tenure.is_empty() || !self.journal.unsettled(tenure.owner.id, 0, 1).await?.is_empty() {
            return Ok(false);
        }
        if self.tenures.remove(tenure.owner).is_none() {
            return Ok(false);
        }
        tenure.lane.close().await;
        tenure.lose();
        self.journal.release(&[tenure.owner]).await?;
        Ok(true)
    }
}
