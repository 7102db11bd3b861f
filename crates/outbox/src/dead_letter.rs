//! Events that the log refuses: shown, tried anew, given up. What an operator does is one transaction, without a relay.

use steadfast_core::{EventId, Timestamp};
use steadfast_db::Db;

use crate::store::sqlite::read_parked;
use crate::{Error, Parked};

/// The longest reason that is kept.
const REASON_LENGTH: usize = 500;

/// What holds aggregates back: those that are still tried, and, with [`Parked::dead_at`], the dead letters.
pub async fn list(db: &Db, limit: u32) -> Result<Vec<Parked>, Error> {
    read_parked(db, i64::from(limit)).await
}

/// Gives a held event new attempts, the first of them now. Once the log takes it, the aggregate's later events follow in
/// order. Answers whether there was such an event.
pub async fn replay(db: &Db, event: EventId, now: Timestamp) -> Result<bool, Error> {
    let mut tx = db.begin().await?;
    let found = sqlx::query(include_str!("store/sqlite/replay_parked.sql"))
        .bind(event.as_bytes().as_slice())
        .bind(now.as_millis())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(found.rows_affected() > 0)
}

/// Gives a dead letter up: it is never published, and the aggregate's later events follow. Consumers find its number
/// missing; the event and `reason` stay in `outbox_discarded`. Answers whether there was such a dead letter: an event that
/// is still tried is none.
pub async fn discard(db: &Db, event: EventId, reason: &str, now: Timestamp) -> Result<bool, Error> {
    let mut tx = db.begin().await?;
    let row: Option<i64> = sqlx::query_scalar(include_str!("store/sqlite/record_discarded.sql"))
        .bind(event.as_bytes().as_slice())
        .bind(reason.chars().take(REASON_LENGTH).collect::<String>())
        .bind(now.as_millis())
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(false) };
    let row = serde_json::json!([row]).to_string();
    sqlx::query(include_str!("store/sqlite/mark_published.sql"))
        .bind(now.as_millis())
        .bind(&row)
        .execute(&mut *tx)
        .await?;
    sqlx::query(include_str!("store/sqlite/release_parked.sql")).bind(&row).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}
