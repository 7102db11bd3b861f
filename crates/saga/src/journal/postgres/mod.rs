//! The journal in PostgreSQL, shared by several orchestrators.
//!
//! Each lane that this process owns has a connection of its own, outside the pool; a commit is one autocommitted statement
//! on it under READ COMMITTED. What decides is always a row's lock:
//!
//! | race | decided by |
//! |---|---|
//! | an append, and another node that takes its lane | the lane's row: FOR SHARE against the update of its epoch |
//! | two that take one lane; a taker, and an owner that renews | the lease's row, whose epoch and end are compared again |
//! | two starts of one saga | the unique index on its id |
//! | an append, a claim, an adoption of one saga | the saga's row, whose lane is compared again |
//! | an append whose answer was lost, and its repetition | the lane's row: the repetition locks it, then looks |
//!
//! An append is never cancelled: where this side gives up waiting, or is dropped, it closes the connection, the server's
//! statement runs to its end, and the outcome is unknown until the batch is appended again.

mod append;
#[cfg(test)]
mod measure;
mod ownership;
mod reads;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgListener;
use sqlx::{PgConnection, Row as _};
use steadfast_core::{SagaId, Timestamp};
use steadfast_db::postgres::Db;
use tokio::sync::Notify;

use self::rows::sql;
use super::{
    Appended, Attend, Attendance, Batch, Erased, Filter, Head, History, Hold, Journal, LINE, Lane, Put, Row, Stored,
    Target,
};
use crate::Error;

/// How long a commit's answer is waited for before it counts as lost. The server goes on; it is asked again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a new connection of a lane may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The pause before listening is tried again.
const DEAF: Duration = Duration::from_secs(1);

/// A journal in a PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    db: Db,
    events: bool,
    /// Of the lanes that were written, between their commits.
    lanes: Mutex<HashMap<i64, PgConnection>>,
    listener: tokio::sync::Mutex<Option<PgListener>>,
    heard: Notify,
}

impl Postgres {
    /// A journal in this database, whose tables `steadfast migrate` has made. With `events`, the sagas' own events go to the
    /// outbox of the same database, in the statement of the entries that they report.
    ///
    /// # Errors
    /// [`Error::Config`] where tables or the outbox's function are missing; [`steadfast_db::Error::Newer`] where a later
    /// program has migrated the tables.
    pub async fn open(db: Db, events: bool) -> Result<Self, Error> {
        db.knows(&LINE).await?;
        let row = sqlx::query(include_str!("check_tables.sql")).fetch_one(db.pool()).await.map_err(sql)?;
        let version: i32 = if row.try_get("migrated")? {
            let query = sqlx::query_scalar(include_str!("read_version.sql")).bind(LINE.name);
            query.fetch_one(db.pool()).await.map_err(sql)?
        } else {
            0
        };
        let newest = LINE.postgres.last().map_or(0, |migration| rows::int(migration.version));
        if version < newest {
            return Err(Error::Config(format!(
                "the orchestrator's tables in {} are of version {version}, this program needs {newest}: run steadfast migrate",
                db.name()
            )));
        }
        if events && !row.try_get::<bool, _>("outbox")? {
            return Err(Error::Config(format!(
                "{} has no function outbox_append_many for the sagas' own events: run steadfast migrate, or switch them off",
                db.name()
            )));
        }
        Ok(Self { db, events, lanes: Mutex::default(), listener: tokio::sync::Mutex::default(), heard: Notify::new() })
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<i64, PgConnection>> {
        // A panic of another holder leaves the map whole.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane's connection. It comes back only from a commit that ended well.
    async fn connection(&self, lane: i64) -> Result<PgConnection, Error> {
        let former = self.lanes().remove(&lane);
        if let Some(connection) = former {
            return Ok(connection);
        }
        within(CONNECT, async {
            let mut connection = self.db.connect().await?;
            sqlx::query(include_str!("set_session.sql")).execute(&mut connection).await.map_err(sql)?;
            Ok(connection)
        })
        .await
    }

    async fn listen(&self) {
        let mut slot = self.listener.lock().await;
        let listening = async {
            let listener = if let Some(listener) = slot.as_mut() {
                listener
            } else {
                let mut listener = PgListener::connect_with(self.db.pool()).await?;
                listener.listen("saga").await?;
                slot.insert(listener)
            };
            // `None` is a connection that was lost: with it, perhaps, a hint.
            listener.try_recv().await?;
            while listener.next_buffered().is_some() {}
            Ok::<_, sqlx::Error>(())
        };
        if let Err(error) = listening.await {
            tracing::debug!(%error, "hints of other nodes cannot be heard");
            *slot = None;
            tokio::time::sleep(DEAF).await;
        }
        self.heard.notify_waiters();
    }
}

/// Gives up waiting after `limit`; what was asked for goes on at the server.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(steadfast_db::Error::CommitUnknown(io::Error::from(io::ErrorKind::TimedOut).into()).into()),
    }
}

#[async_trait]
impl Journal for Postgres {
    fn is_shared(&self) -> bool {
        true
    }

    async fn take_lane(&self, hold: Hold<'_>) -> Result<Lane, Error> {
        ownership::take(self.db.pool(), hold).await
    }

    async fn take_over(&self, seen: Lane, hold: Hold<'_>) -> Result<Option<Lane>, Error> {
        ownership::take_over(self.db.pool(), seen, hold).await
    }

    async fn attend(&self, attend: Attend<'_>) -> Result<Attendance, Error> {
        ownership::attend(self.db.pool(), attend).await
    }

    async fn release(&self, lanes: &[Lane]) -> Result<(), Error> {
        ownership::release(self.db.pool(), lanes).await?;
        ownership::notify(self.db.pool()).await;
        self.lanes().retain(|id, _| lanes.iter().all(|lane| lane.id != *id));
        Ok(())
    }

    async fn claim(&self, lane: Lane, limit: u32) -> Result<Vec<Row>, Error> {
        ownership::claim(self.db.pool(), lane, limit).await
    }

    async fn adopt(&self, lane: Lane, id: SagaId) -> Result<Option<Row>, Error> {
        ownership::adopt(self.db.pool(), lane, id).await
    }

    async fn send_command(&self, id: SagaId, text: &str, now: Timestamp) -> Result<i64, Error> {
        let no = ownership::send_command(self.db.pool(), id, text, now).await?;
        ownership::notify(self.db.pool()).await;
        Ok(no)
    }

    async fn answer_command(&self, no: i64, answer: &str) -> Result<(), Error> {
        ownership::answer_command(self.db.pool(), no, answer).await?;
        ownership::notify(self.db.pool()).await;
        Ok(())
    }

    async fn command_answer(&self, no: i64) -> Result<Option<String>, Error> {
        ownership::command_answer(self.db.pool(), no).await
    }

    async fn forget_command(&self, no: i64) -> Result<(), Error> {
        ownership::forget_command(self.db.pool(), no).await
    }

    /// One of those who wait listens, and wakes the others.
    async fn hinted(&self) {
        let heard = self.heard.notified();
        tokio::select! {
            () = heard => {}
            () = self.listen() => {}
        }
    }

    async fn standings(&self, ids: &[SagaId]) -> Result<Vec<Option<Head>>, Error> {
        reads::standings(self.db.pool(), ids).await
    }

    async fn tend(&self, now: Timestamp) -> Result<(), Error> {
        ownership::tend(self.db.pool(), now).await
    }

    async fn append(&self, batch: &Batch) -> Result<Vec<Appended>, Error> {
        if batch.rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection(batch.lane.id).await?;
        let outcomes = within(PATIENCE, append::append(&mut connection, batch, self.events)).await?;
        self.lanes().insert(batch.lane.id, connection);
        let queued = |(row, outcome): (&super::Append, &Appended)| matches!((&row.target, outcome), (Target::New(new), Appended::Started(_)) if new.queued);
        if batch.rows.iter().zip(&outcomes).any(queued) {
            ownership::notify(self.db.pool()).await;
        }
        Ok(outcomes)
    }

    async fn unsettled(&self, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error> {
        reads::unsettled(self.db.pool(), lane, after, limit).await
    }

    async fn histories(&self, rows: &[Row]) -> Result<Vec<Option<History>>, Error> {
        reads::histories(self.db.pool(), rows).await
    }

    /// The server's log and its backups hold the sealed key for as long as they are kept.
    async fn erase_key(&self, id: SagaId) -> Result<Erased, Error> {
        let query = sqlx::query(include_str!("delete_key.sql")).bind(id.to_string());
        let row = query.fetch_one(self.db.pool()).await.map_err(sql)?;
        if row.try_get("unsettled")? {
            return Ok(Erased::Unsettled);
        }
        // Also where nothing was left to delete: the one before may have ended between the two.
        sqlx::query(include_str!("vacuum_keys.sql")).execute(self.db.pool()).await.map_err(sql)?;
        Ok(if row.try_get("erased")? { Erased::Erased } else { Erased::Absent })
    }

    async fn find(&self, id: SagaId) -> Result<Option<Row>, Error> {
        reads::find(self.db.pool(), id).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, Error> {
        reads::list(&self.db, filter).await
    }

    async fn count_parked(&self) -> Result<i64, Error> {
        reads::count(self.db.pool(), include_str!("count_parked.sql")).await
    }

    async fn oldest_start(&self) -> Result<Option<Timestamp>, Error> {
        reads::oldest_start(self.db.pool()).await
    }

    async fn count_unarmed(&self) -> Result<i64, Error> {
        reads::count(self.db.pool(), include_str!("count_unarmed.sql")).await
    }

    async fn put_definition(&self, stored: &Stored) -> Result<Put, Error> {
        reads::put_definition(self.db.pool(), stored).await
    }

    async fn definitions(&self) -> Result<Vec<Stored>, Error> {
        reads::definitions(self.db.pool()).await
    }
}
