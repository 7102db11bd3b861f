//! SQLite. `BEGIN IMMEDIATE` and the busy timeout are the lock; claims and reports that come at the same time share one
//! commit.

mod row;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use steadfast_core::Clock;
use steadfast_db::Db;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use self::writer::{Done, Work, Writer};
use super::{Cleaned, Store};
use crate::Error;
use crate::decision::{self, Claim, Decision, Report, Reported, Resolution, Resolved};
use crate::record::{Owner, Record, RecordId};

pub(crate) use row::{read, write};

/// How many steps may wait for the writer.
const QUEUE: usize = 4096;

/// A store in a SQLite database that [`LINE`](crate::LINE) has been applied to.
#[derive(Debug)]
pub struct Sqlite {
    db: Db,
    clock: Arc<dyn Clock>,
    steps: mpsc::Sender<(Work, oneshot::Sender<Result<Done, Error>>)>,
    /// Where the next call of `clean` goes on.
    sweep: Mutex<Vec<u8>>,
}

impl Sqlite {
    /// A store whose ages `clock` reckons. Its writer is a task that ends with the store.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(db: Db, clock: Arc<dyn Clock>) -> Self {
        let (steps, queue) = mpsc::channel(QUEUE);
        TaskTracker::new().spawn(Writer::new(db.clone(), Arc::clone(&clock)).run(queue));
        Self { db, clock, steps, sweep: Mutex::default() }
    }

    async fn step(&self, work: Work) -> Result<Done, Error> {
        let (reply, done) = oneshot::channel();
        self.steps.send((work, reply)).await.map_err(|_| Error::Closed)?;
        done.await.map_err(|_| Error::Closed)?
    }
}

#[async_trait]
impl Store for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn answers(&self) -> Result<(), Error> {
        sqlx::query("select 1").execute(self.db.readers()).await.map_err(Error::sql)?;
        Ok(())
    }

    async fn claim(&self, claim: &Claim) -> Result<Decision, Error> {
        match self.step(Work::Claim(claim.clone())).await? {
            Done::Claimed(decision) => Ok(decision),
            Done::Reported(_) => Err(Error::Closed),
        }
    }

    async fn report(&self, id: RecordId, owner: Owner, report: Report, ttl: Duration) -> Result<Reported, Error> {
        match self.step(Work::Report { id, owner, report, ttl }).await? {
            Done::Reported(reported) => Ok(reported),
            Done::Claimed(_) => Err(Error::Closed),
        }
    }

    async fn show(&self, id: RecordId) -> Result<Option<Record>, Error> {
        let now = self.clock.now();
        Ok(read(self.db.readers(), id).await?.filter(|record| !record.is_expired(now)))
    }

    async fn unresolved(&self, after: Option<RecordId>, limit: u32) -> Result<Vec<(RecordId, Record)>, Error> {
        sqlx::query(include_str!("list_unresolved.sql"))
            .bind(after.as_ref().map_or(&[][..], |id| id.as_bytes()))
            .bind(self.clock.now().as_millis())
            .bind(limit)
            .fetch_all(self.db.readers())
            .await
            .map_err(Error::sql)?
            .iter()
            .map(row::decode)
            .collect()
    }

    async fn resolve(
        &self,
        id: RecordId,
        expected: Owner,
        resolution: Resolution,
        ttl: Duration,
    ) -> Result<Resolved, Error> {
        let token = Owner::draw()?;
        let mut tx = self.db.begin().await?;
        let seen = read(&mut *tx, id).await?;
        let (resolved, change) = decision::resolve(seen.as_ref(), expected, &resolution, token, ttl, self.clock.now());
        if let Some(change) = change {
            write(&mut tx, id, &change).await?;
            tx.commit().await.map_err(Error::sql)?;
        }
        Ok(resolved)
    }

    async fn forget_answers(&self, subject: &str, login: &str) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let rows = sqlx::query(include_str!("read_login.sql"))
            .bind(subject)
            .bind(login)
            .fetch_all(&mut *tx)
            .await
            .map_err(Error::sql)?;
        let mut count = 0;
        for row in &rows {
            let (id, record) = row::decode(row)?;
            if let Some(change) = decision::forget(&record) {
                write(&mut tx, id, &change).await?;
                count += 1;
            }
        }
        tx.commit().await.map_err(Error::sql)?;
        Ok(count)
    }

    /// Reads a stretch without any lock and takes the write lock only where there is something to remove.
    async fn clean(&self, limit: u32) -> Result<Cleaned, Error> {
        let from = std::mem::take(&mut *self.sweep.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.clock.now().as_millis();
        let window = sqlx::query(include_str!("read_window.sql"))
            .bind(&from[..])
            .bind(now)
            .bind(limit.max(1))
            .fetch_one(self.db.readers())
            .await
            .map_err(Error::sql)?;
        let seen: i64 = window.try_get(0).map_err(Error::sql)?;
        let last: Option<Vec<u8>> = window.try_get(1).map_err(Error::sql)?;
        let expired: i64 = window.try_get(2).map_err(Error::sql)?;
        let Some(last) = last else { return Ok(Cleaned { removed: 0, ended: true }) };
        let mut cleaned = Cleaned { removed: 0, ended: seen < i64::from(limit.max(1)) };
        if expired > 0 {
            let mut tx = self.db.begin().await?;
            let result = sqlx::query(include_str!("delete_expired.sql"))
                .bind(&from[..])
                .bind(&last[..])
                .bind(now)
                .execute(&mut *tx)
                .await
                .map_err(Error::sql)?;
            tx.commit().await.map_err(Error::sql)?;
            cleaned.removed = result.rows_affected();
        }
        if !cleaned.ended {
            *self.sweep.lock().unwrap_or_else(PoisonError::into_inner) = last;
        }
        Ok(cleaned)
    }
}
