//! Moving published events off: old ones are written as JSON lines, where somebody wants them, and then deleted, a small
//! batch at a time.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json, value::RawValue};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use steadfast_core::Timestamp;
use steadfast_db::Db;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::Error;
use crate::store::{Row, sqlite};

/// Where archived events go: one JSON object per line.
pub type Target<'a> = &'a mut (dyn AsyncWrite + Unpin + Send);

struct Old {
    row: Row,
    published_at: Option<Timestamp>,
    held: bool,
}

/// Archives published events that were written and published before `before`, oldest first, at most `limit` in one commit,
/// and says how many; call it again until it says 0. An event that waits, any later one of its aggregate that was
/// published out of turn, and the newest row stay.
///
/// With a `target` the events are written there first, and deleted only after it was flushed; the caller makes it
/// durable. A crash in between writes them again: an archive is read by `event_id`.
///
/// # Errors
/// [`Error::Archive`] when the target fails; then nothing is deleted.
pub async fn archive(db: &Db, before: Timestamp, limit: u32, target: Option<Target<'_>>) -> Result<u64, Error> {
    let mut after = 0;
    // Aggregates of which an earlier event stays: archived numbers have no gap.
    let mut blocked = HashSet::new();
    loop {
        let rows = sqlx::query(include_str!("store/sqlite/read_chunk.sql"))
            .bind(after)
            .bind(limit.max(1))
            .fetch_all(db.readers())
            .await?;
        let chunk = rows.iter().map(old).collect::<Result<Vec<_>, _>>()?;
        // Ids rise with time, so a chunk that is wholly young ends the search.
        let Some(last) = chunk.last().map(|old| old.row.id) else { return Ok(0) };
        if chunk.iter().all(|old| old.row.created_at >= before) {
            return Ok(0);
        }
        let mut ripe = Vec::new();
        for old in chunk {
            let aggregate = (old.row.aggregate_type.clone(), old.row.aggregate_id.clone());
            let is_old = old.row.created_at < before && old.published_at.is_some_and(|at| at < before);
            if is_old && !old.held && !blocked.contains(&aggregate) {
                ripe.push(old);
            } else {
                blocked.insert(aggregate);
            }
        }
        if !ripe.is_empty() {
            if let Some(target) = target {
                write(&ripe, target).await?;
            }
            return delete(db, &ripe).await;
        }
        after = last;
    }
}

async fn write(ripe: &[Old], target: Target<'_>) -> Result<(), Error> {
    let mut lines = Vec::new();
    for old in ripe {
        lines.extend_from_slice(line(old)?.as_bytes());
        lines.push(b'\n');
    }
    target.write_all(&lines).await.map_err(Error::Archive)?;
    target.flush().await.map_err(Error::Archive)
}

/// One event as it stands in the archive; the payload and the headers byte for byte as they were stored.
fn line(old: &Old) -> Result<String, Error> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        id: i64,
        event_id: String,
        aggregate_type: &'a str,
        aggregate_id: &'a str,
        event_type: &'a str,
        sequence: i64,
        created_at: Timestamp,
        published_at: Option<Timestamp>,
        payload: &'a RawValue,
        headers: Option<&'a RawValue>,
    }
    let row = &old.row;
    let corrupt = |_| Error::Corrupt { id: row.id, fault: "its payload or headers are not JSON" };
    let line = Line {
        id: row.id,
        event_id: row.event_id.to_string(),
        aggregate_type: &row.aggregate_type,
        aggregate_id: &row.aggregate_id,
        event_type: &row.event_type,
        sequence: row.sequence,
        created_at: row.created_at,
        published_at: old.published_at,
        payload: serde_json::from_str(&row.payload).map_err(corrupt)?,
        headers: row.headers.as_deref().map(serde_json::from_str).transpose().map_err(corrupt)?,
    };
    serde_json::to_string(&line).map_err(corrupt)
}

async fn delete(db: &Db, ripe: &[Old]) -> Result<u64, Error> {
    let ids: Vec<i64> = ripe.iter().map(|old| old.row.id).collect();
    let mut floors = BTreeMap::new();
    for Old { row, .. } in ripe {
        floors.insert((&row.aggregate_type, &row.aggregate_id), row.sequence);
    }
    let floors: Vec<Value> = floors.into_iter().map(|((kind, id), sequence)| json!([kind, id, sequence])).collect();
    let mut tx = db.begin().await?;
    let deleted = sqlx::query(include_str!("store/sqlite/delete_archived.sql"))
        .bind(json!(ids).to_string())
        .execute(&mut *tx)
        .await?
        .rows_affected();
    sqlx::query(include_str!("store/sqlite/raise_floors.sql"))
        .bind(Value::from(floors).to_string())
        .execute(&mut *tx)
        .await?;
    sqlx::query(include_str!("store/sqlite/count_deleted.sql"))
        .bind(i64::try_from(deleted).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(deleted)
}

fn old(row: &SqliteRow) -> Result<Old, Error> {
    Ok(Old {
        row: sqlite::waiting(row)?,
        published_at: row.try_get::<Option<i64>, _>(9)?.map(Timestamp::from_millis),
        held: row.try_get(10)?,
    })
}
