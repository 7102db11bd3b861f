//! Reservations of the hot product without a lane: by retry on conflict, under a row lock, and as a guarded count.

use anyhow::Result;
use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, ErrorKind};
use steadfast_db::postgres::Db;
use steadfast_db::tx;
use steadfast_locking::Adjust;

use super::reservation::{Broken, Reservation, Tx, promise, sql, tell};
use crate::bench::load::Work;

const READ: &str = "select reserved, version from stock where product = $1";
const READ_LOCKED: &str = "select reserved, version from stock where product = $1 for no key update";
const WRITE: &str = "update stock set reserved = $1, version = version + 1 where product = $2 and version = $3";

/// How a client changes the row.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// Reads, and writes what it has decided if the version is still that one; else all of it again after a pause.
    Retry,
    /// Holds the row from reading to commit: `FOR NO KEY UPDATE`.
    Locked,
    /// The library's `adjust`.
    Guarded(Adjust),
}

pub(super) struct Client {
    pub(super) db: Db,
    pub(super) product: String,
    pub(super) way: Way,
}

impl Work for Client {
    /// Until it is there, however often that takes: with a budget of retries most would be turned away instead.
    async fn once(&mut self) -> Result<()> {
        let tx::Policy { backoff, .. } = tx::Policy::default();
        let reservation = Reservation::new(&self.product);
        let mut failures = 0;
        loop {
            match self.reserve(&reservation).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error.cause),
            }
            failures += 1;
            pause(backoff, failures).await;
        }
    }
}

async fn pause(backoff: Backoff, failures: u32) {
    tokio::time::sleep(backoff.pause(failures, fastrand::u64(..))).await;
}

impl Client {
    /// `false`: somebody else was faster.
    async fn reserve(&self, reservation: &Reservation) -> Result<bool, Broken> {
        let mut tx = self.db.begin().await?;
        // What a client decides on, it has read first.
        let read = if matches!(self.way, Way::Retry) { Some(self.read(&mut tx, READ).await?) } else { None };
        promise(&mut tx, &self.product, &[reservation]).await?;
        let version = match &self.way {
            Way::Guarded(adjust) => Some(adjust.run(&mut tx, &self.product, 1).await?.version.get()),
            Way::Retry | Way::Locked => {
                let read = match read {
                    Some(read) => read,
                    None => self.read(&mut tx, READ_LOCKED).await?,
                };
                self.write(&mut tx, read).await?
            }
        };
        let Some(version) = version else {
            tx.rollback().await.map_err(sql)?;
            return Ok(false);
        };
        tell(&mut tx, &self.product, version, 1).await?;
        tx.commit().await.map_err(steadfast_db::Error::of_commit)?;
        Ok(true)
    }

    async fn read(&self, tx: &mut Tx, statement: &'static str) -> Result<(i64, i64), Broken> {
        sqlx::query_as(statement).bind(&self.product).fetch_one(&mut **tx).await.map_err(sql)
    }

    /// The version that it has made, if nobody was faster.
    async fn write(&self, tx: &mut Tx, (reserved, version): (i64, i64)) -> Result<Option<i64>, Broken> {
        let update = sqlx::query(WRITE).bind(reserved + 1).bind(&self.product).bind(version);
        let written = update.execute(&mut **tx).await.map_err(sql)?.rows_affected();
        Ok((written == 1).then_some(version + 1))
    }
}
