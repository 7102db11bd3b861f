//! The log in SQLite: durable, in order, nothing to install. It has a database of its own, so that its commits do not
//! wait for anybody else's.
//!
//! - **Append**: producers share commits. While one commit is being flushed, all that arrives waits together for the
//!   next, so the number of flushes does not grow with the number of producers.
//! - **Order**: one writer gives out offsets in the order of commits; there is no gap that could fill later. The offset
//!   is one number for all partitions, so reading all of them is reading in the order of append.
//! - **Wake-up**: within the process by signal; records of another process are seen by polling, every 2 ms while there
//!   is work and slowly up to 250 ms when there is none.

mod reader;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use steadfast_db::{Db, Line, Migration, migrate};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

pub use reader::Reader;

use crate::{Error, Partition, Producer, Record, Start, Topics};
use writer::{Job, Writer};

/// The log's migrations. [`Log::open`] runs them.
pub const LINE: Line = Line {
    name: "event_log",
    sqlite: &[Migration {
        version: 1,
        name: "event_log",
        sql: include_str!("../../migrations/sqlite/0001_event_log.sql"),
    }],
    postgres: &[],
};

/// Jobs that may wait for the writer before producers wait to hand theirs over.
const QUEUE: usize = 1024;

/// A durable event log in SQLite; clones are the same log.
#[derive(Clone, Debug)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    partitions: u32,
    jobs: mpsc::Sender<Job>,
    // The newest offset that this process knows to be committed.
    end: watch::Sender<i64>,
}

impl Log {
    /// Opens the log in `db`, which should hold nothing else, and makes it with so many partitions where it is new.
    /// The log's writer stops when the last clone is dropped, after what was handed to it.
    ///
    /// # Errors
    /// [`Error::Partitions`] when the log was made with another number of partitions.
    pub async fn open(db: Db, partitions: u32) -> Result<Self, Error> {
        migrate(&db, &LINE).await?;
        let mut tx = db.begin().await?;
        sqlx::query(include_str!("make_setting.sql")).bind(partitions).execute(&mut *tx).await?;
        let stored: u32 = sqlx::query_scalar(include_str!("read_setting.sql")).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        if stored != partitions {
            return Err(Error::Partitions { stored, asked: partitions });
        }
        let end: i64 = sqlx::query_scalar(include_str!("read_end.sql")).fetch_one(db.readers()).await?;
        let end = watch::Sender::new(end);
        let (jobs, queue) = mpsc::channel(QUEUE);
        TaskTracker::new().spawn(Writer::new(db.clone(), partitions, end.clone()).run(queue));
        Ok(Self(Arc::new(Inner { db, partitions, jobs, end })))
    }

    /// How many partitions keys are spread over.
    pub fn partitions(&self) -> u32 {
        self.0.partitions
    }

    /// A consumer of all partitions, in the order of append. [`Start::End`] is the end as this process knows it.
    pub fn consumer(&self, topics: Topics, start: Start) -> Reader {
        Reader::new(self.0.db.clone(), self.0.end.clone(), topics, start, self.0.partitions, None)
    }

    /// A consumer of some partitions.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`] when one of them does not exist.
    pub fn consumer_of(&self, partitions: &[u32], topics: Topics, start: Start) -> Result<Reader, Error> {
        if let Some(partition) = partitions.iter().find(|partition| **partition >= self.0.partitions) {
            let partition = Partition::of_log(*partition);
            return Err(Error::UnknownPartition { partition, partitions: self.0.partitions });
        }
        Ok(Reader::new(self.0.db.clone(), self.0.end.clone(), topics, start, self.0.partitions, Some(partitions)))
    }

    /// The newest offset; 0 in an empty log.
    pub async fn end(&self) -> Result<i64, Error> {
        Ok(sqlx::query_scalar(include_str!("read_end.sql")).fetch_one(self.0.db.readers()).await?)
    }

    /// Keeps positions under a name: for each partition the next offset to read. A position never moves back. For
    /// consumers without a database of their own; the others keep them in the transaction of their writes.
    pub async fn commit(&self, name: &str, positions: &[(u32, i64)]) -> Result<(), Error> {
        let mut tx = self.0.db.begin().await?;
        sqlx::query(include_str!("save_position.sql"))
            .bind(name)
            .bind(serde_json::json!(positions).to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The positions kept under a name: partition and next offset to read.
    pub async fn committed(&self, name: &str) -> Result<Vec<(u32, i64)>, Error> {
        Ok(sqlx::query_as(include_str!("read_positions.sql")).bind(name).fetch_all(self.0.db.readers()).await?)
    }

    /// Deletes the oldest records before `offset`, at most `limit` of them, and says how many; the newest record always
    /// stays. A consumer whose position lies in what is gone continues with the oldest record that is left: trim only
    /// below what all of them have read.
    pub async fn trim(&self, offset: i64, limit: u32) -> Result<u64, Error> {
        let mut tx = self.0.db.begin().await?;
        let done = sqlx::query(include_str!("trim_records.sql")).bind(offset).bind(limit).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}

#[async_trait]
impl Producer for Log {
    async fn produce(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        let verdicts: Vec<_> = records.iter().map(Record::check).collect();
        let good: Vec<_> = records
            .into_iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| verdict.is_ok())
            .map(|(record, _)| record)
            .collect();
        if good.is_empty() {
            return verdicts;
        }
        let (answer, answered) = oneshot::channel();
        let outcome = match self.0.jobs.send(Job { records: good, answer }).await {
            Ok(()) => answered.await.unwrap_or(Err(Error::Closed)),
            Err(_) => Err(Error::Closed),
        };
        verdicts.into_iter().map(|verdict| verdict.and_then(|()| outcome.clone())).collect()
    }
}
