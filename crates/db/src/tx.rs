//! A whole transaction as the unit of retry: BEGIN … COMMIT, again from fresh reads when somebody else was faster.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{Sqlite, Transaction};
use steadfast_core::Classified;
use steadfast_core::retry::Backoff;

use crate::{Db, Error};

/// The transaction that [`run`] hands to its closure.
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
/// Promises: `work`'s writes are committed exactly when this returns `Ok`. After a crash, or an error from the commit
/// itself, they are there whole or not at all; a caller that must know which looks up a record that `work` wrote.
/// `work` must have no effect outside the transaction, since it may run several times. Never use it around a user's
/// edit under `If-Match`: that user must see the conflict.
pub async fn run<T, E, F>(db: &Db, policy: &Policy, mut work: F) -> Result<T, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>>,
    E: Classified + From<Error>,
{
    let mut attempt = 1;
    loop {
        let error = match once(db, &mut work).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if !error.kind().is_retriable() || attempt >= policy.attempts {
            return Err(error);
        }
        tokio::time::sleep(policy.backoff.pause(attempt, fastrand::u64(..))).await;
        attempt += 1;
    }
}

async fn once<T, E, F>(db: &Db, work: &mut F) -> Result<T, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>>,
    E: From<Error>,
{
    let mut tx = db.begin().await?;
    let value = work(&mut tx).await?;
    tx.commit().await.map_err(Error::from)?;
    Ok(value)
}
