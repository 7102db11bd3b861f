//! A steady stream of events, each committed by itself, and how long each has taken to arrive.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use steadfast_core::{Clock, EventId, NewEvent};
use steadfast_db::postgres::Db;
use steadfast_host::clock::System;
use steadfast_outbox::{Config, Relay, Source, append};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::load::Run;

/// How long the last event may be under way.
pub(super) const ARRIVAL: Duration = Duration::from_secs(30);
/// How long the stream runs before anything counts: a consumer has joined its group by its end.
pub(super) const WARM_UP: Duration = Duration::from_millis(100);
const WRITERS: u32 = 20;
const AGGREGATES: u32 = 1_000;

/// A relay in this process.
#[derive(Debug)]
pub(super) struct Relaying {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Relaying {
    /// It finds events by looking, as one beside its services does: nobody gives it a hint.
    pub(super) fn start(db: &Db, producer: impl steadfast_bus::Producer + 'static) -> Self {
        let stop = CancellationToken::new();
        let sources = vec![Source::new("bench", db.clone())];
        let relay = Relay::new(sources, Arc::new(producer), Arc::new(System), Config::default());
        Self { task: TaskTracker::new().spawn(relay.run(stop.clone())), stop }
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task.await.context("the relay")
    }
}

/// When each event was committed, or has arrived.
pub(super) type Moments = HashMap<EventId, Instant>;

/// The pause between two events of one writer.
fn pause(rate: u32) -> Duration {
    Duration::from_secs(1) * WRITERS / rate.max(1)
}

/// What one writer writes.
fn each(rate: u32, length: Duration) -> usize {
    usize::try_from(length.as_nanos().div_ceil(pause(rate).as_nanos())).unwrap_or(usize::MAX)
}

/// How many events [`write`] commits.
pub(super) fn amount(rate: u32, length: Duration) -> usize {
    (0..WRITERS).map(|_| each(rate, length)).sum()
}

/// Commits so many events a second for so long, a transaction for each. The topic is the events' type.
pub(super) async fn write(db: &Db, topic: &str, rate: u32, length: Duration) -> Result<Moments> {
    let (pause, each) = (pause(rate), each(rate, length));
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (db, topic) = (db.clone(), topic.to_owned());
        writers.spawn(async move {
            let mut tick = tokio::time::interval_at(start + pause * writer / WRITERS, pause);
            let mut random = fastrand::Rng::with_seed(u64::from(writer));
            let mut moments = Moments::new();
            for _ in 0..each {
                tick.tick().await;
                let id = format!("b-{}", random.u32(..AGGREGATES));
                let event = NewEvent::new("bench", id, topic.clone(), json!({"amount": 1, "text": "x".repeat(160)}));
                let mut tx = db.begin().await?;
                let id = append(&mut tx, &event, System.now()).await?;
                tx.commit().await.context("a commit")?;
                moments.insert(id, Instant::now());
            }
            anyhow::Ok(moments)
        });
    }
    let mut all = Moments::new();
    while let Some(written) = writers.join_next().await {
        all.extend(written??);
    }
    Ok(all)
}

/// The time from each commit to the arrival, sorted; and the rate that the writers have kept since they began.
pub(super) fn lags(committed: &Moments, arrived: &Moments, began: Instant) -> Result<Run> {
    let mut latencies = Vec::with_capacity(committed.len());
    let mut last = began;
    for (event, at) in committed {
        let arrival = arrived.get(event).with_context(|| format!("event {event} has not arrived"))?;
        // An event may be seen before its writer has heard of its commit.
        latencies.push(arrival.saturating_duration_since(*at));
        last = last.max(*at);
    }
    latencies.sort_unstable();
    Ok(Run { per_s: super::per_second(committed.len(), last - began), latencies, ..Run::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_its_rate() {
        assert_eq!(amount(2_000, Duration::from_secs(3)), 6_000);
        assert_eq!(amount(1_000, WARM_UP), 100);
        assert_eq!(amount(20, Duration::from_millis(1)), 20);
    }
}
