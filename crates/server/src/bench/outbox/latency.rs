//! How long an event takes from its commit to a consumer, at a steady rate.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use steadfast_bus::kafka::Member;
use steadfast_bus::{Consumer, Start, Topics, headers};
use steadfast_db::migrate;
use steadfast_outbox::LINE;
use tokio::time::Instant;

use super::Arguments;
use crate::bench::kafka::Brokers;
use crate::bench::load::Run;
use crate::bench::meter::{Meter, line};
use crate::bench::report::Line;
use crate::bench::store::Scratch;
use crate::bench::stream::{ARRIVAL, Moments, Relaying, Stream, WARM_UP, lags};
use crate::bench::usage;

pub(super) async fn measure(
    brokers: &Brokers,
    arguments: &Arguments,
    stream: Stream,
    length: Duration,
) -> Result<Line> {
    let topic = brokers.topic().await?;
    let scratch = Scratch::create(&arguments.servers.postgres).await?;
    let outcome = measure_in(&scratch, brokers, &topic, stream, length).await;
    scratch.drop().await?;
    let run = outcome?;
    let setting = format!("commit to consumer, {stream}");
    Ok(Line { rss_mb: Some(usage::rss_mb()), ..line("outbox", setting, &run, run.latencies.len()) })
}

async fn measure_in(
    scratch: &Scratch,
    brokers: &Brokers,
    topic: &str,
    stream: Stream,
    length: Duration,
) -> Result<Run> {
    let db = &scratch.db;
    migrate(db, &LINE).await?;
    let mut member = Member::join(&brokers.config, topic, Topics::Named(vec![topic.to_owned()]), Start::Beginning)?;
    let relaying = Relaying::start(db, brokers.producer()?);
    tokio::try_join!(stream.write(db, topic, WARM_UP), receive(&mut member, stream.amount(WARM_UP)))?;
    let meter = Meter::start(scratch).await?;
    let began = Instant::now();
    let (committed, arrived) =
        tokio::try_join!(stream.write(db, topic, length), receive(&mut member, stream.amount(length)))?;
    let run = lags(&committed, &arrived, began)?;
    let run = Run { latencies: run.latencies, ..meter.stop(committed.len(), run.per_s).await? };
    member.leave().await;
    relaying.stop().await?;
    Ok(run)
}

/// The first arrival of so many events.
async fn receive(member: &mut Member, events: usize) -> Result<Moments> {
    let mut arrived = Moments::with_capacity(events);
    let mut limit = Instant::now() + ARRIVAL;
    while arrived.len() < events {
        let delivered = member.poll(1_000, Duration::from_secs(1)).await?;
        let now = Instant::now();
        if !delivered.is_empty() {
            limit = now + ARRIVAL;
        } else if now > limit {
            bail!("{} of {events} events have arrived: see the log (--log info)", arrived.len());
        }
        for one in delivered {
            let id = one.record.header(headers::ID).and_then(|id| id.parse().ok()).context("a record without ce_id")?;
            arrived.entry(id).or_insert(now);
        }
    }
    Ok(arrived)
}
