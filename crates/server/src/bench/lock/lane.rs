//! Reservations of the hot product by the lane: one transaction for a batch.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use async_trait::async_trait;
use steadfast_db::postgres::Db;
use steadfast_locking::lane::{Commit, Committed, Decided, Error, Lane, Seen, Sum, Verdict};
use steadfast_locking::{Key, Version};

use super::reservation::{Broken, Reservation, promise, sql, tell};
use crate::bench::load::Work;

const READ: &str = "select on_hand - reserved, version from stock where product = $1";
const TAKE: &str = "update stock set reserved = reserved + $1, version = version + $2
    where product = $3 and version = $4 and on_hand - reserved >= $1";

/// How a batch is committed.
#[derive(Debug)]
pub(super) struct Batches(pub(super) Db);

#[async_trait]
impl Commit for Batches {
    type Payload = Reservation;
    type Error = Broken;

    fn entity(&self) -> &'static str {
        "stock"
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Seen>>, Broken> {
        let mut seen = Vec::with_capacity(keys.len());
        for key in keys {
            let row = sqlx::query_as(READ).bind(key.to_string()).fetch_optional(self.0.pool()).await.map_err(sql)?;
            seen.push(row.map(|(free, version)| Seen { free, version: Version::from_stored(version) }));
        }
        Ok(seen)
    }

    async fn commit(&self, sums: &[Sum], batch: &[Decided<'_, Reservation>]) -> Result<Committed, Broken> {
        let mut tx = self.0.begin().await?;
        let all: Vec<&Reservation> = batch.iter().map(|it| it.payload).collect();
        // There is one product, so there is one sum.
        for sum in sums {
            let product = sum.key.to_string();
            promise(&mut tx, &product, &all).await?;
            let take = sqlx::query(TAKE).bind(sum.amount).bind(sum.count).bind(&product).bind(sum.expected.get());
            if take.execute(&mut *tx).await.map_err(sql)?.rows_affected() != 1 {
                tx.rollback().await.map_err(sql)?;
                return Ok(Committed::Stale);
            }
            tell(&mut tx, &product, sum.expected.get() + sum.count, sum.count).await?;
        }
        tx.commit().await.map_err(steadfast_db::Error::of_commit)?;
        Ok(Committed::All)
    }
}

pub(super) struct Client {
    pub(super) lane: Lane<Batches>,
    pub(super) product: String,
}

impl Work for Client {
    async fn once(&mut self) -> Result<()> {
        let amounts = [(Key::from(self.product.as_str()), 1)].into();
        match self.lane.take(amounts, Reservation::new(&self.product)).await {
            Ok(Verdict::Taken(_)) => Ok(()),
            Ok(Verdict::Refused(losers)) => bail!("the lane refused what is there: {losers:?}"),
            // Nobody else has a hand on the batch any more.
            Err(Error::Failed(broken)) => Err(Arc::try_unwrap(broken).map_or_else(
                |shared| anyhow!("a batch could not be committed: {:#}", shared.cause),
                |broken| broken.cause,
            )),
            Err(error) => Err(anyhow!("the lane: {error}")),
        }
    }
}
