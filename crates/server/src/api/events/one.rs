//! The stream of one saga.

use std::time::Duration;

use serde::Serialize;
use steadfast_core::SagaId;
use steadfast_saga::engine::{AuditLine, Change, Engine, View};
use steadfast_saga::machine::Status;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout_at};

use super::stream::Frames;

/// A saga of another node is not heard here: it is looked up this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// However much happens, the journal is read this often at most for a stream.
const LOOK_AT_MOST: Duration = Duration::from_millis(100);

/// What an event says.
#[derive(Debug, Serialize)]
struct Told<'a> {
    saga_id: &'a str,
    #[serde(flatten)]
    line: &'a AuditLine,
}

/// Nothing is left to tell, and nothing will happen any more.
pub(super) fn is_told(view: &View, after: i64) -> bool {
    is_settled(view) && view.context.audit_log.last().is_none_or(|line| line.seq <= after)
}

fn is_settled(view: &View) -> bool {
    [Status::Completed, Status::Compensated].iter().any(|status| status.as_str() == view.summary.status)
}

/// Tells all rows after `after`, until the saga is settled.
pub(super) async fn tell(
    engine: Engine,
    id: SagaId,
    mut after: i64,
    mut view: View,
    mut changes: broadcast::Receiver<Change>,
    frames: Frames,
) {
    let mut parked = false;
    loop {
        let looked = Instant::now();
        match tell_rows(&view, after, &frames).await {
            Some(last) => after = last,
            None => return,
        }
        if is_settled(&view) {
            frames.event("end", None, &view.summary).await;
            return;
        }
        // An operator may take it up again: the stream goes on.
        let parks = view.summary.status == Status::Failed.as_str();
        if parks && !parked && !frames.event("rest", None, &view.summary).await {
            return;
        }
        parked = parks;
        let more = tokio::select! {
            () = engine.lost() => false,
            more = heard(&mut changes, id, looked + LOOK_EVERY) => more,
        };
        if !more {
            return;
        }
        sleep(LOOK_AT_MOST.saturating_sub(looked.elapsed())).await;
        match engine.show(id).await {
            Ok(Some(found)) => view = found,
            Ok(None) => return,
            // The next look may find it readable again.
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a stream could not look up its saga");
            }
        }
    }
}

/// Sends the lines of all rows after `after`; gives the last row, or `None` where nobody listens any more.
async fn tell_rows(view: &View, after: i64, frames: &Frames) -> Option<i64> {
    let mut last = after;
    let lines = &view.context.audit_log;
    for (index, line) in lines.iter().enumerate() {
        if line.seq <= after {
            continue;
        }
        // Only with its last line is a row told: who leaves before hears all of it again.
        let whole = lines.get(index + 1).is_none_or(|next| next.seq != line.seq);
        let told = Told { saga_id: &view.summary.saga_id, line };
        if !frames.event("change", whole.then_some(line.seq), &told).await {
            return None;
        }
        last = line.seq;
    }
    Some(last)
}

/// Waits for a change of this saga, at most until `limit`. False where this node has ended.
async fn heard(changes: &mut broadcast::Receiver<Change>, id: SagaId, limit: Instant) -> bool {
    let hearing = async {
        loop {
            match changes.recv().await {
                Ok(change) if change.saga_id != id => {}
                // What was missed may have been about it.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return true,
                Err(broadcast::error::RecvError::Closed) => return false,
            }
        }
    };
    timeout_at(limit, hearing).await.unwrap_or(true)
}
