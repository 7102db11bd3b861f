//! A whole transaction again after a conflict, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use sqlx::Transaction;
use steadfast_core::{Classified, ErrorKind};
use steadfast_db::{Backend, tx};

use crate::Entity;

#[derive(Debug, Default)]
struct Tally {
    /// The last attempt ended in a conflict.
    conflicted: AtomicBool,
    /// Attempts that followed a conflict.
    retries: AtomicU32,
    /// Any attempt ended in a conflict.
    met: AtomicBool,
}

/// [`steadfast_db::tx::run`], with the retries after a conflict counted for `entity`, and the share of conflicts that a
/// retry resolved. `work` runs from its first read in each attempt; it must have no effect outside the transaction.
///
/// Never put a user's edit under `If-Match` in here: that user must see the conflict, not overwrite what caused it.
///
/// ```
/// # use steadfast_locking::{Entity, Error, Version, run};
/// # use steadfast_db::{Db, tx};
/// # async fn example(db: &Db, order: &Entity) -> Result<Version, Error> {
/// run(order, db, &tx::Policy::default(), |tx| {
///     let order = order.clone();
///     Box::pin(async move {
///         let (version,): (i64,) = sqlx::query_as("select version from orders where id = ?")
///             .bind(7)
///             .fetch_one(&mut **tx)
///             .await
///             .map_err(steadfast_db::Error::from)?;
///         let saved = order.replace(7, Version::from_stored(version)).set("state", "paid").run(tx).await?;
///         Ok::<_, Error>(saved.version)
///     })
/// })
/// .await
/// # }
/// ```
pub async fn run<B, T, E, F>(entity: &Entity, db: &B, policy: &tx::Policy, mut work: F) -> Result<T, E>
where
    B: Backend,
    T: Send + 'static,
    E: Classified + From<steadfast_db::Error> + Send + 'static,
    F: for<'t> FnMut(&'t mut Transaction<'static, B::Sql>) -> BoxFuture<'t, Result<T, E>>,
{
    let tally = Arc::new(Tally::default());
    let result = tx::run(db, policy, |tx| {
        if tally.conflicted.swap(false, Ordering::Relaxed) {
            tally.retries.fetch_add(1, Ordering::Relaxed);
            entity.metrics().retries.increment(1);
        }
        let tally = Arc::clone(&tally);
        let attempt = work(tx);
        Box::pin(async move {
            let result = attempt.await;
            if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict) {
                tally.conflicted.store(true, Ordering::Relaxed);
                tally.met.store(true, Ordering::Relaxed);
            }
            result
        })
    })
    .await;
    if tally.met.load(Ordering::Relaxed) {
        entity.record_resolution(result.is_ok());
        let retries = tally.retries.load(Ordering::Relaxed);
        tracing::debug!(entity = entity.name(), retries, resolved = result.is_ok(), "a transaction met a conflict");
    }
    result
}
