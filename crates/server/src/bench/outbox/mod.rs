//! `steadfast bench outbox`: how fast a backlog leaves PostgreSQL for Kafka, beside a bare producer of the same records and
//! a bare mark of the same rows; how long an event is under way; what its writers pay. Ours and the limits alternate;
//! medians are quoted.

mod backlog;
mod drain;
mod latency;
mod writers;

use anyhow::Result;
use clap::ValueEnum;

use self::backlog::Backlog;
use self::drain::Held;
use super::beside::Pace;
use super::kafka::{Brokers, Servers};
use super::load::median;
use super::report::{self, Line};
use super::stream::Streams;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these; without it, all.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Events of 200 bytes that wait when a drain begins.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    events: u32,
    #[command(flatten)]
    streams: Streams,
    /// Writers at once, while their commits are counted.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=32))]
    writers: u32,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    servers: Servers,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The drain, with nobody else in the database.
    Plain,
    /// The drain under a snapshot that somebody keeps open.
    Pinned,
    /// The drain beside a stranger's open transaction that has an id.
    Stranger,
    /// From the commit to the consumer, at a steady rate.
    Latency,
    /// Commits of writers with and without an event.
    Writers,
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let brokers = Brokers::open(&arguments.servers).await?;
    let outcome = measure(&brokers, &arguments).await;
    brokers.close().await?;
    report::print(&outcome?, arguments.pace.json)
}

async fn measure(brokers: &Brokers, arguments: &Arguments) -> Result<Vec<Line>> {
    let length = arguments.pace.length();
    let held: Vec<Held> = [(Part::Plain, Held::Nothing), (Part::Pinned, Held::Snapshot), (Part::Stranger, Held::Id)]
        .into_iter()
        .filter(|(part, _)| arguments.wants(*part))
        .map(|(_, held)| held)
        .collect();
    let mut lines = Vec::new();
    if !held.is_empty() {
        let topic = brokers.topic().await?;
        let backlog = Backlog::fill(&arguments.servers.postgres, topic, arguments.events).await?;
        let drained = drains(brokers, &backlog, &held, arguments.pace.rounds).await;
        backlog.drop().await?;
        lines.extend(drained?);
    }
    if arguments.wants(Part::Latency) {
        for stream in arguments.streams.each() {
            lines.push(latency::measure(brokers, arguments, stream, length).await?);
        }
    }
    if arguments.wants(Part::Writers) {
        lines.extend(writers::measure(arguments, length).await?);
    }
    Ok(lines)
}

async fn drains(brokers: &Brokers, backlog: &Backlog, held: &[Held], rounds: u32) -> Result<Vec<Line>> {
    let mut ours: Vec<_> = held.iter().map(|held| (*held, Vec::new())).collect();
    let (mut produced, mut marked, mut rss) = (Vec::new(), Vec::new(), None);
    for _ in 0..rounds {
        for (held, runs) in &mut ours {
            runs.push(drain::drain(brokers, backlog, *held).await?);
            // Before the limits' records have been in this process's memory.
            rss.get_or_insert_with(super::usage::rss_mb);
        }
        let (by_hand, rows) = backlog.bare(brokers).await?;
        produced.push(by_hand);
        marked.push(rows);
    }
    let (produced, marked) = (median(produced)?.per_s, median(marked)?.per_s);
    let mut plain = None;
    let mut lines = Vec::new();
    for (held, runs) in ours {
        let run = median(runs)?;
        if held == Held::Nothing {
            plain = Some(run.per_s);
        }
        let setting = format!("drain of {} events, {held}", backlog.events);
        let mut line = super::meter::line("outbox", setting, &run, backlog.events).beside(produced.min(marked));
        line.rss_mb = rss;
        line.more.extend([("kafka_per_s", produced), ("mark_per_s", marked)]);
        line.more.extend(plain.map(|plain| ("of_plain", run.per_s / plain)));
        lines.push(line);
    }
    Ok(lines)
}
