//! Measurements beside their limits, in one run on one machine.

mod beside;
mod http;
pub(crate) mod idempotency;
#[cfg(feature = "kafka")]
mod kafka;
mod load;
#[cfg(feature = "postgres")]
pub(crate) mod lock;
#[cfg(feature = "postgres")]
mod meter;
#[cfg(feature = "kafka")]
pub(crate) mod outbox;
#[cfg(all(feature = "demo", feature = "kafka"))]
pub(crate) mod platform;
#[cfg(feature = "kafka")]
pub(crate) mod projection;
mod report;
pub(crate) mod saga;
mod store;
#[cfg(feature = "kafka")]
mod stream;
mod usage;

/// So many in such a time.
#[cfg(feature = "kafka")]
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn per_second(amount: usize, took: std::time::Duration) -> f64 {
    amount as f64 / took.as_secs_f64()
}
