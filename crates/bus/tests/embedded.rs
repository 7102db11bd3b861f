//! The embedded log.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use steadfast_bus::embedded::Log;
use steadfast_bus::{
    Change, Consumer, Delivered, Error, Partition, Producer, Record, Start, Topics, conformance, partition_of,
};
use steadfast_core::{Classified, ErrorKind};
use steadfast_testkit::database;

const WAIT: Duration = Duration::from_secs(10);

fn record(topic: &str, key: &str) -> Record {
    Record { topic: topic.to_owned(), key: key.to_owned(), headers: vec![], payload: Bytes::from_static(b"{}") }
}

async fn fill(log: &Log, amount: usize) {
    let records = (0..amount).map(|n| record("t", &format!("k{n}"))).collect();
    assert!(log.produce(records).await.iter().all(Result::is_ok));
}

async fn drain(consumer: &mut impl Consumer) -> Vec<Delivered> {
    let mut all = Vec::new();
    loop {
        let some = consumer.poll(100, Duration::ZERO).await.expect("a poll succeeds");
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

#[tokio::test]
async fn the_embedded_log_keeps_every_promise_of_a_log() {
    let db = database().await;
    let log = Log::open(db.clone(), 8).await.unwrap();
    conformance::all("c", &log, |topics| log.consumer(topics, Start::Beginning)).await;
}

#[tokio::test]
async fn records_stand_in_the_partition_of_their_key_and_all_partitions_in_order_of_append() {
    let db = database().await;
    let log = Log::open(db.clone(), 8).await.unwrap();
    // 347 = 256 + 64 + 16 + 2 * 4 + 3: every size of statement.
    fill(&log, 347).await;
    let all = drain(&mut log.consumer(Topics::All, Start::Beginning)).await;
    assert_eq!(all.iter().map(|d| d.offset).collect::<Vec<_>>(), (1..=347).collect::<Vec<_>>());
    for (n, delivered) in all.iter().enumerate() {
        assert_eq!(delivered.record.key, format!("k{n}"));
        assert_eq!(delivered.partition, Partition::of_log(partition_of(&delivered.record.key, 8)));
    }
    let mut some = log.consumer_of(&[1, 6], Topics::All, Start::Beginning).unwrap();
    let expected: Vec<_> = all.iter().filter(|d| [1, 6].contains(&d.partition.number)).cloned().collect();
    assert!(!expected.is_empty());
    assert_eq!(some.changes(), [1, 6].map(|number| Change::Assigned(Partition::of_log(number))));
    assert_eq!(drain(&mut some).await, expected);
    assert_eq!(some.changes(), []);
    assert_eq!(some.positions(), [(1, 348), (6, 348)]);
    assert!(matches!(
        log.consumer_of(&[8], Topics::All, Start::End),
        Err(Error::UnknownPartition { partition, .. }) if partition == Partition::of_log(8)
    ));
    for foreign in [Partition::of_log(0), Partition::of_topic("t", 1)] {
        let refused = some.seek(&foreign, 1).await;
        assert!(matches!(refused, Err(Error::UnknownPartition { partition, .. }) if partition == foreign));
    }
}

#[tokio::test]
async fn each_partition_continues_from_its_own_position() {
    let db = database().await;
    let log = Log::open(db.clone(), 4).await.unwrap();
    fill(&log, 200).await;
    let all = drain(&mut log.consumer(Topics::All, Start::Beginning)).await;
    let mut consumer = log.consumer(Topics::All, Start::End);
    assert_eq!(consumer.poll(10, Duration::ZERO).await.unwrap(), []);
    for (partition, offset) in [(0, 150), (1, 20), (2, 201), (3, 1)] {
        consumer.seek(&Partition::of_log(partition), offset).await.unwrap();
    }
    let expected: Vec<_> = all
        .into_iter()
        .filter(|d| d.offset >= [150, 20, 201, 1][usize::try_from(d.partition.number).unwrap()])
        .collect();
    assert_eq!(drain(&mut consumer).await, expected);
}

#[tokio::test]
async fn concurrent_producers_lose_nothing() {
    let db = database().await;
    let log = Log::open(db.clone(), 8).await.unwrap();
    let mut producers = tokio::task::JoinSet::new();
    for producer in 0..64 {
        let log = log.clone();
        producers.spawn(async move {
            for n in 0..10 {
                assert!(log.produce(vec![record("t", &format!("{producer}-{n}"))]).await[0].is_ok());
            }
        });
    }
    producers.join_all().await;
    let keys: BTreeSet<_> =
        drain(&mut log.consumer(Topics::All, Start::Beginning)).await.into_iter().map(|d| d.record.key).collect();
    assert_eq!(keys.len(), 640);
}

#[tokio::test]
async fn an_append_wakes_a_waiting_consumer() {
    let db = database().await;
    let log = Log::open(db.clone(), 8).await.unwrap();
    let mut consumer = log.consumer(Topics::All, Start::End);
    let (got, ()) = tokio::join!(consumer.poll(10, WAIT), async {
        tokio::task::yield_now().await;
        fill(&log, 1).await;
    });
    assert_eq!(got.unwrap().len(), 1);
}

#[tokio::test]
async fn an_append_of_another_process_is_found() {
    let db = database().await;
    let log = Log::open(db.clone(), 8).await.unwrap();
    let other = Log::open(db.reopen().await, 8).await.unwrap();
    let mut consumer = log.consumer(Topics::All, Start::Beginning);
    let (got, ()) = tokio::join!(consumer.poll(10, WAIT), fill(&other, 3));
    assert_eq!(got.unwrap().len(), 3);
    fill(&log, 1).await;
    assert_eq!(consumer.poll(10, WAIT).await.unwrap()[0].offset, 4);
}

#[tokio::test]
async fn a_log_survives_its_process_and_its_partitions_are_fixed() {
    let db = database().await;
    let log = Log::open(db.clone(), 8).await.unwrap();
    fill(&log, 5).await;
    log.commit("audit", &[(0, 3), (7, 5)]).await.unwrap();
    log.commit("audit", &[(0, 2), (7, 6)]).await.unwrap();
    drop(log);
    let again = Log::open(db.reopen().await, 8).await.unwrap();
    assert_eq!(drain(&mut again.consumer(Topics::All, Start::Beginning)).await.len(), 5);
    assert_eq!(again.committed("audit").await.unwrap(), [(0, 3), (7, 6)]);
    assert_eq!(again.committed("other").await.unwrap(), []);
    assert!(matches!(Log::open(db.clone(), 4).await, Err(Error::Partitions { stored: 8, asked: 4 })));
}

#[tokio::test]
async fn a_trimmed_log_uses_no_offset_twice() {
    let db = database().await;
    let log = Log::open(db.clone(), 8).await.unwrap();
    fill(&log, 10).await;
    assert_eq!(log.trim(4, 100).await.unwrap(), 3);
    assert_eq!(log.trim(100, 2).await.unwrap(), 2);
    assert_eq!(log.trim(100, 100).await.unwrap(), 4);
    assert_eq!(log.trim(100, 100).await.unwrap(), 0);
    fill(&log, 1).await;
    let left: Vec<_> = drain(&mut log.consumer(Topics::All, Start::Beginning)).await.iter().map(|d| d.offset).collect();
    assert_eq!(left, [10, 11]);
}

#[tokio::test]
async fn a_rare_topic_is_found_behind_many_others() {
    let db = database().await;
    let log = Log::open(db.clone(), 8).await.unwrap();
    for _ in 0..5 {
        fill(&log, 4_000).await;
    }
    log.produce(vec![record("rare", "k")]).await.remove(0).unwrap();
    let mut consumer = log.consumer(Topics::Named(vec!["rare".to_owned()]), Start::Beginning);
    let found = consumer.poll(10, Duration::ZERO).await.unwrap();
    assert_eq!(found.iter().map(|d| d.offset).collect::<Vec<_>>(), [20_001]);
    assert!(consumer.positions().iter().all(|(_, next)| *next == 20_002));
}

#[tokio::test]
async fn a_log_without_its_database_says_so_and_blames_no_record() {
    let db = database().await;
    let log = Log::open(db.clone(), 8).await.unwrap();
    db.close().await;
    let answers = log.produce(vec![record("t", "a"), record("not legal", "b")]).await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::Invalid);
    assert!(log.consumer(Topics::All, Start::Beginning).poll(1, WAIT).await.is_err());
}
