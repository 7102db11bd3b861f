//! The outbox in PostgreSQL: several lanes, each a range of buckets, shared among relays by leases on the database's clock.

mod archive;
mod decode;
mod line;
mod seen;
mod tenure;
mod tide;

use std::time::Duration;

use async_trait::async_trait;
use steadfast_core::{Classified, ErrorKind, EventId, Timestamp};
use steadfast_db::postgres::Db;

use super::{Ask, Claims, Parked, Status, Store, Tenure};
use crate::archive::Shelf;
use crate::{Error, Violation, verify};

/// How often a relay says that it lives and looks at the lanes, at least.
const GREETING: Duration = Duration::from_secs(1);
/// How often one looks that has less than its share.
const HUNGRY: Duration = Duration::from_millis(250);
/// Buckets in all.
const BUCKETS: i64 = 256;

/// An outbox's tables in one database.
#[derive(Debug)]
pub(crate) struct Outbox {
    db: Db,
}

impl Outbox {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }
}

/// Milliseconds as a statement takes them.
fn millis(time: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds, below 2^53 for 285,000 years")]
    let millis = time.as_millis() as f64;
    millis
}

fn span(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// How many lanes a relay should take, or hand over when it is less than none: all relays have the same share, rounded up.
fn wanted(lanes: i64, others: i64, held: usize) -> i64 {
    let relays = others.max(0) + 1;
    let share = (lanes + relays - 1) / relays;
    share - i64::try_from(held).unwrap_or(i64::MAX)
}

#[async_trait]
impl Store for Outbox {
    async fn claim(&self, ask: Ask<'_>) -> Result<Claims, Error> {
        let Ask { node, lease, held, again, .. } = ask;
        let (others, lanes): (i64, i64) = sqlx::query_as(include_str!("greet_relays.sql"))
            .bind(node)
            .bind(span(lease))
            .fetch_one(self.db.pool())
            .await?;
        let wanted = wanted(lanes, others, held);
        let pause = GREETING.min(lease / 3);
        if wanted <= 0 {
            return Ok(Claims { granted: vec![], surplus: usize::try_from(-wanted).unwrap_or(0), again: pause });
        }
        let granted: Vec<(i16, i64)> = sqlx::query_as(include_str!("claim_lanes.sql"))
            .bind(node)
            .bind(span(lease))
            .bind(wanted)
            .bind(again)
            .fetch_all(self.db.pool())
            .await?;
        let is_hungry = i64::try_from(granted.len()).unwrap_or(i64::MAX) < wanted;
        Ok(Claims { granted, surplus: 0, again: if is_hungry { pause.min(HUNGRY) } else { pause } })
    }

    async fn tenure(&self, lane: i16, epoch: i64) -> Result<Box<dyn Tenure>, Error> {
        Ok(Box::new(tenure::Lane::open(&self.db, lane, epoch).await?))
    }

    async fn leave(&self, node: &str) -> Result<(), Error> {
        sqlx::query(include_str!("leave_lanes.sql")).bind(node).execute(self.db.pool()).await?;
        Ok(())
    }

    async fn upkeep(&self) -> Result<(), Error> {
        let is_sound: Option<bool> =
            sqlx::query_scalar(include_str!("read_cache.sql")).fetch_optional(self.db.pool()).await?;
        if is_sound != Some(true) {
            return Err(Error::CachedIds);
        }
        sqlx::query(include_str!("make_partitions.sql")).execute(self.db.pool()).await?;
        sqlx::query(include_str!("forget_relays.sql")).execute(self.db.pool()).await?;
        Ok(())
    }

    async fn parked(&self, limit: u32) -> Result<Vec<Parked>, Error> {
        read_parked(&self.db, 0, i16::MAX, i64::from(limit)).await
    }

    async fn replay(&self, event: EventId, now: Timestamp) -> Result<bool, Error> {
        let found = sqlx::query(include_str!("replay_parked.sql"))
            .bind(event.to_string())
            .bind(millis(now))
            .execute(self.db.pool())
            .await?;
        Ok(found.rows_affected() > 0)
    }

    async fn discard(&self, event: EventId, reason: &str, now: Timestamp) -> Result<bool, Error> {
        let row: Option<i64> = sqlx::query_scalar(include_str!("discard_parked.sql"))
            .bind(event.to_string())
            .bind(reason)
            .bind(millis(now))
            .fetch_optional(self.db.pool())
            .await?;
        Ok(row.is_some())
    }

    async fn status(&self, waiting: u32) -> Result<Status, Error> {
        let waiting = i64::from(waiting);
        let rows = sqlx::query(include_str!("read_waiting.sql"))
            .bind((waiting + BUCKETS - 1) / BUCKETS)
            .bind(waiting)
            .fetch_all(self.db.pool())
            .await?;
        let (size, parked) = sqlx::query_as(include_str!("read_size.sql")).fetch_one(self.db.pool()).await?;
        let waiting = rows.iter().map(|row| decode::some_time(row, 0, 0)).collect::<Result<_, _>>()?;
        Ok(Status { waiting, size, parked })
    }

    async fn verify(&self) -> Result<Vec<Violation>, Error> {
        let mut tx = self.db.begin().await?;
        // One snapshot for all statements: writers go on meanwhile.
        sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
        let suspects: Vec<(String, String, i64, i64)> =
            sqlx::query_as(include_str!("read_suspects.sql")).bind(verify::SUSPECTS).fetch_all(&mut *tx).await?;
        let mut violations = Vec::new();
        for (aggregate_type, aggregate_id, floor, last) in suspects {
            let sequences: Vec<i64> = sqlx::query_scalar(include_str!("read_sequences.sql"))
                .bind(&aggregate_type)
                .bind(&aggregate_id)
                .fetch_all(&mut *tx)
                .await?;
            violations.extend(verify::violations(&aggregate_type, &aggregate_id, &sequences, floor, last));
        }
        Ok(violations)
    }

    async fn archive(&self, before: Timestamp, _limit: u32, onto: Shelf<'_>) -> Result<u64, Error> {
        match archive::archive_day(&self.db, before, onto).await {
            // Somebody keeps the table or the day busy: the next run tries again.
            Err(error @ Error::Store(_)) if error.kind() == ErrorKind::Transient => {
                tracing::warn!(%error, "a day of the outbox could not be dropped now");
                Ok(0)
            }
            other => other,
        }
    }
}

async fn read_parked(db: &Db, first: i16, last: i16, limit: i64) -> Result<Vec<Parked>, Error> {
    let rows =
        sqlx::query(include_str!("read_parked.sql")).bind(first).bind(last).bind(limit).fetch_all(db.pool()).await?;
    rows.iter().map(decode::parked).collect()
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn relays_share_the_lanes() {
        assert_eq!(wanted(8, 0, 0), 8);
        assert_eq!(wanted(8, 1, 8), -4);
        assert_eq!(wanted(8, 1, 0), 4);
        assert_eq!(wanted(8, 2, 3), 0);
        assert_eq!(wanted(8, 2, 0), 3);
        assert_eq!(wanted(8, 20, 0), 1);
    }
}
