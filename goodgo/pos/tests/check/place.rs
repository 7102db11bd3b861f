//! Where a small platform keeps things: in SQLite with the embedded log, or in PostgreSQL with Kafka. The tests' SQL is the
//! same for both, but for a few words.

#[cfg(feature = "kafka")]
use std::sync::Arc;

#[cfg(feature = "kafka")]
use goodgo_pos::check::topics;
use goodgo_pos::check::{EventLog, Store};
#[cfg(feature = "kafka")]
use steadfast::bus::kafka;
use steadfast::bus::{Producer, Record, embedded};
use steadfast::core::{EventId, NewEvent, Timestamp};
#[cfg(feature = "kafka")]
use steadfast::db::postgres;
use steadfast::db::{Db, Line, migrate};
use steadfast::outbox;
#[cfg(feature = "kafka")]
use steadfast_testkit::TestPostgres;
use steadfast_testkit::{TestDb, database};

/// Which kind of servers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Embedded,
    #[cfg(feature = "kafka")]
    Servers,
}

/// What the databases of a test are made in: with PostgreSQL each is a schema of one database, since to make one takes the
/// server a tenth of a second, one after the other.
#[derive(Clone)]
pub(super) enum Ground {
    Embedded,
    #[cfg(feature = "kafka")]
    Servers(Arc<TestPostgres>),
}

impl Ground {
    #[cfg_attr(not(feature = "kafka"), expect(clippy::unused_async, reason = "a file needs no ground"))]
    pub(super) async fn new(kind: Kind) -> Self {
        match kind {
            Kind::Embedded => Self::Embedded,
            #[cfg(feature = "kafka")]
            Kind::Servers => Self::Servers(Arc::new(steadfast_testkit::postgres().await)),
        }
    }
}

/// A database of a test's own.
pub(super) enum Place {
    Sqlite(TestDb),
    #[cfg(feature = "kafka")]
    Postgres {
        db: postgres::Db,
        _of: Arc<TestPostgres>,
    },
}

impl Place {
    #[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "a file needs no name"))]
    pub(super) async fn new(ground: &Ground, name: &str, lines: &[&Line]) -> Self {
        match ground {
            Ground::Embedded => {
                let db = database().await;
                for line in lines {
                    migrate(&*db, line).await.unwrap();
                }
                Self::Sqlite(db)
            }
            #[cfg(feature = "kafka")]
            Ground::Servers(of) => {
                let schema = format!("create schema {name}");
                sqlx::raw_sql(sqlx::AssertSqlSafe(schema)).execute(of.pool()).await.unwrap();
                let url = format!("{}?options[search_path]={name}", of.url());
                let options = postgres::Options { connections: 2, ..postgres::Options::default() };
                let db = postgres::Db::open(&url.into(), options).await.unwrap();
                for line in lines {
                    migrate(&db, line).await.unwrap();
                }
                Self::Postgres { db, _of: Arc::clone(of) }
            }
        }
    }

    pub(super) fn store(&self) -> Store {
        match self {
            Self::Sqlite(db) => Store::from(&**db),
            #[cfg(feature = "kafka")]
            Self::Postgres { db, .. } => Store::from(db),
        }
    }

    /// Runs statements in one transaction. `uuid(7)`, `bytes(7)` and `now()` are written as this database writes them.
    pub(super) async fn run(&self, sql: &str) {
        match self {
            Self::Sqlite(db) => {
                let sql = with(sql, |id| format!("unhex('{id}')"), |id| format!("unhex('{id}')"), "1");
                let mut tx = db.begin().await.unwrap();
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap();
                tx.commit().await.unwrap();
            }
            #[cfg(feature = "kafka")]
            Self::Postgres { db, .. } => {
                let sql = with(sql, |id| format!("'{id}'"), |id| format!("'\\x{id}'"), "clock_timestamp()");
                let mut tx = db.begin().await.unwrap();
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap();
                tx.commit().await.unwrap();
            }
        }
    }

    /// As [`run`](Self::run), where the tables differ.
    pub(super) async fn run_either(&self, sqlite: &str, postgres: &str) {
        let is_sqlite = matches!(self, Self::Sqlite(_));
        self.run(if is_sqlite { sqlite } else { postgres }).await;
    }

    pub(super) async fn append(&self, event: &NewEvent) -> EventId {
        match self {
            Self::Sqlite(db) => {
                let mut tx = db.begin().await.unwrap();
                let id = outbox::append(&mut tx, event, Timestamp::from_millis(0)).await.unwrap();
                tx.commit().await.unwrap();
                id
            }
            #[cfg(feature = "kafka")]
            Self::Postgres { db, .. } => {
                let mut tx = db.begin().await.unwrap();
                let id = outbox::append(&mut tx, event, Timestamp::from_millis(0)).await.unwrap();
                tx.commit().await.unwrap();
                id
            }
        }
    }
}

fn with(sql: &str, uuid: impl Fn(&str) -> String, bytes: impl Fn(&str) -> String, now: &str) -> String {
    fn replaced(sql: &str, call: &str, text: impl Fn(&str) -> String) -> String {
        let mut parts = sql.split(call);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (digits, rest) = part.split_once(')').expect("a call is closed");
            out += &text(&format!("{digits:0>32}"));
            out += rest;
        }
        out
    }
    replaced(&replaced(sql, "uuid(", uuid), "bytes(", bytes).replace("now()", now)
}

/// The event log of a test's own.
pub(super) enum Log {
    Embedded(TestDb),
    #[cfg(feature = "kafka")]
    Kafka {
        config: kafka::Config,
        /// Of the test's own: what is appended to the names of the contract's topics.
        suffix: String,
    },
}

impl Log {
    pub(super) async fn new(kind: Kind) -> Self {
        match kind {
            Kind::Embedded => Self::Embedded(database().await),
            #[cfg(feature = "kafka")]
            Kind::Servers => {
                let broker = std::env::var("STEADFAST_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:19092".to_owned());
                let made = kafka::NewTopics::Create { partitions: 3, replication: 1 };
                let config = kafka::Config { topics: made, ..kafka::Config::new(broker) };
                Self::Kafka { config, suffix: format!("-{:016x}", fastrand::u64(..)) }
            }
        }
    }

    /// The topic that stands for this one.
    pub(super) fn topic(&self, name: &str) -> String {
        match self {
            Self::Embedded(_) => name.to_owned(),
            #[cfg(feature = "kafka")]
            Self::Kafka { suffix, .. } => format!("{name}{suffix}"),
        }
    }

    /// As a position's owner names the partitions of these topics.
    #[cfg_attr(
        not(feature = "kafka"),
        expect(unused_variables, reason = "an embedded log has no topics of partitions")
    )]
    pub(super) fn topics_of_partitions(&self, names: &[&str]) -> Vec<String> {
        match self {
            Self::Embedded(_) => vec![String::new()],
            #[cfg(feature = "kafka")]
            Self::Kafka { .. } => names.iter().map(|name| self.topic(name)).collect(),
        }
    }

    pub(super) fn checked(&self) -> EventLog {
        match self {
            Self::Embedded(db) => EventLog::Sqlite(Db::clone(db)),
            #[cfg(feature = "kafka")]
            Self::Kafka { config, suffix } => EventLog::Kafka {
                config: config.clone(),
                topics: topics().iter().map(|name| format!("{name}{suffix}")).collect(),
            },
        }
    }

    pub(super) async fn produce(&self, records: Vec<Record>) {
        let answers = match self {
            Self::Embedded(db) => embedded::Log::open(Db::clone(db), 4).await.unwrap().produce(records).await,
            #[cfg(feature = "kafka")]
            Self::Kafka { config, .. } => kafka::Producer::open(config.clone()).unwrap().produce(records).await,
        };
        for answer in answers {
            answer.unwrap();
        }
    }
}
