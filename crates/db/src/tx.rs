//! A whole transaction as the unit of retry: BEGIN … COMMIT, again from fresh reads when somebody else was faster.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{Sqlite, Transaction};
use steadfast_core::Classified;
use steadfast_core::retry::Backoff;

use crate::{Backend, Error};

/// The transaction that [`run`] hands to its closure on SQLite; on PostgreSQL it is `Transaction<'static, Postgres>`.
pub type Tx = Transaction<'static, Sqlite>;

/// How often and how patiently a transaction is tried.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The pauses between them.
    pub backoff: Backoff,
}

impl Default for Policy {
    /// 8 attempts, 5 ms doubling to 200 ms, full jitter.
    fn default() -> Self {
        Self { attempts: 8, backoff: Backoff { base: Duration::from_millis(5), cap: Duration::from_millis(200) } }
    }
}

/// Runs `work` in a transaction and commits it. When `work` or the commit fails with a kind that is retriable
/// (a conflict, a lock not gained), everything is rolled back and `work` runs again in a fresh transaction.
///
/// Promises: `work`'s writes are committed exactly when this returns `Ok`. After a crash, or
/// [`Error::CommitUnknown`], they are there whole or not at all; a caller that must know looks up a record that `work`
/// wrote. A commit whose answer was lost is never tried again here.
/// `work` must have no effect outside the transaction, since it may run several times. Never use it around a user's
/// edit under `If-Match`: that user must see the conflict.
pub async fn run<B, T, E, F>(db: &B, policy: &Policy, mut work: F) -> Result<T, E>
where
    B: Backend,
    F: for<'t> FnMut(&'t mut Transaction<'static, B::Sql>) -> BoxFuture<'t, Result<T, E>>,
    E: Classified + From<Error>,
{
    let mut attempt = 1;
    loop {
        let error = match once(db, &mut work).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(lost)) => return Err(lost.into()),
            Err(error) => error,
        };
        if !error.kind().is_retriable() || attempt >= policy.attempts {
            return Err(error);
        }
        tokio::time::sleep(policy.backoff.pause(attempt, fastrand::u64(..))).await;
        attempt += 1;
    }
}

/// The inner error is a commit whose outcome is open.
async fn once<B, T, E, F>(db: &B, work: &mut F) -> Result<Result<T, Error>, E>
where
    B: Backend,
    F: for<'t> FnMut(&'t mut Transaction<'static, B::Sql>) -> BoxFuture<'t, Result<T, E>>,
    E: From<Error>,
{
    let mut tx = db.begin().await?;
    let value = work(&mut tx).await?;
    match tx.commit().await.map_err(Error::of_commit) {
        Ok(()) => Ok(Ok(value)),
        Err(lost @ Error::CommitUnknown(_)) => Ok(Err(lost)),
        Err(refused) => Err(refused.into()),
    }
}
