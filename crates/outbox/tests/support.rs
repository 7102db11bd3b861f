//! What the tests share: an outbox, a log, producers that misbehave.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sqlx::{Postgres, Sqlite, Transaction};
use steadfast_bus::embedded::Log;
use steadfast_bus::{Consumer, Error, Producer, Record, Start, Topics, headers};
use steadfast_core::retry::Backoff;
use steadfast_core::{Clock, Event, EventId, NewEvent, Timestamp};
use steadfast_db::{Db, EventSink, migrate};
use steadfast_outbox::{Config, LINE, Outbox, Relay, Sink, Source, append_many};
use steadfast_testkit::{SystemClock, TestDb, TestPostgres, database, postgres, wait_for};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// An outbox in a database of its own, on either backend.
#[derive(Debug)]
pub(crate) enum Shop {
    Sqlite(TestDb),
    Postgres(TestPostgres),
}

/// A transaction of either backend.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Runs each case on both backends: the same suite for both stores.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case($crate::support::Shop::sqlite().await).await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case($crate::support::Shop::postgres().await).await;
                }
            )*
        }
    };
}
pub(crate) use on_both;

impl Shop {
    pub(crate) async fn sqlite() -> Self {
        Self::Sqlite(outbox().await)
    }

    pub(crate) async fn postgres() -> Self {
        let db = postgres().await;
        migrate(&*db, &LINE).await.expect("a new database is migrated");
        Self::Postgres(db)
    }

    /// A second one of the same kind.
    pub(crate) async fn another(&self) -> Self {
        match self {
            Self::Sqlite(_) => Self::sqlite().await,
            Self::Postgres(_) => Self::postgres().await,
        }
    }

    pub(crate) fn outbox(&self) -> Outbox {
        match self {
            Self::Sqlite(db) => Outbox::from((**db).clone()),
            Self::Postgres(db) => Outbox::from((**db).clone()),
        }
    }

    pub(crate) fn source(&self, name: &str) -> Source {
        Source::new(name, self.outbox())
    }

    /// Another process's view of it.
    pub(crate) async fn reopen(&self) -> Outbox {
        match self {
            Self::Sqlite(db) => Outbox::from(db.reopen().await),
            Self::Postgres(db) => Outbox::from(db.reopen().await),
        }
    }

    pub(crate) async fn begin(&self) -> Tx {
        match self {
            Self::Sqlite(db) => Tx::Sqlite(db.begin().await.expect("a transaction begins")),
            Self::Postgres(db) => Tx::Postgres(db.begin().await.expect("a transaction begins")),
        }
    }

    /// Appends in a transaction of its own.
    pub(crate) async fn commit(&self, events: &[NewEvent]) {
        let mut tx = self.begin().await;
        tx.append(events).await.expect("the events are appended");
        tx.commit().await;
    }

    /// Appends to an outbox in PostgreSQL, in a transaction of its own.
    pub(crate) async fn commit_to(db: &TestPostgres, events: &[NewEvent]) {
        let mut tx = db.begin().await.expect("a transaction begins");
        append_many(&mut tx, events, SystemClock.now()).await.expect("the events are appended");
        tx.commit().await.expect("the transaction commits");
    }

    /// Runs a statement in a transaction of its own.
    pub(crate) async fn execute(&self, sql: &'static str) {
        let mut tx = self.begin().await;
        tx.execute(sql).await;
        tx.commit().await;
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        match self {
            Self::Sqlite(db) => number(db, sql).await,
            Self::Postgres(db) => sqlx::query_scalar(sql).fetch_one(db.pool()).await.expect("a number"),
        }
    }

    pub(crate) async fn all_marked(&self) {
        wait_for("everything marked", LIMIT, || async { self.waiting().await == 0 }).await;
    }

    pub(crate) async fn waiting(&self) -> i64 {
        self.number("select count(*) from outbox where published_at is null").await
    }

    pub(crate) async fn assert_sound(&self) {
        assert_eq!(self.outbox().verify().await.expect("a check"), []);
    }
}

impl Tx {
    pub(crate) async fn append(&mut self, events: &[NewEvent]) -> Result<Vec<EventId>, steadfast_outbox::Error> {
        self.append_at(events, SystemClock.now()).await
    }

    pub(crate) async fn append_at(
        &mut self,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<Vec<EventId>, steadfast_outbox::Error> {
        match self {
            Self::Sqlite(tx) => append_many(tx, events, now).await,
            Self::Postgres(tx) => append_many(tx, events, now).await,
        }
    }

    /// Moves an aggregate of the table `thing` to its next version, which it answers with.
    pub(crate) async fn bump(&mut self, id: &str) -> i64 {
        const BUMP: &str = "insert into thing (id, version) values ($1, 1)
            on conflict (id) do update set version = thing.version + 1 returning version";
        match self {
            Self::Sqlite(tx) => sqlx::query_scalar(BUMP).bind(id).fetch_one(&mut **tx).await,
            Self::Postgres(tx) => sqlx::query_scalar(BUMP).bind(id).fetch_one(&mut **tx).await,
        }
        .expect("a version")
    }

    pub(crate) async fn sink(&mut self, sink: &Sink, events: &[NewEvent]) {
        match self {
            Self::Sqlite(tx) => EventSink::append_many(sink, tx, events, SystemClock.now()).await,
            Self::Postgres(tx) => EventSink::append_many(sink, tx, events, SystemClock.now()).await,
        }
        .expect("the sink takes the events");
    }

    pub(crate) async fn execute(&mut self, sql: &'static str) {
        match self {
            Self::Sqlite(tx) => drop(sqlx::query(sql).execute(&mut **tx).await.expect("a statement")),
            Self::Postgres(tx) => drop(sqlx::query(sql).execute(&mut **tx).await.expect("a statement")),
        }
    }

    pub(crate) async fn commit(self) {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
        .expect("the transaction commits");
    }

    pub(crate) async fn rollback(self) {
        match self {
            Self::Sqlite(tx) => tx.rollback().await,
            Self::Postgres(tx) => tx.rollback().await,
        }
        .expect("the transaction ends");
    }
}

/// A new outbox in SQLite.
pub(crate) async fn outbox() -> TestDb {
    let db = database().await;
    migrate(&*db, &LINE).await.expect("a new database is migrated");
    db
}

/// A new log; the database goes with it.
pub(crate) async fn log() -> (Log, TestDb) {
    let db = database().await;
    (Log::open(db.clone(), 8).await.expect("a new log opens"), db)
}

pub(crate) fn event(id: &str, sequence: i64) -> NewEvent {
    NewEvent::new("order", id, "order.changed.v1", json!({"n": sequence})).with_sequence(sequence)
}

/// Appends in a transaction of its own.
pub(crate) async fn commit(db: &Db, events: &[NewEvent]) {
    let mut tx = db.begin().await.expect("a transaction begins");
    append_many(&mut tx, events, SystemClock.now()).await.expect("the events are appended");
    tx.commit().await.expect("the transaction commits");
}

/// A relay that looks often and is patient about nothing.
pub(crate) fn config() -> Config {
    Config {
        batch: 10,
        refresh: Duration::from_millis(5),
        parked: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(2) },
        retry: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(5) },
        max_attempts: 3,
        ..Config::default()
    }
}

/// A relay that runs until stopped, or dropped.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(sources: Vec<Source>, producer: impl Producer + 'static, config: Config) -> Self {
        let stop = CancellationToken::new();
        let relay = Relay::new(sources, Arc::new(producer), Arc::new(SystemClock), config);
        Self { task: TaskTracker::new().spawn(relay.run(stop.clone())), stop }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.expect("the relay ends");
    }
}

impl Drop for Running {
    /// As a crash would: nothing more is marked.
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn number(db: &Db, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db.readers()).await.expect("a number")
}

pub(crate) async fn all_marked(db: &Db) {
    wait_for("everything marked", LIMIT, || async {
        number(db, "select count(*) from outbox where published_at is null").await == 0
    })
    .await;
}

/// All events in the log, in order of append.
pub(crate) async fn delivered(log: &Log) -> Vec<Event> {
    let mut consumer = log.consumer(Topics::All, Start::Beginning);
    let mut events = Vec::new();
    loop {
        let some = consumer.poll(1_000, Duration::ZERO).await.expect("a poll succeeds");
        if some.is_empty() {
            return events;
        }
        events.extend(some.iter().map(|d| headers::decode(&d.record).expect("an event")));
    }
}

/// The numbers of each aggregate's events, in order of append.
pub(crate) fn sequences(events: &[Event]) -> HashMap<String, Vec<i64>> {
    let mut of: HashMap<String, Vec<i64>> = HashMap::new();
    for event in events {
        of.entry(event.aggregate_id.clone()).or_default().push(event.sequence);
    }
    of
}

/// Whether each record is taken, decided by a test.
type Judge = Box<dyn Fn(&Record) -> Result<(), Error> + Send + Sync>;

/// A log before which a judge stands.
pub(crate) struct Judged {
    pub(crate) log: Log,
    pub(crate) judge: Judge,
    pub(crate) asked: Arc<AtomicU32>,
}

impl std::fmt::Debug for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Judged")
    }
}

impl Judged {
    pub(crate) fn new(log: &Log, judge: impl Fn(&Record) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self { log: log.clone(), judge: Box::new(judge), asked: Arc::default() }
    }
}

#[async_trait]
impl Producer for Judged {
    async fn produce(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = Vec::new();
        let mut taken = Vec::new();
        let mut is_away = false;
        for record in records {
            // A log that goes away in the midst of a call takes none of what follows.
            let answer = if is_away { Err(Error::Unavailable("away".into())) } else { (self.judge)(&record) };
            is_away |= matches!(answer, Err(Error::Unavailable(_)));
            if answer.is_ok() {
                taken.push(record);
            }
            answers.push(answer);
        }
        let mut appended = self.log.produce(taken).await.into_iter();
        answers.into_iter().map(|answer| answer.and_then(|()| appended.next().unwrap_or(Err(Error::Closed)))).collect()
    }
}

/// A log that takes records and, while closed, does not answer.
#[derive(Clone, Debug)]
pub(crate) struct Mute {
    pub(crate) log: Log,
    pub(crate) open: CancellationToken,
    pub(crate) taken: Arc<Mutex<usize>>,
}

impl Mute {
    pub(crate) fn new(log: &Log) -> Self {
        Self { log: log.clone(), open: CancellationToken::new(), taken: Arc::default() }
    }

    pub(crate) fn taken(&self) -> usize {
        *self.taken.lock().expect("the lock")
    }
}

#[async_trait]
impl Producer for Mute {
    async fn produce(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        let amount = records.len();
        let answers = self.log.produce(records).await;
        *self.taken.lock().expect("the lock") += amount;
        self.open.cancelled().await;
        answers
    }
}
