//! A kind of versioned row: where it is stored, how its key is called, how it fares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::contention::{Advice, Contention, HotRow};
use crate::metrics::Metrics;
use crate::{Adjust, Error, Expected, Key, Replace, security, statement};

/// A table whose rows carry a `version` (integer, 1 at first). Declare it once, at the start of the service, and keep it:
/// it holds the metrics' handles and the contention monitor. Clones share both.
#[derive(Clone, Debug)]
pub struct Entity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    key: Box<[&'static str]>,
    epoch: Option<&'static str>,
    metrics: Metrics,
    contention: Mutex<Contention<Key>>,
    born: Instant,
    met: AtomicU64,
    resolved: AtomicU64,
}

impl Entity {
    /// The table `name`, whose rows `key` identifies (a unique index). `name` is also the label of its metrics.
    ///
    /// # Errors
    /// [`Error::Declaration`] when a name is not a plain identifier.
    pub fn new(name: &'static str, key: &[&'static str]) -> Result<Self, Error> {
        Self::declare(name, key, None)
    }

    /// As [`new`](Self::new), for rows that are deleted and created again: the column `epoch` holds an integer that
    /// differs between the lives of a row (its creation time, or a sequence), and an entity tag of an earlier life is stale.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_epoch(name: &'static str, key: &[&'static str], epoch: &'static str) -> Result<Self, Error> {
        Self::declare(name, key, Some(epoch))
    }

    fn declare(name: &'static str, key: &[&'static str], epoch: Option<&'static str>) -> Result<Self, Error> {
        statement::check_identifier(name, name)?;
        for column in key.iter().chain(&epoch) {
            statement::check_identifier(name, column)?;
        }
        if key.is_empty() {
            return Err(Error::Declaration { entity: name, fault: "at least one key column is required".to_owned() });
        }
        Ok(Self(Arc::new(Inner {
            name,
            key: key.into(),
            epoch,
            metrics: Metrics::new(name),
            contention: Mutex::default(),
            born: Instant::now(),
            met: AtomicU64::new(0),
            resolved: AtomicU64::new(0),
        })))
    }

    /// An edit of the row `key`, based on what is `expected`: a [`Version`](crate::Version) that was read in this
    /// transaction or before, or what [`Etags::if_match`](crate::Etags::if_match) made of the request. Say what to set,
    /// then [`run`](Replace::run) it.
    pub fn replace(&self, key: impl Into<Key>, expected: impl Into<Expected>) -> Replace {
        Replace::new(self.clone(), key.into(), expected.into())
    }

    /// Declares a change of counted columns by a positive amount, written `:n`, that happens only where `guard` holds:
    /// `adjust("reserved = reserved + :n", "on_hand - reserved >= :n")`. Declare it once and keep it.
    ///
    /// # Errors
    /// [`Error::Declaration`] when a text is empty, has no `:n` where one is needed, or names `version`.
    pub fn adjust(&self, set: &'static str, guard: &'static str) -> Result<Adjust, Error> {
        Adjust::new(self.clone(), set, guard)
    }

    /// The table, and the label of its metrics.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Its busiest rows, busiest first, with their conflict rates.
    pub fn hot_rows(&self) -> Vec<HotRow<Key>> {
        self.monitor().hot_rows()
    }

    pub(crate) fn key_columns(&self) -> &[&'static str] {
        &self.0.key
    }

    pub(crate) fn epoch_column(&self) -> Option<&'static str> {
        self.0.epoch
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn check_key(&self, key: &Key) -> Result<(), Error> {
        if key.parts().len() == self.0.key.len() {
            return Ok(());
        }
        let fault =
            format!("a key of {} part(s) was given, its key columns are {}", key.parts().len(), self.0.key.join(", "));
        Err(Error::Declaration { entity: self.0.name, fault })
    }

    /// One attempt at a row, in metrics and monitor.
    pub(crate) fn record(&self, key: &Key, conflicted: bool) {
        let metrics = &self.0.metrics;
        metrics.attempts.increment(1);
        if conflicted {
            metrics.conflicts.increment(1);
        }
        let (advice, success, contended) = {
            let mut monitor = self.monitor();
            let advice = monitor.record(key, conflicted, self.0.born.elapsed());
            (advice, monitor.success_percent(), monitor.contended())
        };
        metrics.success_rate.set(success);
        metrics.contended_rows.set(f64::from(u32::try_from(contended).unwrap_or(u32::MAX)));
        match advice {
            Some(Advice::Pessimistic) => tracing::warn!(
                entity = self.0.name,
                %key,
                "more than 10 % of the updates of this row conflict: consider a pessimistic lock, or adjust where it is a count"
            ),
            Some(Advice::Optimistic) => {
                tracing::info!(entity = self.0.name, %key, "less than 5 % of the updates of this row conflict again");
            }
            None => {}
        }
    }

    /// A conflict, for the security log.
    pub(crate) fn report_conflict(&self, expected: &Expected) {
        security::conflict(self.0.name, expected.user.as_deref(), expected.key_id.as_deref());
    }

    /// A unit of work that had met a conflict has ended.
    pub(crate) fn record_resolution(&self, resolved: bool) {
        let met = self.0.met.fetch_add(1, Ordering::Relaxed) + 1;
        let resolved = self.0.resolved.fetch_add(u64::from(resolved), Ordering::Relaxed) + u64::from(resolved);
        #[expect(clippy::cast_precision_loss, reason = "a percentage needs no more than 52 bits")]
        self.0.metrics.resolution_rate.set(100.0 * resolved as f64 / met as f64);
    }

    fn monitor(&self) -> std::sync::MutexGuard<'_, Contention<Key>> {
        // The monitor only advises: after a panic elsewhere its counts are as good as before.
        self.0.contention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
