//! A backlog, filled once and copied for each drain, so that every run begins with the same rows.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sqlx::Row;
use sqlx::postgres::PgRow;
use steadfast_bus::Record;
use steadfast_bus::headers::Envelope;
use steadfast_core::{Clock, NewEvent, Timestamp};
use steadfast_db::migrate;
use steadfast_host::clock::System;
use steadfast_outbox::{LINE, append_many};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bench::kafka::Brokers;
use crate::bench::load::Run;
use crate::bench::per_second;
use crate::bench::store::Scratch;

const AGGREGATES: u32 = 2_000;
/// Events of one transaction that fills.
const CHUNK: u32 = 2_000;
/// What a lane of the relay sends, and marks, at once.
const BATCH: usize = 2_000;
/// What makes a payload of 200 bytes, with the eleven around it.
const TEXT: usize = 189;

/// Events that wait in a database which nobody touches.
#[derive(Debug)]
pub(super) struct Backlog {
    template: Scratch,
    pub(super) topic: String,
    pub(super) events: usize,
}

/// A row that waits: its lane, its place, and the record of it.
struct Waiting {
    lane: i16,
    bucket: i16,
    id: i64,
    day: i32,
    record: Record,
}

impl Backlog {
    /// So many events, whose type is the topic.
    pub(super) async fn fill(server: &str, topic: String, events: u32) -> Result<Self> {
        let backlog = Self { template: Scratch::create(server).await?, topic, events: events as usize };
        let filled = backlog.write(events).await;
        // Nobody may be connected to what is copied.
        backlog.template.db.close().await;
        match filled {
            Ok(()) => Ok(backlog),
            Err(error) => {
                backlog.drop().await?;
                Err(error)
            }
        }
    }

    async fn write(&self, events: u32) -> Result<()> {
        let (db, topic) = (&self.template.db, self.topic.as_str());
        migrate(db, &LINE).await?;
        let mut random = fastrand::Rng::with_seed(7);
        for start in (0..events).step_by(CHUNK as usize) {
            let chunk: Vec<NewEvent> = (start..events.min(start + CHUNK))
                .map(|n| {
                    let text: String = (0..TEXT).map(|_| random.alphanumeric()).collect();
                    NewEvent::new("bench", format!("b-{}", n % AGGREGATES), topic, json!({ "text": text }))
                })
                .collect();
            let mut tx = db.begin().await?;
            append_many(&mut tx, &chunk, System.now()).await?;
            tx.commit().await.context("filling")?;
        }
        sqlx::query("vacuum (analyze) outbox").execute(db.pool()).await?;
        Ok(())
    }

    pub(super) async fn copy(&self) -> Result<Scratch> {
        self.template.copy().await
    }

    /// What waits, sent by a bare producer, then marked by hand: both rates.
    pub(super) async fn bare(&self, brokers: &Brokers) -> Result<(Run, Run)> {
        let scratch = self.copy().await?;
        let outcome = bare(&scratch, brokers, self.events).await;
        scratch.drop().await?;
        outcome
    }

    pub(super) async fn drop(self) -> Result<()> {
        self.template.drop().await
    }
}

async fn bare(scratch: &Scratch, brokers: &Brokers, events: usize) -> Result<(Run, Run)> {
    let mut lanes: BTreeMap<i16, Vec<(i16, i64, i32)>> = BTreeMap::new();
    let mut records = Vec::with_capacity(events);
    for row in sqlx::query(include_str!("read_backlog.sql")).fetch_all(scratch.db.pool()).await? {
        let Waiting { lane, bucket, id, day, record } = waiting(&row)?;
        lanes.entry(lane).or_default().push((bucket, id, day));
        records.push(record);
    }
    ensure!(records.len() == events, "{} of {events} events wait", records.len());
    let produced = brokers.produce(records).await?;
    let marked = mark(scratch, lanes, events).await?;
    Ok((Run { per_s: produced, ..Run::default() }, Run { per_s: marked, ..Run::default() }))
}

fn waiting(row: &PgRow) -> Result<Waiting> {
    let aggregate_type: String = row.try_get("aggregate_type")?;
    let aggregate_id: String = row.try_get("aggregate_id")?;
    let event_type: String = row.try_get("event_type")?;
    let envelope = Envelope {
        event_id: row.try_get::<String, _>("event_id")?.parse().context("event_id")?,
        aggregate_type: &aggregate_type,
        aggregate_id: &aggregate_id,
        event_type: &event_type,
        sequence: row.try_get("sequence")?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        source: "/bench",
    };
    Ok(Waiting {
        lane: row.try_get("lane")?,
        bucket: row.try_get("bucket")?,
        id: row.try_get("id")?,
        day: row.try_get("day")?,
        record: envelope.record([], row.try_get::<String, _>("payload")?.into_bytes().into()),
    })
}

/// Marks by one statement and commit a batch, on a connection for each lane.
async fn mark(scratch: &Scratch, lanes: BTreeMap<i16, Vec<(i16, i64, i32)>>, events: usize) -> Result<f64> {
    let mut connected = Vec::new();
    for rows in lanes.into_values() {
        connected.push((scratch.db.connect().await?, rows));
    }
    let began = Instant::now();
    let mut marking = JoinSet::new();
    for (mut connection, rows) in connected {
        marking.spawn(async move {
            let mut marked = 0;
            for batch in rows.chunks(BATCH) {
                let (buckets, rest): (Vec<i16>, Vec<(i64, i32)>) =
                    batch.iter().map(|(bucket, id, day)| (*bucket, (*id, *day))).unzip();
                let (ids, days): (Vec<i64>, Vec<i32>) = rest.into_iter().unzip();
                let mark = sqlx::query(include_str!("mark_rows.sql")).bind(buckets).bind(ids).bind(days);
                marked += mark.execute(&mut connection).await?.rows_affected();
            }
            anyhow::Ok(marked)
        });
    }
    let mut marked = 0;
    while let Some(rows) = marking.join_next().await {
        marked += rows??;
    }
    let took = began.elapsed();
    ensure!(marked == events as u64, "{marked} of {events} rows were marked");
    Ok(per_second(events, took))
}
