//! From Kafka into PostgreSQL: the group's workers come, go and are killed. Seconds, since a group takes them to agree.

use std::sync::Arc;
use std::time::Duration;

use steadfast_bus::kafka::{Config as Kafka, Member, NewTopics, Producer};
use steadfast_bus::{Producer as _, Start, Topics, headers};
use steadfast_core::Event;
use steadfast_db::postgres::Db;
use steadfast_projection::{Config, Runner};
use steadfast_testkit::{SystemClock, wait_for};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::{Ledger, Pg, Read, count, event, seen};

const ACCOUNTS: i64 = 12;
const EACH: i64 = 60;

fn kafka() -> Kafka {
    let brokers = std::env::var("STEADFAST_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:19092".to_owned());
    Kafka { topics: NewTopics::Create { partitions: 4, replication: 1 }, ..Kafka::new(brokers) }
}

struct Group {
    name: String,
    topics: Vec<String>,
    workers: JoinSet<()>,
    stop: CancellationToken,
}

impl Group {
    async fn add(&mut self, store: Db) -> AbortHandle {
        let named = Topics::Named(self.topics.clone());
        let member = Member::join(&kafka(), &self.name, named, Start::Beginning).unwrap();
        let config = Config {
            batch: 20,
            wait: Duration::from_millis(50),
            sweep: Duration::from_millis(200),
            ..Config::default()
        };
        let projection = Pg::projection(&Ledger::new());
        let runner = Runner::open(store, projection, Box::new(member), Arc::new(SystemClock), config).await.unwrap();
        self.workers.spawn(runner.run(self.stop.clone()))
    }
}

/// Every event of one number, over both topics, some of them twice.
async fn send(producer: &Producer, topics: &[String], numbers: impl Iterator<Item = i64>) {
    for n in numbers {
        let events = (0..ACCOUNTS).map(|a| event(&format!("a{a}"), n, serde_json::json!({"amount": n})));
        let mut records: Vec<_> = events.map(|event: Event| headers::encode(&event, "/test")).collect();
        for record in &mut records {
            // Topics are event types: here one of two, in turn.
            record.topic.clone_from(&topics[usize::try_from(n % 2).unwrap()]);
        }
        if n % 7 == 0 {
            records.extend(records.clone());
        }
        for answer in producer.produce(records).await {
            answer.expect("the broker takes it");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_come_go_and_die_apply_each_event_once_and_in_order() {
    let db = Pg::fresh().await;
    let mark = format!("{:x}-{:x}", std::process::id(), std::ptr::from_ref(&db).addr());
    let topics: Vec<String> = ["odd", "even"].map(|half| format!("projection-{half}-{mark}")).into();
    let producer = Producer::open(kafka()).unwrap();
    let mut group = Group {
        name: format!("projection-{mark}"),
        topics: topics.clone(),
        workers: JoinSet::new(),
        stop: CancellationToken::new(),
    };
    let applied = |goal: i64| {
        let db = &db;
        wait_for("events to be applied", Duration::from_mins(1), move || async move {
            count(db, "select count(*) from seen").await >= goal
        })
    };
    let parted = EACH / 3;
    send(&producer, &topics, 1..=parted).await;
    let first = group.add(db.reopen().await).await;
    applied(ACCOUNTS * parted / 2).await;
    // A second joins while the first is at work, and partitions move.
    group.add(db.reopen().await).await;
    send(&producer, &topics, parted + 1..=2 * parted).await;
    applied(ACCOUNTS * parted).await;
    // The first dies in the middle of whatever it does; a third takes its place.
    first.abort();
    group.add(db.reopen().await).await;
    send(&producer, &topics, 2 * parted + 1..=EACH).await;
    applied(ACCOUNTS * EACH).await;
    for account in 0..ACCOUNTS {
        assert_eq!(seen(&db, &format!("a{account}")).await, (1..=EACH).collect::<Vec<_>>());
    }
    // What was sent twice still has to be read to the end, and changes nothing.
    let total = (1..=EACH).map(|n| if n % 7 == 0 { 2 } else { 1 }).sum::<i64>() * ACCOUNTS;
    wait_for("all records to be read", Duration::from_secs(30), || async {
        count(&db, "select sum(position) from checkpoint").await == total
    })
    .await;
    group.stop.cancel();
    while group.workers.join_next().await.is_some() {}
    assert_eq!(count(&db, "select count(*) from seen").await, ACCOUNTS * EACH);
    assert_eq!(count(&db, "select count(*) from parked_event").await, 0);
    assert_eq!(count(&db, "select sum(total) from ledger").await, ACCOUNTS * EACH * (EACH + 1) / 2);
}
