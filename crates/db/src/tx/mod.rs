//! A whole transaction as the unit of retry: BEGIN … COMMIT, again from fresh reads when somebody else was faster.

mod budget;

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{Database, Sqlite, Transaction};
use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, ErrorKind};

use crate::{Backend, Error};

pub use budget::Budget;

/// The transaction that [`run`] hands to its closure on SQLite; on PostgreSQL it is `Transaction<'static, Postgres>`.
pub type Tx = Transaction<'static, Sqlite>;

/// How long a rollback is waited for.
const ROLLBACK: Duration = Duration::from_secs(1);

/// What all transactions share that name no budget of their own.
static SHARED: Budget = Budget::new();

/// How often and how patiently a transaction is tried.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The pauses between them.
    pub backoff: Backoff,
    /// What retries are paid from; where it is spent, the first failure is the last. A `static` of your own keeps the storm
    /// on one table from spending what another needs.
    pub budget: &'static Budget,
}

impl Default for Policy {
    /// 8 attempts, 5 ms doubling to 200 ms, full jitter; the budget that everybody shares in this process.
    fn default() -> Self {
        Self {
            attempts: 8,
            backoff: Backoff { base: Duration::from_millis(5), cap: Duration::from_millis(200) },
            budget: &SHARED,
        }
    }
}

/// The attempts at one transaction, for a loop of one's own; [`run`] is such a loop.
#[derive(Debug)]
pub struct Attempts {
    policy: Policy,
    failed: u32,
}

impl Policy {
    /// Begins to count the attempts at one transaction.
    pub fn begin(&self) -> Attempts {
        self.budget.deposit();
        Attempts { policy: *self, failed: 0 }
    }
}

impl Attempts {
    /// Whether to try again after an attempt that failed by this kind: waits for the pause that belongs before it. `false`
    /// where no retry mends it, where there were enough, and where the budget is spent.
    pub async fn again(&mut self, kind: ErrorKind) -> bool {
        self.failed += 1;
        let Policy { attempts, backoff, budget } = self.policy;
        if !kind.is_retriable() || self.failed >= attempts || !budget.withdraw() {
            return false;
        }
        tokio::time::sleep(backoff.pause(self.failed, fastrand::u64(..))).await;
        true
    }
}

/// Runs `work` in a transaction and commits it. When `work` or the commit fails with a kind that is retriable
/// (a conflict, a lock not gained), everything is [rolled back](roll_back) and `work` runs again in a fresh transaction, as often as
/// `policy` and its budget allow.
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
    let mut attempts = policy.begin();
    loop {
        let error = match once(db, &mut work).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(lost)) => return Err(lost.into()),
            Err(error) => error,
        };
        if !attempts.again(error.kind()).await {
            return Err(error);
        }
    }
}

/// Ends a transaction that is not to be committed, and waits until the server has done it: whoever comes next does not meet
/// its locks. Left to the drop it would be done some time later.
///
/// A server that has fallen silent is waited for a second at most. It rolls back by itself when it notices that the
/// connection has gone, so there is no error: nothing of the transaction is ever committed.
pub async fn roll_back<DB: Database>(tx: Transaction<'static, DB>) {
    drop(tokio::time::timeout(ROLLBACK, tx.rollback()).await);
}

/// The inner error is a commit whose outcome is open.
async fn once<B, T, E, F>(db: &B, work: &mut F) -> Result<Result<T, Error>, E>
where
    B: Backend,
    F: for<'t> FnMut(&'t mut Transaction<'static, B::Sql>) -> BoxFuture<'t, Result<T, E>>,
    E: From<Error>,
{
    let mut tx = db.begin().await?;
    let value = match work(&mut tx).await {
        Ok(value) => value,
        Err(error) => {
            roll_back(tx).await;
            return Err(error);
        }
    };
    match tx.commit().await.map_err(Error::of_commit) {
        Ok(()) => Ok(Ok(value)),
        Err(lost @ Error::CommitUnknown(_)) => Ok(Err(lost)),
        Err(refused) => Err(refused.into()),
    }
}
