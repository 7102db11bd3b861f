//! The archive of SQLite's one table: old events are deleted a small batch at a time.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use steadfast_core::Timestamp;
use steadfast_db::Db;

use super::waiting;
use crate::Error;
use crate::archive::{Shelf, line};
use crate::store::Row;

struct Old {
    row: Row,
    published_at: Option<Timestamp>,
    held: bool,
}

/// See [`archive`](crate::archive()).
pub(super) async fn archive_rows(db: &Db, before: Timestamp, limit: u32, mut shelf: Shelf<'_>) -> Result<u64, Error> {
    let mut after = 0;
    // Aggregates of which an earlier event stays: archived numbers have no gap.
    let mut blocked = HashSet::new();
    loop {
        let rows =
            sqlx::query(include_str!("read_chunk.sql")).bind(after).bind(limit.max(1)).fetch_all(db.readers()).await?;
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
            write(&ripe, &mut shelf).await?;
            return delete(db, &ripe).await;
        }
        after = last;
    }
}

async fn write(ripe: &[Old], shelf: &mut Shelf<'_>) -> Result<(), Error> {
    let Some(first) = ripe.first() else { return Ok(()) };
    shelf.begin(&format!("outbox-{}", first.row.id)).await?;
    for old in ripe {
        shelf.put(&line(&old.row, old.published_at)?).await?;
    }
    shelf.seal().await?;
    Ok(())
}

async fn delete(db: &Db, ripe: &[Old]) -> Result<u64, Error> {
    let ids: Vec<i64> = ripe.iter().map(|old| old.row.id).collect();
    let mut floors = BTreeMap::new();
    for Old { row, .. } in ripe {
        floors.insert((&row.aggregate_type, &row.aggregate_id), row.sequence);
    }
    let floors: Vec<Value> = floors.into_iter().map(|((kind, id), sequence)| json!([kind, id, sequence])).collect();
    let mut tx = db.begin().await?;
    let deleted = sqlx::query(include_str!("delete_archived.sql"))
        .bind(json!(ids).to_string())
        .execute(&mut *tx)
        .await?
        .rows_affected();
    sqlx::query(include_str!("raise_floors.sql")).bind(Value::from(floors).to_string()).execute(&mut *tx).await?;
    sqlx::query(include_str!("count_deleted.sql"))
        .bind(i64::try_from(deleted).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(deleted)
}

fn old(row: &SqliteRow) -> Result<Old, Error> {
    Ok(Old {
        row: waiting(row)?,
        published_at: row.try_get::<Option<i64>, _>(9)?.map(Timestamp::from_millis),
        held: row.try_get(10)?,
    })
}
