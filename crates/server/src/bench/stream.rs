//! A steady stream of events, one or several a commit, and how long each has taken to arrive.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use steadfast_core::{Clock, EventId, NewEvent};
use steadfast_db::postgres::Db;
use steadfast_host::clock::System;
use steadfast_outbox::{Config, Relay, Source, append_many};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::load::Run;

/// How long the last event may be under way.
pub(super) const ARRIVAL: Duration = Duration::from_secs(30);
/// How long the stream runs before anything counts: by its end a consumer has joined its group, every connection has its
/// statements prepared, and the relay and the brokers are at their pace.
pub(super) const WARM_UP: Duration = Duration::from_secs(2);
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

/// How events are written, while latency is measured.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Streams {
    /// Events a second, while latency is measured.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    rate: u32,
    /// How many of them one transaction commits; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10], value_parser = clap::value_parser!(u32).range(1..=100))]
    per_commit: Vec<u32>,
}

impl Streams {
    /// Each that is to be measured.
    pub(super) fn each(&self) -> impl Iterator<Item = Stream> + '_ {
        self.per_commit.iter().map(|per_commit| Stream { rate: self.rate, per_commit: *per_commit })
    }
}

/// Events at a steady rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    rate: u32,
    per_commit: u32,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events/s, {} a commit", self.rate, self.per_commit)
    }
}

impl Stream {
    /// The pause between two commits of one writer.
    fn pause(self) -> Duration {
        Duration::from_secs(1) * WRITERS * self.per_commit / self.rate.max(1)
    }

    /// How often one writer commits.
    fn commits(self, length: Duration) -> usize {
        usize::try_from(length.as_nanos().div_ceil(self.pause().as_nanos())).unwrap_or(usize::MAX)
    }

    /// How many events [`write`](Self::write) commits.
    pub(super) fn amount(self, length: Duration) -> usize {
        (0..WRITERS * self.per_commit).map(|_| self.commits(length)).sum()
    }

    /// Commits so many events a second for so long. The topic is the events' type.
    pub(super) async fn write(self, db: &Db, topic: &str, length: Duration) -> Result<Moments> {
        let (pause, commits) = (self.pause(), self.commits(length));
        let start = Instant::now();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (db, topic) = (db.clone(), topic.to_owned());
            writers.spawn(async move {
                let mut tick = tokio::time::interval_at(start + pause * writer / WRITERS, pause);
                let mut random = fastrand::Rng::with_seed(u64::from(writer));
                let mut moments = Moments::new();
                for _ in 0..commits {
                    tick.tick().await;
                    let events: Vec<_> = (0..self.per_commit).map(|_| event(&topic, &mut random)).collect();
                    let mut tx = db.begin().await?;
                    let ids = append_many(&mut tx, &events, System.now()).await?;
                    tx.commit().await.context("a commit")?;
                    let now = Instant::now();
                    moments.extend(ids.into_iter().map(|id| (id, now)));
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
}

fn event(topic: &str, random: &mut fastrand::Rng) -> NewEvent {
    let id = format!("b-{}", random.u32(..AGGREGATES));
    NewEvent::new("bench", id, topic.to_owned(), json!({"amount": 1, "text": "x".repeat(160)}))
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
        let stream = |rate, per_commit| Stream { rate, per_commit };
        assert_eq!(stream(2_000, 1).amount(Duration::from_secs(3)), 6_000);
        assert_eq!(stream(2_000, 10).amount(Duration::from_secs(3)), 6_000);
        assert_eq!(stream(1_000, 1).amount(WARM_UP), 2_000);
        assert_eq!(stream(20, 1).amount(Duration::from_millis(1)), 20);
    }
}
