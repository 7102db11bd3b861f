//! One connection for one kind of work, opened when it is needed and anew after a failure.

use sqlx::postgres::PgConnection;
use steadfast_db::postgres::Db;
use tokio::sync::{Mutex, MutexGuard};

use crate::Error;

/// A connection outside the pool, whose plans are made once. A statement that fails or is dropped loses it, so nothing of
/// it is met by the next.
#[derive(Debug)]
pub(super) struct Line {
    db: Db,
    idle: Mutex<Option<PgConnection>>,
}

/// The connection while it is used.
pub(super) struct Busy<'a> {
    slot: MutexGuard<'a, Option<PgConnection>>,
    pub(super) connection: PgConnection,
}

impl Line {
    pub(super) fn new(db: Db) -> Self {
        Self { db, idle: Mutex::new(None) }
    }

    /// Waits for its turn.
    pub(super) async fn take(&self) -> Result<Busy<'_>, Error> {
        let mut slot = self.idle.lock().await;
        let connection = if let Some(connection) = slot.take() {
            connection
        } else {
            let mut connection = self.db.connect().await?;
            sqlx::query(include_str!("set_plans.sql")).execute(&mut connection).await?;
            connection
        };
        Ok(Busy { slot, connection })
    }
}

impl Busy<'_> {
    /// The work has succeeded: the connection may be used again.
    pub(super) fn done(mut self) {
        *self.slot = Some(self.connection);
    }
}
