//! When a platform is at rest: every saga settled or parked, every event published and projected.

use std::time::Duration;

use anyhow::Result;
use steadfast_db::Db;
use tokio::time::Instant;

use super::super::embedded::Stores;

const UNSETTLED: &str = "select count(*) from saga where status in ('pending', 'running', 'compensating')";
const LOG_ENDS: &str = "select partition, max(offset) from event_log group by partition";
const POSITIONS: &str = "select partition, position from checkpoint";

/// Waits until nothing moves any more, at most `limit`; answers whether that is so.
pub(super) async fn wait(stores: &Stores, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while !is_at_rest(stores).await? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(true)
}

async fn is_at_rest(stores: &Stores) -> Result<bool> {
    let unsettled: i64 = sqlx::query_scalar(UNSETTLED).fetch_one(stores.orchestrator.readers()).await?;
    if unsettled > 0 {
        return Ok(false);
    }
    for db in [&stores.order, &stores.payment, &stores.inventory, &stores.orchestrator] {
        if steadfast_outbox::status(db).await?.oldest_waiting.is_some() {
            return Ok(false);
        }
    }
    let positions = pairs(&stores.read_model, POSITIONS).await?;
    let ends = pairs(&stores.log, LOG_ENDS).await?;
    Ok(ends.iter().all(|(partition, last)| positions.iter().any(|(known, next)| known == partition && next > last)))
}

async fn pairs(db: &Db, sql: &'static str) -> Result<Vec<(i64, i64)>> {
    Ok(sqlx::query_as(sql).fetch_all(db.readers()).await?)
}
