//! A log in memory, and a projection that notices whatever goes wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Postgres, Sqlite, Transaction};
use steadfast_bus::{Change, Consumer, Delivered, Error, Partition, Record, headers, partition_of};
use steadfast_core::{Event, EventId, SagaId, Timestamp};
use steadfast_db::{Db, postgres};
use steadfast_projection::{BoxError, Config, Projection, Runner, Store, Subscription, Tally, Turn, Upcasters};
use steadfast_testkit::{SeededClock, TestDb, TestPostgres};

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
        let partition = Partition::of_log(partition_of(&record.key, PARTITIONS));
        log.push(Delivered { topic: record.topic.clone(), partition, offset, record });
    }

    pub(crate) fn consumer(&self) -> Box<dyn Consumer> {
        let changes = (0..PARTITIONS).map(|number| Change::Assigned(Partition::of_log(number))).collect();
        Box::new(MemoryConsumer { log: self.clone(), next: BTreeMap::new(), changes })
    }
}

struct MemoryConsumer {
    log: MemoryLog,
    next: BTreeMap<Partition, i64>,
    changes: Vec<Change>,
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, Error> {
        let found: Vec<Delivered> = {
            let log = self.log.0.lock().unwrap();
            let from = (0..PARTITIONS)
                .map(|one| self.next.get(&Partition::of_log(one)).copied().unwrap_or(1))
                .min()
                .unwrap_or(1);
            let wanted = |one: &&Delivered| one.offset >= self.next.get(&one.partition).copied().unwrap_or(1);
            log.iter().skip(usize::try_from(from - 1).unwrap()).filter(wanted).take(max).cloned().collect()
        };
        if found.is_empty() {
            tokio::time::sleep(wait).await;
        }
        for one in &found {
            self.next.insert(one.partition.clone(), one.offset + 1);
        }
        Ok(found)
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        self.next.insert(partition.clone(), offset);
        Ok(())
    }

    fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
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

/// What a batch does to the ledger: total and last sequence by account, and each event.
struct Changes<'a> {
    totals: BTreeMap<&'a str, (i64, i64)>,
    seen: Vec<(&'a str, i64, &'a str)>,
}

impl Ledger {
    fn fold<'a>(&self, events: &'a [Event]) -> Result<Changes<'a>, BoxError> {
        if self.locked.load(Ordering::SeqCst) {
            return Err(Box::new(steadfast_db::Error::from(sqlx::Error::PoolTimedOut)));
        }
        let mut changes = Changes { totals: BTreeMap::new(), seen: Vec::new() };
        for event in events {
            let total = changes.totals.entry(&event.aggregate_id).or_default();
            total.0 += event.payload["amount"].as_i64().ok_or("there is no amount")?;
            total.1 = event.sequence;
            changes.seen.push((&event.aggregate_id, event.sequence, &event.event_type));
        }
        Ok(changes)
    }

    /// After the writes, so that a savepoint must take them back.
    fn end(&self, events: &[Event]) -> Result<(), BoxError> {
        let bad = events.iter().any(|event| event.payload.get("poison").is_some());
        if bad && !self.repaired.load(Ordering::SeqCst) { Err("it is poison".into()) } else { Ok(()) }
    }

    fn wants() -> Subscription {
        Subscription::aggregates(["account"]).types(["account.changed.v1", "account.changed.v3"])
    }

    fn lifts() -> Upcasters {
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
}

#[async_trait]
impl Projection for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn subscribes(&self) -> Subscription {
        Self::wants()
    }

    fn upcasters(&self) -> Upcasters {
        Self::lifts()
    }

    async fn apply(&self, tx: &mut Transaction<'static, Sqlite>, events: &[Event]) -> Result<(), BoxError> {
        let Changes { totals, seen } = self.fold(events)?;
        let rows: Vec<_> = totals.iter().map(|(account, (total, sequence))| (account, total, sequence)).collect();
        sqlx::query(
            "insert into ledger select value ->> 0, value ->> 1, value ->> 2 from json_each(?1) where true
             on conflict (account) do update set total = ledger.total + excluded.total, sequence = excluded.sequence",
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
        self.end(events)
    }
}

#[async_trait]
impl Projection<Postgres> for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn subscribes(&self) -> Subscription {
        Self::wants()
    }

    fn upcasters(&self) -> Upcasters {
        Self::lifts()
    }

    async fn apply(&self, tx: &mut Transaction<'static, Postgres>, events: &[Event]) -> Result<(), BoxError> {
        let Changes { totals, seen } = self.fold(events)?;
        let accounts: Vec<&str> = totals.keys().copied().collect();
        let (sums, lasts): (Vec<i64>, Vec<i64>) = totals.into_values().unzip();
        sqlx::query(
            "insert into ledger select * from unnest($1::text[], $2::bigint[], $3::bigint[])
             on conflict (account) do update set total = ledger.total + excluded.total, sequence = excluded.sequence",
        )
        .bind(accounts)
        .bind(sums)
        .bind(lasts)
        .execute(&mut **tx)
        .await?;
        let (accounts, types): (Vec<&str>, Vec<&str>) = seen.iter().map(|(account, _, kind)| (*account, *kind)).unzip();
        let numbers: Vec<i64> = seen.iter().map(|(_, number, _)| *number).collect();
        sqlx::query(
            "insert into seen (account, sequence, type) select * from unnest($1::text[], $2::bigint[], $3::text[])",
        )
        .bind(accounts)
        .bind(numbers)
        .bind(types)
        .execute(&mut **tx)
        .await?;
        self.end(events)
    }
}

/// A read database with the ledger's tables.
#[async_trait]
pub(crate) trait Read: Sized + Send + Sync {
    type Store: Store;

    async fn fresh() -> Self;

    fn store(&self) -> &Self::Store;

    /// Another process's handle.
    async fn reopen(&self) -> Self::Store;

    async fn execute(&self, sql: &str);

    /// As new, except for what a store prepares at its opening.
    async fn clear(&self) {
        for table in ["ledger", "seen", "checkpoint", "aggregate_sequence", "parked_event", "skipped_event"] {
            self.execute(&format!("delete from {table}")).await;
        }
    }

    async fn integers(&self, sql: &str) -> Vec<i64>;

    async fn ledger(&self) -> Vec<(String, i64, i64)>;

    fn projection(ledger: &Arc<Ledger>) -> Arc<dyn Projection<<Self::Store as Store>::Sql>>;
}

pub(crate) type Stored<R> = <R as Read>::Store;

const LEDGER: &str = "select account, total, sequence from ledger order by account";

pub(crate) struct Lite(pub(crate) TestDb);

#[async_trait]
impl Read for Lite {
    type Store = Db;

    async fn fresh() -> Self {
        let db = Self(steadfast_testkit::database().await);
        for sql in [
            "create table ledger (account text primary key, total integer not null, sequence integer not null)",
            "create table seen (id integer primary key, account text, sequence integer, type text, \
             unique (account, sequence))",
        ] {
            db.execute(sql).await;
        }
        db
    }

    fn store(&self) -> &Db {
        &self.0
    }

    async fn reopen(&self) -> Db {
        self.0.reopen().await
    }

    async fn execute(&self, sql: &str) {
        let mut tx = self.0.begin().await.unwrap();
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn integers(&self, sql: &str) -> Vec<i64> {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(self.0.readers()).await.unwrap()
    }

    async fn ledger(&self) -> Vec<(String, i64, i64)> {
        sqlx::query_as(LEDGER).fetch_all(self.0.readers()).await.unwrap()
    }

    fn projection(ledger: &Arc<Ledger>) -> Arc<dyn Projection> {
        Arc::clone(ledger) as Arc<dyn Projection>
    }
}

pub(crate) struct Pg(pub(crate) TestPostgres);

#[async_trait]
impl Read for Pg {
    type Store = postgres::Db;

    async fn fresh() -> Self {
        let db = Self(steadfast_testkit::postgres().await);
        db.execute("create table ledger (account text primary key, total bigint not null, sequence bigint not null)")
            .await;
        db.execute(
            "create table seen (id bigint primary key generated always as identity, account text, sequence bigint,
             type text, unique (account, sequence))",
        )
        .await;
        db
    }

    fn store(&self) -> &postgres::Db {
        &self.0
    }

    async fn reopen(&self) -> postgres::Db {
        self.0.reopen().await
    }

    async fn execute(&self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql)).execute(self.0.pool()).await.unwrap();
    }

    async fn integers(&self, sql: &str) -> Vec<i64> {
        let sql = format!("select int8(x) from ({sql}) as t (x)");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(self.0.pool()).await.unwrap()
    }

    async fn ledger(&self) -> Vec<(String, i64, i64)> {
        sqlx::query_as(LEDGER).fetch_all(self.0.pool()).await.unwrap()
    }

    fn projection(ledger: &Arc<Ledger>) -> Arc<dyn Projection<Postgres>> {
        Arc::clone(ledger) as Arc<dyn Projection<Postgres>>
    }
}

/// Runs each of these tests on both stores.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name::<crate::support::Lite>().await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name::<crate::support::Pg>().await; })*
        }
    };
}
pub(crate) use both;

/// The numbers of an account's events in the order in which they were applied.
pub(crate) async fn seen<R: Read>(db: &R, account: &str) -> Vec<i64> {
    db.integers(&format!("select sequence from seen where account = '{account}' order by id")).await
}

pub(crate) async fn count<R: Read>(db: &R, sql: &str) -> i64 {
    db.integers(sql).await[0]
}

pub(crate) fn config() -> Config {
    Config { wait: Duration::from_millis(1), sweep: Duration::ZERO, ..Config::default() }
}

pub(crate) async fn runner<R: Read>(
    store: &R::Store,
    ledger: &Arc<Ledger>,
    log: &MemoryLog,
    config: Config,
) -> Runner<R::Store> {
    let open = Runner::open(store.clone(), R::projection(ledger), log.consumer(), Arc::new(clock()), config);
    open.await.unwrap()
}

/// Runs until nothing is left, through events that fail.
pub(crate) async fn drain<S: Store>(runner: &mut Runner<S>) -> Tally {
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
