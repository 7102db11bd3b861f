//! The journal in SQLite: one transaction per commit on the one writer, a handful of statements whatever the number of
//! sagas, each over one JSON array (`json_each`).

mod append;
mod lanes;
mod rows;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use steadfast_core::{SagaId, Timestamp, problem};
use steadfast_db::{Db, EventSink, migrate};

use self::rows::{json_rows, saga};
use super::{
    Appended, Attend, Attendance, Batch, Commit, Erased, Filter, Head, History, Hold, Journal, LINE, Lane, Put, Row,
    Stored, is_unsettled, status_from,
};
use crate::Error;
use crate::machine::Status;

/// How long the emptying of the log waits for those who read it.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// A journal in a SQLite database.
#[derive(Clone, Debug)]
pub struct Sqlite {
    db: Db,
    sink: Option<Arc<dyn EventSink<sqlx::Sqlite>>>,
}

impl Sqlite {
    /// A journal in this database, whose tables are created where they are missing. `sink` takes the sagas' own events,
    /// in the transaction of the entries that they report.
    pub async fn open(db: Db, sink: Option<Arc<dyn EventSink<sqlx::Sqlite>>>) -> Result<Self, Error> {
        migrate(&db, &LINE).await?;
        // What is deleted or moved within pages is overwritten, so that an erased key leaves no copy in free space. As a
        // property of the one writer it is set once; it costs no further page.
        let mut tx = db.begin().await?;
        sqlx::query(include_str!("overwrite_deleted.sql")).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Self { db, sink })
    }

    /// Empties the log: it may hold pages with what was erased since. By a connection of its own, because the writer is
    /// handed out within transactions only.
    async fn empty_log(&self) -> Result<(), Error> {
        let mut connection =
            SqliteConnectOptions::new().filename(self.db.path()).busy_timeout(LOG_PATIENCE).connect().await?;
        let busy: i64 = sqlx::query_scalar(include_str!("empty_log.sql")).fetch_one(&mut connection).await?;
        connection.close().await?;
        if busy == 0 {
            return Ok(());
        }
        let detail = "the key is erased, but others still read the log that holds a copy of it: ask again in a moment";
        Err(problem::UNAVAILABLE.with(detail).retry_after(1).into())
    }
}

#[async_trait]
impl Journal for Sqlite {
    fn is_shared(&self) -> bool {
        false
    }

    async fn take_lane(&self, hold: Hold<'_>) -> Result<Lane, Error> {
        lanes::take(&self.db, hold.now).await
    }

    /// No lane ever lapses here: who opens the folder takes the one there is.
    async fn take_over(&self, _seen: Lane, _hold: Hold<'_>) -> Result<Option<Lane>, Error> {
        Ok(None)
    }

    async fn attend(&self, attend: Attend<'_>) -> Result<Attendance, Error> {
        lanes::attend(&self.db, attend).await
    }

    async fn release(&self, _lanes: &[Lane]) -> Result<(), Error> {
        Ok(())
    }

    async fn claim(&self, lane: Lane, limit: u32) -> Result<Vec<Row>, Error> {
        lanes::claim(&self.db, lane, limit).await
    }

    async fn adopt(&self, lane: Lane, id: SagaId) -> Result<Option<Row>, Error> {
        lanes::adopt(&self.db, lane, id).await
    }

    async fn send_command(&self, id: SagaId, text: &str, now: Timestamp) -> Result<i64, Error> {
        lanes::send_command(&self.db, id, text, now).await
    }

    async fn answer_command(&self, no: i64, answer: &str) -> Result<(), Error> {
        lanes::answer_command(&self.db, no, answer).await
    }

    async fn command_answer(&self, no: i64) -> Result<Option<String>, Error> {
        let answer: Option<Option<String>> =
            sqlx::query_scalar(include_str!("read_answer.sql")).bind(no).fetch_optional(self.db.readers()).await?;
        Ok(answer.flatten())
    }

    async fn forget_command(&self, no: i64) -> Result<(), Error> {
        lanes::forget_command(&self.db, no).await
    }

    /// Nobody else writes here.
    async fn hinted(&self) {
        std::future::pending::<()>().await;
    }

    async fn standings(&self, ids: &[SagaId]) -> Result<Vec<Option<Head>>, Error> {
        lanes::standings(&self.db, ids).await
    }

    async fn tend(&self, now: Timestamp) -> Result<(), Error> {
        lanes::forget_old_commands(&self.db, now).await
    }

    async fn append(&self, batch: &Batch) -> Result<Vec<Appended>, Error> {
        if batch.rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.begin().await?;
        let outcomes = append::append(&mut tx, batch, self.sink.as_deref()).await?;
        tx.commit().await?;
        Ok(outcomes)
    }

    async fn unsettled(&self, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error> {
        let rows = sqlx::query(include_str!("read_unsettled.sql"))
            .bind(lane)
            .bind(after)
            .bind(limit)
            .fetch_all(self.db.readers())
            .await?;
        rows.iter().map(saga).collect()
    }

    async fn histories(&self, rows: &[Row]) -> Result<Vec<Option<History>>, Error> {
        let keys = json_rows(rows, |out, row| {
            let _ = write!(out, "{},{}", row.started_at.day(), row.no);
        });
        let mut found: HashMap<i64, History> = HashMap::with_capacity(rows.len());
        // Both within one snapshot is not needed: a payload never changes, and the reader of a saga that is being
        // written sees a prefix of its journal.
        for row in sqlx::query(include_str!("read_payloads.sql")).bind(&keys).fetch_all(self.db.readers()).await? {
            let history = History {
                input: row.try_get("input")?,
                context: row.try_get("context")?,
                key: row.try_get("wrapped")?,
                commits: Vec::new(),
            };
            found.insert(row.try_get("saga_no")?, history);
        }
        for row in sqlx::query(include_str!("read_entries.sql")).bind(&keys).fetch_all(self.db.readers()).await? {
            if let Some(history) = found.get_mut(&row.try_get::<i64, _>("saga_no")?) {
                history.commits.push(Commit {
                    seq: row.try_get("seq")?,
                    epoch: row.try_get("epoch")?,
                    at: Timestamp::from_millis(row.try_get("at")?),
                    entries: row.try_get("entries")?,
                });
            }
        }
        Ok(rows.iter().map(|row| found.remove(&row.no).filter(|history| !history.commits.is_empty())).collect())
    }

    async fn erase_key(&self, id: SagaId) -> Result<Erased, Error> {
        let mut tx = self.db.begin().await?;
        sqlx::query(include_str!("overwrite_freed.sql")).execute(&mut *tx).await?;
        let erased = sqlx::query(include_str!("delete_key.sql"))
            .bind(id.as_bytes().as_slice())
            .execute(&mut *tx)
            .await?
            .rows_affected();
        sqlx::query(include_str!("overwrite_deleted.sql")).execute(&mut *tx).await?;
        let status: Option<String> = sqlx::query_scalar(include_str!("read_status.sql"))
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&mut *tx)
            .await?;
        tx.commit().await?;
        if status.and_then(|status| status_from(&status)).is_some_and(is_unsettled) {
            return Ok(Erased::Unsettled);
        }
        // Also where nothing was left to delete: the one before may have ended between the two.
        self.empty_log().await?;
        Ok(if erased == 0 { Erased::Absent } else { Erased::Erased })
    }

    async fn find(&self, id: SagaId) -> Result<Option<Row>, Error> {
        let row = sqlx::query(include_str!("find_saga.sql"))
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.db.readers())
            .await?;
        row.as_ref().map(saga).transpose()
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, Error> {
        let sql = match filter {
            Filter { business_key: Some(_), .. } => include_str!("list_sagas_by_key.sql"),
            Filter { status: Some(Status::Failed), .. } => include_str!("list_parked_sagas.sql"),
            Filter { status: Some(status), .. } if is_unsettled(*status) => {
                include_str!("list_unsettled_sagas.sql")
            }
            _ => include_str!("list_sagas.sql"),
        };
        let rows = sqlx::query(sql)
            .bind(filter.before.unwrap_or(i64::MAX))
            .bind(&filter.definition)
            .bind(filter.status.map(Status::as_str))
            .bind(&filter.business_key)
            .bind(filter.since.map(Timestamp::as_millis))
            .bind(filter.limit)
            .fetch_all(self.db.readers())
            .await?;
        rows.iter().map(saga).collect()
    }

    async fn count_parked(&self) -> Result<i64, Error> {
        Ok(sqlx::query_scalar(include_str!("count_parked.sql")).fetch_one(self.db.readers()).await?)
    }

    async fn oldest_start(&self) -> Result<Option<Timestamp>, Error> {
        let oldest: Option<i64> =
            sqlx::query_scalar(include_str!("read_oldest_start.sql")).fetch_one(self.db.readers()).await?;
        Ok(oldest.map(Timestamp::from_millis))
    }

    async fn count_unarmed(&self) -> Result<i64, Error> {
        Ok(sqlx::query_scalar(include_str!("count_unarmed.sql")).fetch_one(self.db.readers()).await?)
    }

    async fn put_definition(&self, stored: &Stored) -> Result<Put, Error> {
        let mut tx = self.db.begin().await?;
        let inserted = sqlx::query(include_str!("insert_definition.sql"))
            .bind(&stored.name)
            .bind(stored.version)
            .bind(stored.hash.as_slice())
            .bind(&stored.source)
            .bind(&stored.schema)
            .bind(stored.uploaded_at.as_millis())
            .bind(&stored.uploaded_by)
            .execute(&mut *tx)
            .await?;
        if inserted.rows_affected() == 1 {
            tx.commit().await?;
            return Ok(Put::Added);
        }
        let hash: Vec<u8> = sqlx::query_scalar(include_str!("read_definition_hash.sql"))
            .bind(&stored.name)
            .bind(stored.version)
            .fetch_one(&mut *tx)
            .await?;
        Ok(if hash == stored.hash { Put::Same } else { Put::Differs })
    }

    async fn definitions(&self) -> Result<Vec<Stored>, Error> {
        let rows = sqlx::query(include_str!("read_definitions.sql")).fetch_all(self.db.readers()).await?;
        rows.iter()
            .map(|row| {
                let name: String = row.try_get("name")?;
                let hash: Vec<u8> = row.try_get("hash")?;
                let hash = hash.try_into().map_err(|_| Error::Corrupt(format!("definition {name}: its hash")))?;
                Ok(Stored {
                    name,
                    version: row.try_get("version")?,
                    hash,
                    source: row.try_get("source")?,
                    schema: row.try_get("schema")?,
                    uploaded_at: Timestamp::from_millis(row.try_get("uploaded_at")?),
                    uploaded_by: row.try_get("uploaded_by")?,
                })
            })
            .collect()
    }
}
