//! PostgreSQL. Every step is one statement that is a transaction of its own, or a look and a compare-and-set; ages are
//! reckoned by the server's clock.

mod row;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Postgres as Sql, Transaction};
use steadfast_core::{Classified, ErrorKind, Timestamp};
use steadfast_db::postgres::Db;
use tokio::time::timeout;

use super::steps::{Seen, Slots, step};
use super::{Cleaned, Store};
use crate::decision::{self, Change, Claim, Decision, Prior, Report, Reported, Resolution, Resolved};
use crate::record::{Owner, Record, RecordId};
use crate::{Answer, Error};

pub(crate) use row::write;

/// How long one step may take before it has failed, unless another limit is set.
const LIMIT: Duration = Duration::from_secs(1);

/// The longest time to live in milliseconds: more would not fit beside the present moment.
const LONGEST: i64 = 1 << 52;

/// A store in a PostgreSQL database that [`LINE`](crate::LINE) has been applied to.
#[derive(Clone, Debug)]
pub struct Postgres {
    db: Db,
    limit: Duration,
}

impl Postgres {
    /// A store in this database.
    pub fn new(db: Db) -> Self {
        Self { db, limit: LIMIT }
    }

    /// How long one step may take before it has failed, and nothing is executed: 1 s by default.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The record, for a look without any lock.
    async fn read(&self, id: RecordId) -> Result<Seen<()>, Error> {
        let row = sqlx::query(include_str!("read_record.sql"))
            .bind(&id.as_bytes()[..])
            .fetch_optional(self.db.pool())
            .await
            .map_err(Error::sql)?;
        let Some(row) = row else { return Ok(Seen { record: None, now: Timestamp::default(), mark: () }) };
        let now = Timestamp::from_millis(row::get(&row, row::BEHIND)?);
        Ok(Seen { record: Some(row::decode(&row)?.1), now, mark: () })
    }

    async fn insert_claim(&self, claim: &Claim) -> Result<bool, Error> {
        // The lengths of time; the moments are the server's.
        let first = claim.first_record(Timestamp::default());
        let done = sqlx::query(include_str!("insert_claim.sql"))
            .bind(&claim.id.as_bytes()[..])
            .bind(&claim.owner.as_bytes()[..])
            .bind(millis(claim.lease))
            .bind(first.expires_at.map(|at| at.as_millis().min(LONGEST)))
            .bind(claim.fingerprint.to_bytes())
            .bind(&*claim.scope)
            .bind(&*claim.subject)
            .bind(claim.login.as_deref())
            .bind(claim.forgotten)
            .execute(self.db.pool())
            .await
            .map_err(Error::sql)?;
        Ok(done.rows_affected() == 1)
    }

    async fn complete(&self, id: RecordId, owner: Owner, answer: &Answer, ttl: Duration) -> Result<bool, Error> {
        let query = sqlx::query(include_str!("complete_record.sql"))
            .bind(&id.as_bytes()[..])
            .bind(&owner.as_bytes()[..])
            .bind(row::state_of(answer))
            .bind(millis(ttl));
        let done = row::bind_answer(query, Some(answer)).execute(self.db.pool()).await.map_err(Error::sql)?;
        Ok(done.rows_affected() == 1)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(LONGEST).min(LONGEST)
}

/// Ends a step at its deadline. One whose connection broke is made once more: it knows itself again by its token.
async fn within<T, F: Future<Output = Result<T, Error>>>(limit: Duration, work: impl Fn() -> F) -> Result<T, Error> {
    let tries = async {
        match work().await {
            Err(error) if error.kind() == ErrorKind::Transient => work().await,
            other => other,
        }
    };
    timeout(limit, tries).await.unwrap_or(Err(Error::TimedOut))
}

impl Slots for Postgres {
    type Mark = ();

    async fn see(&self, id: RecordId) -> Result<Seen<()>, Error> {
        self.read(id).await
    }

    async fn set(&self, id: RecordId, _: &Seen<()>, change: &Change) -> Result<bool, Error> {
        write(self.db.pool(), id, change).await
    }
}

#[async_trait]
impl Store for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn answers(&self) -> Result<(), Error> {
        Ok(self.db.answers().await?)
    }

    async fn claim(&self, claim: &Claim) -> Result<Decision, Error> {
        within(self.limit, || async {
            loop {
                if self.insert_claim(claim).await? {
                    return Ok(Decision::Execute { attempt: 1, prior: Prior::None });
                }
                // Nothing where the record has just been removed: the moment of a claim is the server's, so insert again.
                let decided = step(self, claim.id, |seen, now| match seen {
                    None => (None, None),
                    Some(seen) => {
                        let (decision, change) = decision::claim(Some(seen), claim, now);
                        (Some(decision), change)
                    }
                });
                if let Some(decision) = decided.await? {
                    return Ok(decision);
                }
            }
        })
        .await
    }

    async fn report(&self, id: RecordId, owner: Owner, report: Report, ttl: Duration) -> Result<Reported, Error> {
        within(self.limit, || async {
            if let Report::Complete(answer) = &report
                && self.complete(id, owner, answer, ttl).await?
            {
                return Ok(Reported::Accepted);
            }
            step(self, id, |seen, now| decision::report(seen, owner, &report, ttl, now)).await
        })
        .await
    }

    async fn show(&self, id: RecordId) -> Result<Option<Record>, Error> {
        let seen = within(self.limit, || self.read(id)).await?;
        Ok(seen.record.filter(|record| !record.is_expired(seen.now)))
    }

    async fn unresolved(&self, after: Option<RecordId>, limit: u32) -> Result<Vec<(RecordId, Record)>, Error> {
        sqlx::query(include_str!("list_unresolved.sql"))
            .bind(after.as_ref().map_or(&[][..], |id| id.as_bytes()))
            .bind(i64::from(limit))
            .fetch_all(self.db.pool())
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
        within(self.limit, || {
            step(self, id, |seen, now| decision::resolve(seen, expected, &resolution, token, ttl, now))
        })
        .await
    }

    async fn forget_answers(&self, subject: &str, login: &str) -> Result<u64, Error> {
        let ids: Vec<Vec<u8>> = sqlx::query_scalar(include_str!("read_login.sql"))
            .bind(subject)
            .bind(login)
            .fetch_all(self.db.pool())
            .await
            .map_err(Error::sql)?;
        let mut count = 0;
        for id in ids.iter().filter_map(|bytes| RecordId::from_slice(bytes)) {
            let forget = |seen: Option<&Record>, _| {
                let change = seen.and_then(decision::forget);
                (u64::from(change.is_some()), change)
            };
            count += within(self.limit, || step(self, id, forget)).await?;
        }
        Ok(count)
    }

    async fn clean(&self, limit: u32) -> Result<Cleaned, Error> {
        let done = sqlx::query(include_str!("delete_expired.sql"))
            .bind(i64::from(limit.max(1)))
            .execute(self.db.pool())
            .await
            .map_err(Error::sql)?;
        let removed = done.rows_affected();
        Ok(Cleaned { removed, ended: removed < u64::from(limit.max(1)) })
    }
}

/// The record by a look without any lock, for the transactional form.
pub(crate) async fn look_up(db: &Db, id: RecordId) -> Result<Option<Record>, Error> {
    let store = Postgres::new(db.clone());
    Ok(within(store.limit, || store.read(id)).await?.record)
}

/// Whether this transaction is the only one that executes under this key, and the record.
pub(crate) async fn enter(tx: &mut Transaction<'static, Sql>, id: RecordId) -> Result<(bool, Option<Record>), Error> {
    // The name is a hash: eight bytes of it are a lock of its own.
    let lock = id.as_bytes().first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
    let row = sqlx::query(include_str!("lock_record.sql"))
        .bind(&id.as_bytes()[..])
        .bind(lock)
        .fetch_one(&mut **tx)
        .await
        .map_err(Error::sql)?;
    Ok((row::get(&row, row::BEHIND)?, row::decode_if_any(&row)?))
}
