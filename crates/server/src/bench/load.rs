//! So many at once for so long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One measurement.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) per_s: f64,
    pub(super) latencies: Vec<Duration>,
    /// CPU of all processes that take part, database included where it is on this machine.
    pub(super) cpu_ms_each: f64,
    pub(super) commits_each: f64,
    pub(super) wal_bytes_each: f64,
    /// How often the worker that got most was served for each time of the one that got least.
    pub(super) fairness: f64,
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    pub(super) fn count(&self) -> f64 {
        self.latencies.len().max(1) as f64
    }

    /// The latency that so many of a hundred stay below, in milliseconds. The latencies must be sorted.
    pub(super) fn quantile_ms(&self, of: usize) -> f64 {
        let index = self.latencies.len().saturating_sub(1) * of / 100;
        self.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// What one worker does again and again.
pub(super) trait Work: Send + 'static {
    fn once(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Runs the workers until `length` has passed and each has ended what it had begun.
pub(super) async fn drive<W: Work>(workers: Vec<W>, length: Duration) -> Result<Run> {
    let (start, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut running = JoinSet::new();
    for mut worker in workers {
        let over = Arc::clone(&over);
        running.spawn(async move {
            let mut latencies = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                worker.once().await?;
                latencies.push(begun.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    tokio::time::sleep_until(start + length).await;
    over.store(true, Ordering::Relaxed);
    let mut run = Run::default();
    let (mut least, mut most) = (usize::MAX, 0);
    while let Some(done) = running.join_next().await {
        let latencies = done??;
        (least, most) = (least.min(latencies.len()), most.max(latencies.len()));
        run.latencies.extend(latencies);
    }
    run.fairness = per_least(most, least);
    run.per_s = run.count() / start.elapsed().as_secs_f64();
    Ok(run)
}

/// One that got nothing counts as if it had got one: a number is wanted, and it is bad enough.
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn per_least(most: usize, least: usize) -> f64 {
    most as f64 / least.max(1) as f64
}

/// The run whose rate is the median.
pub(super) fn median(mut runs: Vec<Run>) -> Result<Run> {
    runs.sort_by(|one, two| one.per_s.total_cmp(&two.per_s));
    let middle = runs.len() / 2;
    runs.into_iter().nth(middle).context("at least one round")
}
