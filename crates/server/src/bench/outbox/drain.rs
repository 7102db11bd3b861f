//! The drain: a backlog through the library's relay, until all is marked.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{Postgres, Transaction};
use steadfast_bus::{Error, Producer, Record};
use steadfast_db::postgres::Db;
use steadfast_outbox::Outbox;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::backlog::Backlog;
use crate::bench::kafka::Brokers;
use crate::bench::load::Run;
use crate::bench::meter::Meter;
use crate::bench::per_second;
use crate::bench::store::Scratch;
use crate::bench::stream::Relaying;

const LIMIT: Duration = Duration::from_mins(10);
/// How often what is left is looked at once all is published: the last marks are on their way.
const LOOK: Duration = Duration::from_millis(2);

/// What somebody else keeps open in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    /// Row versions stay.
    Snapshot,
    /// The low-water mark stays.
    Id,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "plain",
            Self::Snapshot => "under a pinned snapshot",
            Self::Id => "beside a stranger's open transaction",
        })
    }
}

/// Drains a copy of the backlog; events a second, from the relay's start to the last mark.
pub(super) async fn drain(brokers: &Brokers, backlog: &Backlog, held: Held) -> Result<Run> {
    let scratch = backlog.copy().await?;
    let outcome = drain_in(&scratch, brokers, backlog, held).await;
    scratch.drop().await?;
    outcome
}

async fn drain_in(scratch: &Scratch, brokers: &Brokers, backlog: &Backlog, held: Held) -> Result<Run> {
    let events = backlog.events;
    let stranger = hold(&scratch.db, held).await?;
    let (taken, mut published) = watch::channel(0);
    let producer = brokers.producer()?;
    warm(&producer, &backlog.topic).await?;
    let producer = Counting { inner: producer, taken };
    let outbox = Outbox::from(scratch.db.clone());
    let meter = Meter::start(scratch).await?;
    let began = Instant::now();
    let relaying = Relaying::start(&scratch.db, producer);
    let all = published.wait_for(|published| *published >= events);
    drop(timeout(LIMIT, all).await.context("the backlog does not leave: see the log (--log info)")??);
    // What is marked is told at the same cost however large the table is.
    while outbox.status().await?.oldest_waiting.is_some() {
        ensure!(began.elapsed() < LIMIT, "what is published is not marked: see the log (--log info)");
        sleep(LOOK).await;
    }
    let took = began.elapsed();
    let run = meter.stop(events, per_second(events, took)).await?;
    relaying.stop().await?;
    if let Some(stranger) = stranger {
        stranger.rollback().await?;
    }
    let left: i64 = sqlx::query_scalar("select count(*) from outbox where published_at is null")
        .fetch_one(scratch.db.pool())
        .await?;
    ensure!(left == 0, "{left} events are not marked");
    Ok(run)
}

/// One record of nobody's: a producer connects with the first that it sends, and the bare one has done so before it counts.
async fn warm(producer: &impl Producer, topic: &str) -> Result<()> {
    let record = Record { topic: topic.to_owned(), key: String::new(), headers: vec![], payload: Bytes::new() };
    producer.produce(vec![record]).await.into_iter().collect::<Result<(), Error>>()?;
    Ok(())
}

async fn hold(db: &Db, held: Held) -> Result<Option<Transaction<'static, Postgres>>> {
    let statements: &[&str] = match held {
        Held::Nothing => return Ok(None),
        Held::Snapshot => &["set transaction isolation level repeatable read", "select count(*) from outbox_lane"],
        Held::Id => &["select pg_current_xact_id()::text"],
    };
    let mut tx = db.begin().await?;
    for statement in statements {
        sqlx::query(*statement).execute(&mut *tx).await?;
    }
    Ok(Some(tx))
}

/// Tells how many records were taken.
#[derive(Debug)]
struct Counting<P> {
    inner: P,
    taken: watch::Sender<usize>,
}

#[async_trait]
impl<P: Producer> Producer for Counting<P> {
    async fn produce(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        let answers = self.inner.produce(records).await;
        let taken = answers.iter().filter(|answer| answer.is_ok()).count();
        self.taken.send_modify(|all| *all += taken);
        answers
    }
}
