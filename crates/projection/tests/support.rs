//! A log in memory, and a projection that notices whatever goes wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use steadfast_bus::{Consumer, Delivered, Error, Record, headers, partition_of};
use steadfast_core::{Event, EventId, SagaId, Timestamp};
use steadfast_db::Db;
use steadfast_projection::{BoxError, Config, Projection, Runner, Subscription, Tally, Turn, Tx, Upcasters};
use steadfast_testkit::SeededClock;

pub(crate) const PARTITIONS: u32 = 4;
pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(crate) fn clock() -> SeededClock {
    SeededClock::new(START)
}

pub(crate) fn event(aggregate: &str, sequence: i64, payload: Value) -> Event {
    typed(aggregate, sequence, "account.changed.v1", payload)
}

pub(crate) fn typed(aggregate: &str, sequence: i64, event_type: &str, payload: Value) -> Event {
    let saga = SagaId::derive("test", aggregate, &sequence.to_string());
    Event {
        event_id: EventId::from_slice(saga.as_bytes()).unwrap(),
        aggregate_type: event_type.split('.').next().unwrap().to_owned(),
        aggregate_id: aggregate.to_owned(),
        event_type: event_type.to_owned(),
        sequence,
        payload,
        created_at: START,
        saga: None,
        traceparent: None,
    }
}

pub(crate) fn change(aggregate: &str, sequence: i64) -> Event {
    event(aggregate, sequence, json!({"amount": sequence * 10}))
}

/// A log in memory; clones are the same log.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryLog(Arc<Mutex<Vec<Delivered>>>);

impl MemoryLog {
    pub(crate) fn append(&self, event: &Event) {
        self.append_record(headers::encode(event, "/test"));
    }

    pub(crate) fn append_all<'a>(&self, events: impl IntoIterator<Item = &'a Event>) {
        for event in events {
            self.append(event);
        }
    }

    pub(crate) fn append_record(&self, record: Record) {
        let mut log = self.0.lock().unwrap();
        let offset = i64::try_from(log.len()).unwrap() + 1;
        let partition = partition_of(&record.key, PARTITIONS);
        log.push(Delivered { topic: record.topic.clone(), partition, offset, record });
    }

    pub(crate) fn consumer(&self) -> Box<dyn Consumer> {
        Box::new(MemoryConsumer { log: self.clone(), next: BTreeMap::new() })
    }
}

struct MemoryConsumer {
    log: MemoryLog,
    next: BTreeMap<u32, i64>,
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, Error> {
        let found: Vec<Delivered> = {
            let log = self.log.0.lock().unwrap();
            let from = (0..PARTITIONS).map(|one| self.next.get(&one).copied().unwrap_or(1)).min().unwrap_or(1);
            let wanted = |one: &&Delivered| one.offset >= self.next.get(&one.partition).copied().unwrap_or(1);
            log.iter().skip(usize::try_from(from - 1).unwrap()).filter(wanted).take(max).cloned().collect()
        };
        if found.is_empty() {
            tokio::time::sleep(wait).await;
        }
        for one in &found {
            self.next.insert(one.partition, one.offset + 1);
        }
        Ok(found)
    }

    async fn seek(&mut self, partition: u32, offset: i64) -> Result<(), Error> {
        self.next.insert(partition, offset);
        Ok(())
    }
}

/// Sums amounts per account, and keeps each event it was given under a key that is unique.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) repaired: AtomicBool,
    pub(crate) locked: AtomicBool,
}

impl Ledger {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }
}

pub(crate) async fn ledger_tables(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    for sql in [
        "create table ledger (account text primary key, total integer not null, sequence integer not null)",
        "create table seen (id integer primary key, account text, sequence integer, type text, unique (account, sequence))",
    ] {
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[async_trait]
impl Projection for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn subscribes(&self) -> Subscription {
        Subscription::aggregates(["account"]).types(["account.changed.v1", "account.changed.v3"])
    }

    fn upcasters(&self) -> Upcasters {
        let pence = |mut payload: Value| -> Result<Value, BoxError> {
            payload["amount"] = json!(payload["pounds"].as_i64().ok_or("pounds is not a number")? * 100);
            Ok(payload)
        };
        Upcasters::default().step("account.changed.v0", "account.changed.v2", Ok).step(
            "account.changed.v2",
            "account.changed.v3",
            pence,
        )
    }

    async fn apply(&self, tx: &mut Tx, events: &[Event]) -> Result<(), BoxError> {
        let mut totals: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        let mut seen = Vec::new();
        if self.locked.load(Ordering::SeqCst) {
            return Err(Box::new(steadfast_db::Error::from(sqlx::Error::PoolTimedOut)));
        }
        for event in events {
            let total = totals.entry(&event.aggregate_id).or_default();
            total.0 += event.payload["amount"].as_i64().ok_or("there is no amount")?;
            total.1 = event.sequence;
            seen.push((&event.aggregate_id, event.sequence, &event.event_type));
        }
        let rows: Vec<_> = totals.iter().map(|(account, (total, sequence))| (account, total, sequence)).collect();
        sqlx::query(
            "insert into ledger select value ->> 0, value ->> 1, value ->> 2 from json_each(?1) where true
             on conflict (account) do update set total = total + excluded.total, sequence = excluded.sequence",
        )
        .bind(json!(rows).to_string())
        .execute(&mut **tx)
        .await?;
        sqlx::query(
            "insert into seen (account, sequence, type) select value ->> 0, value ->> 1, value ->> 2 from json_each(?1)",
        )
        .bind(json!(seen).to_string())
        .execute(&mut **tx)
        .await?;
        // After the writes, so that a savepoint must take them back.
        let bad = events.iter().any(|event| event.payload.get("poison").is_some());
        if bad && !self.repaired.load(Ordering::SeqCst) { Err("it is poison".into()) } else { Ok(()) }
    }
}

/// Account, total, last sequence.
pub(crate) async fn ledger(db: &Db) -> Vec<(String, i64, i64)> {
    let sql = "select account, total, sequence from ledger order by account";
    sqlx::query_as(sql).fetch_all(db.readers()).await.unwrap()
}

/// The numbers of an account's events in the order in which they were applied.
pub(crate) async fn seen(db: &Db, account: &str) -> Vec<i64> {
    let sql = "select sequence from seen where account = ?1 order by id";
    sqlx::query_scalar(sql).bind(account).fetch_all(db.readers()).await.unwrap()
}

pub(crate) async fn count(db: &Db, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db.readers()).await.unwrap()
}

pub(crate) fn config() -> Config {
    Config { wait: Duration::from_millis(1), sweep: Duration::ZERO, ..Config::default() }
}

pub(crate) async fn runner(db: &Db, ledger: &Arc<Ledger>, log: &MemoryLog, config: Config) -> Runner {
    let ledger = Arc::clone(ledger) as Arc<dyn Projection>;
    Runner::open(db.clone(), ledger, log.consumer(), Arc::new(clock()), config).await.unwrap()
}

/// Runs until nothing is left, through events that fail.
pub(crate) async fn drain(runner: &mut Runner) -> Tally {
    let mut sum = Tally::default();
    for _ in 0..10_000 {
        match runner.turn().await {
            Ok(Turn::Idle) => return sum,
            Ok(Turn::Committed(tally)) => {
                sum.applied += tally.applied;
                sum.duplicate += tally.duplicate;
                sum.parked += tally.parked;
                sum.unknown += tally.unknown;
                sum.poison += tally.poison;
                sum.skipped += tally.skipped;
            }
            Err(steadfast_projection::Error::Apply { .. } | steadfast_projection::Error::Fenced { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the runner does not come to an end");
}
