//! The archive of PostgreSQL's partitions: one day at a time, the oldest first, so that archived numbers have no gap.

use futures_util::TryStreamExt;
use steadfast_core::Timestamp;
use steadfast_db::postgres::Db;

use super::{decode, millis};
use crate::Error;
use crate::archive::{Shelf, line};

/// Archives the oldest day that ended before `before` and had events; how many. None are moved while one of them waits.
pub(super) async fn archive_day(db: &Db, before: Timestamp, mut shelf: Shelf<'_>) -> Result<u64, Error> {
    loop {
        let day: Option<(String, bool)> =
            sqlx::query_as(include_str!("read_ended_day.sql")).bind(millis(before)).fetch_optional(db.pool()).await?;
        let Some((day, false)) = day else { return Ok(0) };
        let (amount, checksum) = write_day(db, &day, &mut shelf).await?;
        let outcome: String = sqlx::query_scalar(include_str!("drop_day.sql"))
            .bind(&day)
            .bind(amount)
            .bind(checksum)
            .fetch_one(db.pool())
            .await?;
        match (outcome.as_str(), u64::try_from(amount).unwrap_or(0)) {
            // A day without events is no work.
            ("dropped" | "gone", 0) => {}
            ("dropped", amount) => return Ok(amount),
            _ => {
                tracing::warn!(day, outcome, "a day of the outbox was written to the archive but not dropped");
                return Ok(0);
            }
        }
    }
}

async fn write_day(db: &Db, day: &str, shelf: &mut Shelf<'_>) -> Result<(i64, String), Error> {
    let mut amount: i64 = 0;
    let mut rows = sqlx::query(include_str!("read_day.sql")).bind(day).fetch(db.pool());
    while let Some(row) = rows.try_next().await? {
        if amount == 0 {
            shelf.begin(&format!("outbox-{day}")).await?;
        }
        let (event, _) = decode::event(&row)?;
        shelf.put(&line(&event, decode::time(&row, 12, event.id)?)?).await?;
        amount += 1;
    }
    let checksum = if amount > 0 { shelf.seal().await? } else { String::new() };
    Ok((amount, checksum))
}
