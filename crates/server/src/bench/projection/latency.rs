//! How long an event takes from its commit in the service's database, over the outbox's relay and Kafka, to being readable
//! in the read model.

use std::sync::Arc;

use anyhow::{Result, ensure};
use steadfast_db::migrate;
use steadfast_db::postgres::Db;
use steadfast_outbox::LINE;
use steadfast_projection::{Runner, Turn};
use tokio::time::Instant;

use super::Arguments;
use super::fold::Totals;
use crate::bench::kafka::Brokers;
use crate::bench::load::Run;
use crate::bench::meter::{Meter, line};
use crate::bench::report::Line;
use crate::bench::store::Scratch;
use crate::bench::stream::{ARRIVAL, Moments, Relaying, Stream, WARM_UP, lags};
use crate::bench::usage;

pub(super) async fn measure(brokers: &Brokers, arguments: &Arguments, stream: Stream) -> Result<Line> {
    let written = Scratch::create(&arguments.servers.postgres).await?;
    let outcome = measure_from(&written, brokers, arguments, stream).await;
    written.drop().await?;
    let run = outcome?;
    let setting = format!("commit to readable, {stream}");
    Ok(Line { rss_mb: Some(usage::rss_mb()), ..line("projection", setting, &run, run.latencies.len()) })
}

async fn measure_from(written: &Scratch, brokers: &Brokers, arguments: &Arguments, stream: Stream) -> Result<Run> {
    let read = Scratch::create(&arguments.servers.postgres).await?;
    let outcome = measure_between(written, &read, brokers, arguments, stream).await;
    read.drop().await?;
    outcome
}

async fn measure_between(
    written: &Scratch,
    read: &Scratch,
    brokers: &Brokers,
    arguments: &Arguments,
    stream: Stream,
) -> Result<Run> {
    let length = arguments.pace.length();
    let topic = brokers.topic().await?;
    migrate(&written.db, &LINE).await?;
    let totals = Arc::<Totals>::default();
    let mut runner = super::runner(&read.db, brokers, &topic, &topic, arguments.batch, &totals).await?;
    let relaying = Relaying::start(&written.db, brokers.producer()?);
    tokio::try_join!(
        stream.write(&written.db, &topic, WARM_UP),
        receive(&mut runner, &totals, stream.amount(WARM_UP))
    )?;
    let meter = Meter::start(written).await?;
    let began = Instant::now();
    let (committed, arrived) = tokio::try_join!(
        stream.write(&written.db, &topic, length),
        receive(&mut runner, &totals, stream.amount(length))
    )?;
    let run = lags(&committed, &arrived, began)?;
    let run = Run { latencies: run.latencies, ..meter.stop(committed.len(), run.per_s).await? };
    relaying.stop().await?;
    Ok(run)
}

/// When each of so many events had been committed to the read model.
async fn receive(runner: &mut Runner<Db>, totals: &Totals, events: usize) -> Result<Moments> {
    let mut arrived = Moments::with_capacity(events);
    let mut limit = Instant::now() + ARRIVAL;
    while arrived.len() < events {
        let turn = runner.turn().await?;
        let now = Instant::now();
        if matches!(turn, Turn::Committed(_)) {
            limit = now + ARRIVAL;
            for event in totals.given() {
                arrived.entry(event).or_insert(now);
            }
        }
        ensure!(now < limit, "{} of {events} events are readable: see the log (--log info)", arrived.len());
    }
    Ok(arrived)
}
