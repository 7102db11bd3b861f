//! Several workers of one projection, each with partitions of its own, over one aggregate's events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use steadfast_bus::{Change, Consumer, Delivered, Error, Partition, headers};
use steadfast_core::Event;
use steadfast_projection::{Config, Runner};
use steadfast_testkit::wait_for;
use tokio_util::sync::CancellationToken;

use crate::support::{Ledger, Read, both, change, clock, config, count, seen};

both!(consecutive_events_of_one_aggregate_in_two_workers_are_applied_in_order);

/// One partition of a topic, with all its records there from the start.
struct Given {
    partition: Partition,
    records: Vec<Delivered>,
    next: usize,
    told: bool,
    polls: Arc<AtomicU64>,
}

fn given(topic: &str, events: &[Event], polls: &Arc<AtomicU64>) -> Box<dyn Consumer> {
    let partition = Partition::of_topic(topic, 0);
    let deliver = |(offset, event): (i64, &Event)| Delivered {
        topic: topic.to_owned(),
        partition: partition.clone(),
        offset,
        record: headers::encode(event, "/test"),
    };
    let records = (0..).zip(events).map(deliver).collect();
    Box::new(Given { records, next: 0, told: false, polls: Arc::clone(polls), partition })
}

#[async_trait]
impl Consumer for Given {
    async fn poll(&mut self, max: usize, _: Duration) -> Result<Vec<Delivered>, Error> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let end = (self.next + max).min(self.records.len());
        let some = self.records[self.next..end].to_vec();
        self.next = end;
        if some.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(some)
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        assert_eq!(*partition, self.partition);
        self.next = usize::try_from(offset).unwrap();
        Ok(())
    }

    fn changes(&mut self) -> Vec<Change> {
        if std::mem::replace(&mut self.told, true) { vec![] } else { vec![Change::Assigned(self.partition.clone())] }
    }
}

/// Odd numbers come by one topic and even ones by another, so that each of two workers always lacks what the other holds.
/// Without the lock on the aggregates' rows one of them parks an event after the other has looked, and it waits for ever:
/// nothing else comes for its aggregate, and the sweep looks only at gaps older than a minute.
async fn consecutive_events_of_one_aggregate_in_two_workers_are_applied_in_order<R: Read>() {
    const LAST: i64 = 40;
    let db = R::fresh().await;
    let accounts: Vec<String> = (0..8).map(|n| format!("a{n}")).collect();
    let of = |rest: i64| -> Vec<Event> {
        let numbers = (1..=LAST).filter(|n| n % 2 == rest);
        numbers.flat_map(|n| accounts.iter().map(move |account| change(account, n))).collect()
    };
    let polls = Arc::new(AtomicU64::new(0));
    let stop = CancellationToken::new();
    let mut runners = tokio::task::JoinSet::new();
    for (topic, rest) in [("odd", 1), ("even", 0)] {
        let (store, config) = (db.reopen().await, Config { batch: 5, ..config() });
        let projection = R::projection(&Ledger::new());
        let consumer = given(topic, &of(rest), &polls);
        let runner = Runner::open(store, projection, consumer, Arc::new(clock()), config).await.unwrap();
        runners.spawn(runner.run(stop.clone()));
    }
    let all = LAST * 8;
    wait_for("all events to be applied", Duration::from_secs(30), || async {
        count(&db, "select count(*) from seen").await == all
    })
    .await;
    stop.cancel();
    runners.join_all().await;
    for account in &accounts {
        assert_eq!(seen(&db, account).await, (1..=LAST).collect::<Vec<_>>());
    }
    assert_eq!(count(&db, "select count(*) from parked_event").await, 0);
    let positions: BTreeMap<_, _> = [("odd", 160), ("even", 160)].into();
    for (topic, position) in positions {
        assert_eq!(count(&db, &format!("select position from checkpoint where topic = '{topic}'")).await, position);
    }
}
