//! Moves SQLite's logs into their files, off the path of every commit.

use std::time::Duration;

use steadfast_db::Db;
use tokio_util::sync::CancellationToken;

const PAUSE: Duration = Duration::from_secs(2);

/// Until `stop`.
pub(crate) async fn keep(dbs: Vec<Db>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PAUSE);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for db in &dbs {
            if let Err(error) = db.checkpoint().await {
                tracing::debug!(%error, database = %db.path().display(), "no checkpoint this time");
            }
        }
    }
}
