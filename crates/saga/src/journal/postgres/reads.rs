//! What is shown, and what recovery reads.

use std::collections::HashMap;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use steadfast_core::{SagaId, Timestamp, problem};
use steadfast_db::postgres::Db;

use super::rows::{head, int, kept, saga, sql, version};
use crate::Error;
use crate::journal::{Commit, Filter, Head, History, Put, Row, Stored, is_unsettled};
use crate::machine::Status;

pub(super) async fn unsettled(pool: &PgPool, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error> {
    let query = sqlx::query(include_str!("read_unsettled.sql")).bind(lane).bind(after).bind(i64::from(limit));
    query.fetch_all(pool).await.map_err(sql)?.iter().map(saga).collect()
}

/// Both within one snapshot is not needed: a payload never changes, and the reader of a saga that is being written sees a
/// prefix of its journal.
pub(super) async fn histories(pool: &PgPool, rows: &[Row]) -> Result<Vec<Option<History>>, Error> {
    let numbers: Vec<i64> = rows.iter().map(|row| row.no).collect();
    let days: Vec<i32> = rows.iter().map(|row| int(row.started_at.day())).collect();
    let mut found: HashMap<i64, History> = HashMap::with_capacity(rows.len());
    let payloads = sqlx::query(include_str!("read_payloads.sql")).bind(&numbers).fetch_all(pool).await.map_err(sql)?;
    for row in payloads {
        let history = History {
            input: row.try_get("input")?,
            context: row.try_get("context")?,
            key: row.try_get("wrapped")?,
            commits: Vec::new(),
        };
        found.insert(row.try_get("saga_no")?, history);
    }
    let entries = sqlx::query(include_str!("read_entries.sql")).bind(days).bind(numbers);
    for row in entries.fetch_all(pool).await.map_err(sql)? {
        if let Some(history) = found.get_mut(&row.try_get::<i64, _>("saga_no")?) {
            history.commits.push(Commit {
                seq: i64::from(row.try_get::<i32, _>("seq")?),
                epoch: row.try_get("epoch")?,
                at: Timestamp::from_millis(row.try_get("at")?),
                entries: row.try_get("entries")?,
            });
        }
    }
    Ok(rows.iter().map(|row| found.remove(&row.no).filter(|history| !history.commits.is_empty())).collect())
}

pub(super) async fn find(pool: &PgPool, id: SagaId) -> Result<Option<Row>, Error> {
    let query = sqlx::query(include_str!("find_saga.sql")).bind(id.to_string());
    query.fetch_optional(pool).await.map_err(sql)?.as_ref().map(saga).transpose()
}

pub(super) async fn standings(pool: &PgPool, ids: &[SagaId]) -> Result<Vec<Option<Head>>, Error> {
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let mut standings = vec![None; ids.len()];
    for row in sqlx::query(include_str!("read_standings.sql")).bind(texts).fetch_all(pool).await.map_err(sql)? {
        let place: i64 = row.try_get("place")?;
        if let Some(standing) = usize::try_from(place - 1).ok().and_then(|place| standings.get_mut(place)) {
            *standing = Some(head(&row)?);
        }
    }
    Ok(standings)
}

/// Within a limit of time: what no index answers reads until the page is full.
pub(super) async fn list(db: &Db, filter: &Filter) -> Result<Vec<Row>, Error> {
    let statement = match filter {
        Filter { business_key: Some(_), .. } => include_str!("list_sagas_by_key.sql"),
        Filter { status: Some(Status::Failed), .. } => include_str!("list_parked_sagas.sql"),
        Filter { status: Some(status), .. } if is_unsettled(*status) => include_str!("list_unsettled_sagas.sql"),
        Filter { definition: Some(_), .. } => include_str!("list_sagas_by_definition.sql"),
        _ => include_str!("list_sagas.sql"),
    };
    let mut tx = db.begin().await?;
    sqlx::query(include_str!("limit_time.sql")).execute(&mut *tx).await.map_err(sql)?;
    let rows = sqlx::query(statement)
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(&filter.definition)
        .bind(filter.status.map(Status::as_str))
        .bind(filter.business_key.as_deref().map(kept))
        .bind(filter.since.map(Timestamp::as_millis))
        .bind(i64::from(filter.limit))
        .fetch_all(&mut *tx)
        .await
        .map_err(too_long)?;
    tx.commit().await.map_err(sql)?;
    rows.iter().map(saga).collect()
}

fn too_long(error: sqlx::Error) -> Error {
    let cancelled = error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == "57014");
    if cancelled {
        let detail = "the list would have to read too many sagas: narrow it by business key, by definition or by since";
        return problem::INVALID.with(detail).into();
    }
    sql(error)
}

pub(super) async fn count(pool: &PgPool, statement: &'static str) -> Result<i64, Error> {
    sqlx::query_scalar(statement).fetch_one(pool).await.map_err(sql)
}

pub(super) async fn oldest_start(pool: &PgPool) -> Result<Option<Timestamp>, Error> {
    let oldest: Option<i64> =
        sqlx::query_scalar(include_str!("read_oldest_start.sql")).fetch_one(pool).await.map_err(sql)?;
    Ok(oldest.map(Timestamp::from_millis))
}

pub(super) async fn put_definition(pool: &PgPool, stored: &Stored) -> Result<Put, Error> {
    let inserted = sqlx::query(include_str!("insert_definition.sql"))
        .bind(&stored.name)
        .bind(int(stored.version))
        .bind(stored.hash.as_slice())
        .bind(kept(&stored.source))
        .bind(stored.schema.as_deref().map(kept))
        .bind(stored.uploaded_at.as_millis())
        .bind(kept(&stored.uploaded_by))
        .execute(pool)
        .await
        .map_err(sql)?;
    if inserted.rows_affected() == 1 {
        return Ok(Put::Added);
    }
    let query = sqlx::query_scalar(include_str!("read_definition_hash.sql")).bind(&stored.name);
    let hash: Vec<u8> = query.bind(int(stored.version)).fetch_one(pool).await.map_err(sql)?;
    Ok(if hash == stored.hash { Put::Same } else { Put::Differs })
}

pub(super) async fn definitions(pool: &PgPool) -> Result<Vec<Stored>, Error> {
    let rows = sqlx::query(include_str!("read_definitions.sql")).fetch_all(pool).await.map_err(sql)?;
    rows.iter().map(definition).collect()
}

fn definition(row: &PgRow) -> Result<Stored, Error> {
    let name: String = row.try_get("name")?;
    let hash: Vec<u8> = row.try_get("hash")?;
    let hash = hash.try_into().map_err(|_| Error::Corrupt(format!("definition {name}: its hash")))?;
    Ok(Stored {
        name,
        version: version(row)?,
        hash,
        source: row.try_get("source")?,
        schema: row.try_get("schema")?,
        uploaded_at: Timestamp::from_millis(row.try_get("uploaded_at")?),
        uploaded_by: row.try_get("uploaded_by")?,
    })
}
