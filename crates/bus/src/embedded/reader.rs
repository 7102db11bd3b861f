//! Reading forward: a window of offsets at a time, filtered by topic and partition, each partition from its own
//! position.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use steadfast_db::Db;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::writer::advance;
use crate::{Change, Consumer, Delivered, Error, Partition, Record, Start, Topics};

/// Offsets that one statement looks at: bounds the time of a read that matches little.
const WINDOW: i64 = 16_384;
/// How often another process's appends are looked for: from the first, doubling to the second.
const POLL_FIRST: Duration = Duration::from_millis(2);
const POLL_LAST: Duration = Duration::from_millis(250);

/// A consumer of the embedded log. It keeps no position beyond its own life.
#[derive(Debug)]
pub struct Reader {
    db: Db,
    end: watch::Sender<i64>,
    seen: watch::Receiver<i64>,
    topics: Option<String>,
    partitions: Option<String>,
    // By partition: the next offset to deliver; none where the partition is not read.
    next: Vec<Option<i64>>,
    pause: Duration,
    // Whether the owner has been told which partitions these are; they never change.
    told: bool,
}

impl Reader {
    pub(super) fn new(
        db: Db,
        end: watch::Sender<i64>,
        topics: Topics,
        start: Start,
        partitions: u32,
        only: Option<&[u32]>,
    ) -> Self {
        let first = match start {
            Start::Beginning => 1,
            Start::End => *end.borrow() + 1,
        };
        let seen = end.subscribe();
        let next = (0..partitions).map(|p| only.is_none_or(|only| only.contains(&p)).then_some(first)).collect();
        let topics = match topics {
            Topics::All => None,
            Topics::Named(names) => Some(serde_json::json!(names).to_string()),
        };
        let partitions = only.map(|only| serde_json::json!(only).to_string());
        Self { db, end, seen, topics, partitions, next, pause: POLL_FIRST, told: false }
    }

    /// By partition that this consumer reads: the next offset it will deliver. What an owner stores after it has
    /// applied everything that was delivered.
    pub fn positions(&self) -> Vec<(u32, i64)> {
        (0..).zip(&self.next).filter_map(|(partition, next)| next.map(|next| (partition, next))).collect()
    }

    /// Reads on until there is something or the end is reached.
    async fn read(&mut self, max: usize) -> Result<Vec<Delivered>, Error> {
        loop {
            let Some(from) = self.next.iter().flatten().min().copied() else { return Ok(vec![]) };
            let end = self.known_end(from).await?;
            if from > end {
                return Ok(vec![]);
            }
            let last = end.min(from.saturating_add(WINDOW - 1));
            let limit = i64::try_from(max.max(1)).unwrap_or(i64::MAX);
            let rows = sqlx::query(include_str!("read_records.sql"))
                .bind(from)
                .bind(last)
                .bind(self.topics.as_deref())
                .bind(self.partitions.as_deref())
                .bind(limit)
                .fetch_all(self.db.readers())
                .await?;
            let full = i64::try_from(rows.len()).is_ok_and(|read| read >= limit);
            let rows = rows.iter().map(delivered).collect::<Result<Vec<_>, _>>()?;
            let read_to = rows.last().filter(|_| full).map_or(last, |row| row.offset);
            let fresh: Vec<_> = rows.into_iter().filter(|row| self.is_due(row)).collect();
            for next in self.next.iter_mut().flatten() {
                *next = (*next).max(read_to + 1);
            }
            if !fresh.is_empty() {
                return Ok(fresh);
            }
        }
    }

    /// Whether a row lies at or after its partition's own position.
    fn is_due(&self, row: &Delivered) -> bool {
        let place = usize::try_from(row.partition.number).ok();
        let next = place.and_then(|partition| self.next.get(partition).copied().flatten());
        next.is_some_and(|next| row.offset >= next)
    }

    /// The newest offset, asked of the database only when what this process has written does not reach `from`.
    async fn known_end(&mut self, from: i64) -> Result<i64, Error> {
        let known = *self.seen.borrow_and_update();
        if known >= from {
            return Ok(known);
        }
        let end = sqlx::query_scalar(include_str!("read_end.sql")).fetch_one(self.db.readers()).await?;
        advance(&self.end, end);
        Ok(end)
    }
}

#[async_trait]
impl Consumer for Reader {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, Error> {
        let deadline = Instant::now() + wait;
        loop {
            let delivered = self.read(max).await?;
            if !delivered.is_empty() {
                self.pause = POLL_FIRST;
                return Ok(delivered);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(delivered);
            }
            // This process's appends wake the reader; another's are found when the pause is over.
            match timeout_at(deadline.min(now + self.pause), self.seen.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => sleep_until(deadline.min(now + self.pause)).await,
                Err(_) => self.pause = (self.pause * 2).min(POLL_LAST),
            }
        }
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        let partitions = u32::try_from(self.next.len()).unwrap_or(u32::MAX);
        let place = usize::try_from(partition.number).ok().and_then(|partition| self.next.get_mut(partition));
        match place {
            Some(Some(next)) if partition.topic.is_none() => {
                *next = offset.max(1);
                Ok(())
            }
            _ => Err(Error::UnknownPartition { partition: partition.clone(), partitions }),
        }
    }

    fn changes(&mut self) -> Vec<Change> {
        if std::mem::replace(&mut self.told, true) {
            return Vec::new();
        }
        self.positions().into_iter().map(|(number, _)| Change::Assigned(Partition::of_log(number))).collect()
    }
}

fn delivered(row: &SqliteRow) -> Result<Delivered, Error> {
    let offset: i64 = row.try_get(0)?;
    let topic: String = row.try_get(2)?;
    let headers = serde_json::from_str(row.try_get(4)?);
    Ok(Delivered {
        topic: topic.clone(),
        partition: Partition::of_log(row.try_get(1)?),
        offset,
        record: Record {
            topic,
            key: row.try_get(3)?,
            headers: headers
                .map_err(|_| Error::Corrupt { offset, fault: "its headers are not a JSON array of pairs" })?,
            payload: Bytes::from(row.try_get::<Vec<u8>, _>(5)?),
        },
    })
}
