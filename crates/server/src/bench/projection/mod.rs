//! `steadfast bench projection`: how fast events in Kafka become rows of a read model in PostgreSQL, beside one multi-row
//! upsert by hand for each batch; how long a committed event takes to be readable. Ours and the limit alternate; medians
//! are quoted.

mod fold;
mod latency;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use steadfast_bus::kafka::Member;
use steadfast_bus::{Start, Topics, headers};
use steadfast_core::Event;
use steadfast_db::postgres::Db;
use steadfast_host::clock::System;
use steadfast_projection::{Config, Runner, Turn};
use tokio::time::Instant;

use self::fold::Totals;
use super::beside::Pace;
use super::kafka::{Brokers, Servers};
use super::load::{Run, median};
use super::meter::{Meter, line};
use super::report::{self, Line};
use super::store::Scratch;
use super::stream::Streams;
use super::{per_second, usage};

/// How long nothing may arrive.
const LIMIT: Duration = Duration::from_mins(1);

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these; without it, all.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Events of 200 bytes in Kafka.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    events: u32,
    /// Aggregates that they belong to, in turn.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    aggregates: u32,
    /// Events of one transaction, at most.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    #[command(flatten)]
    streams: Streams,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    servers: Servers,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Events a second, from Kafka into rows.
    Fold,
    /// From the commit in the service's database to the read model, at a steady rate.
    Latency,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let (events, batch) = (arguments.events, arguments.batch);
    ensure!(events / 2 >= batch, "--batch {batch}: it must be at most half of --events, which is {events}");
    let brokers = Brokers::open(&arguments.servers).await?;
    let outcome = measure(&brokers, &arguments).await;
    brokers.close().await?;
    report::print(&outcome?, arguments.pace.json)
}

async fn measure(brokers: &Brokers, arguments: &Arguments) -> Result<Vec<Line>> {
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut lines = Vec::new();
    if wants(Part::Fold) {
        lines.push(folds(brokers, arguments).await?);
    }
    if wants(Part::Latency) {
        for stream in arguments.streams.each() {
            lines.push(latency::measure(brokers, arguments, stream).await?);
        }
    }
    Ok(lines)
}

async fn folds(brokers: &Brokers, arguments: &Arguments) -> Result<Line> {
    let topic = brokers.topic().await?;
    let events = || fold::events(&topic, arguments.events, arguments.aggregates);
    brokers.produce(events().map(|event| headers::encode(&event, "/bench")).collect()).await?;
    let (mut ours, mut by_hand, mut rss) = (Vec::new(), Vec::new(), None);
    for round in 0..arguments.pace.rounds {
        let group = format!("{topic}-{round}");
        let scratch = Scratch::create(&arguments.servers.postgres).await?;
        let outcome = fold_from_kafka(&scratch, brokers, &topic, &group, arguments).await;
        scratch.drop().await?;
        ours.push(outcome?);
        rss.get_or_insert_with(usage::rss_mb);
        let scratch = Scratch::create(&arguments.servers.postgres).await?;
        let outcome = fold_by_hand(&scratch.db, &events().collect::<Vec<_>>(), arguments.batch as usize).await;
        scratch.drop().await?;
        by_hand.push(outcome?);
    }
    let setting =
        format!("{} events of {} aggregates, batch {}", arguments.events, arguments.aggregates, arguments.batch);
    let line = line("projection", setting, &median(ours)?, arguments.events as usize);
    Ok(Line { rss_mb: rss, ..line.beside(median(by_hand)?.per_s) })
}

/// A projection's runner over one member of a group.
async fn runner(
    db: &Db,
    brokers: &Brokers,
    topic: &str,
    group: &str,
    batch: u32,
    totals: &Arc<Totals>,
) -> Result<Runner<Db>> {
    fold::make_table(db).await?;
    let member = Member::join(&brokers.config, group, Topics::Named(vec![topic.to_owned()]), Start::Beginning)?;
    let config = Config { batch: batch as usize, ..Config::default() };
    Ok(Runner::open(db.clone(), Arc::clone(totals) as _, Box::new(member), Arc::new(System), config).await?)
}

/// From the first batch on, which is not counted: until then the group takes its time to agree on its members.
async fn fold_from_kafka(
    scratch: &Scratch,
    brokers: &Brokers,
    topic: &str,
    group: &str,
    arguments: &Arguments,
) -> Result<Run> {
    let totals = Arc::<Totals>::default();
    let mut runner = runner(&scratch.db, brokers, topic, group, arguments.batch, &totals).await?;
    let first = commit(&mut runner).await?;
    let meter = Meter::start(scratch).await?;
    let began = Instant::now();
    let mut applied = first;
    while applied < u64::from(arguments.events) {
        applied += commit(&mut runner).await?;
    }
    let took = began.elapsed();
    let measured = usize::try_from(applied - first)?;
    let run = meter.stop(measured, per_second(measured, took)).await?;
    let counted = fold::counted(&scratch.db).await?;
    ensure!(counted == i64::from(arguments.events), "the read model has {counted} of {} events", arguments.events);
    Ok(run)
}

/// Turns until something is committed; how many events were applied.
async fn commit(runner: &mut Runner<Db>) -> Result<u64> {
    let began = Instant::now();
    loop {
        if let Turn::Committed(tally) = runner.turn().await?
            && tally.applied > 0
        {
            return Ok(tally.applied);
        }
        ensure!(began.elapsed() < LIMIT, "nothing arrives from Kafka: see the log (--log info)");
    }
}

async fn fold_by_hand(db: &Db, events: &[Event], batch: usize) -> Result<Run> {
    fold::make_table(db).await?;
    let write = async |chunk| {
        let mut tx = db.begin().await?;
        fold::upsert(&mut tx, chunk).await.map_err(|error| anyhow::anyhow!(error))?;
        tx.commit().await?;
        anyhow::Ok(())
    };
    // As for ours, the first batch is not counted.
    let (first, rest) = events.split_at(batch.min(events.len()));
    write(first).await?;
    let began = Instant::now();
    for chunk in rest.chunks(batch) {
        write(chunk).await?;
    }
    Ok(Run { per_s: per_second(rest.len(), began.elapsed()), ..Run::default() })
}
