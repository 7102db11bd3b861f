//! What every backend must do. Each function is one promise; `prefix` keeps the topics of a run apart.

use std::time::Duration;

use bytes::Bytes;
use steadfast_core::{Classified, ErrorKind};

use crate::{Change, Consumer, Delivered, Producer, Record, Topics};

const WAIT: Duration = Duration::from_secs(20);

fn record(topic: &str, key: &str, payload: &str) -> Record {
    Record {
        topic: topic.to_owned(),
        key: key.to_owned(),
        headers: vec![("b".to_owned(), "1".to_owned()), ("a".to_owned(), "zwei".to_owned())],
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

async fn take<C: Consumer>(consumer: &mut C, amount: usize) -> Vec<Delivered> {
    let mut taken = Vec::new();
    let limit = tokio::time::Instant::now() + WAIT;
    while taken.len() < amount && tokio::time::Instant::now() < limit {
        taken.extend(consumer.poll(amount - taken.len(), Duration::from_millis(100)).await.expect("a poll succeeds"));
    }
    assert_eq!(taken.len(), amount, "records were lost");
    taken
}

/// All promises, one after the other; `consumer` makes one that begins at the beginning.
///
/// # Panics
/// When one is broken.
pub async fn all<P: Producer, C: Consumer>(prefix: &str, producer: &P, consumer: impl Fn(Topics) -> C) {
    delivers_whole_records(prefix, producer, &consumer).await;
    keeps_the_order_of_a_key(prefix, producer, &consumer).await;
    answers_for_each_record(prefix, producer, &consumer).await;
    continues_where_it_is_told(prefix, producer, &consumer).await;
    says_what_it_reads(prefix, producer, &consumer).await;
    waits_no_longer_than_it_may(prefix, &consumer).await;
}

async fn delivers_whole_records<P: Producer, C: Consumer>(prefix: &str, producer: &P, consumer: impl Fn(Topics) -> C) {
    let (topic, other) = (format!("{prefix}.whole"), format!("{prefix}.other"));
    let sent = record(&topic, "k", "grüße \u{0}");
    let answers = producer.produce(vec![record(&other, "k", "x"), sent.clone()]).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let taken = take(&mut consumer(Topics::Named(vec![topic])), 1).await;
    assert_eq!(taken[0].record, sent);
}

async fn keeps_the_order_of_a_key<P: Producer, C: Consumer>(
    prefix: &str,
    producer: &P,
    consumer: impl Fn(Topics) -> C,
) {
    let topic = format!("{prefix}.order");
    for batch in 0..5 {
        let records = (0..40).map(|n| record(&topic, &format!("k{}", n % 4), &(batch * 40 + n).to_string())).collect();
        assert!(producer.produce(records).await.iter().all(Result::is_ok));
    }
    let taken = take(&mut consumer(Topics::Named(vec![topic])), 200).await;
    for key in ["k0", "k1", "k2", "k3"] {
        let of_key: Vec<_> = taken.iter().filter(|delivered| delivered.record.key == key).collect();
        let numbers: Vec<u32> =
            of_key.iter().map(|d| String::from_utf8_lossy(&d.record.payload).parse().expect("a number")).collect();
        assert_eq!(numbers.len(), 50);
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        assert!(
            of_key.windows(2).all(|pair| pair[0].offset < pair[1].offset && pair[0].partition == pair[1].partition)
        );
    }
}

async fn answers_for_each_record<P: Producer, C: Consumer>(prefix: &str, producer: &P, consumer: impl Fn(Topics) -> C) {
    let topic = format!("{prefix}.answers");
    let records = vec![record(&topic, "k", "1"), record("not a topic", "k", "2"), record(&topic, "k", "3")];
    let answers = producer.produce(records).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    let kind = answers[1].as_ref().expect_err("an illegal topic is refused").kind();
    assert!(matches!(kind, ErrorKind::Invalid | ErrorKind::Refused), "{kind:?}");
    let taken = take(&mut consumer(Topics::Named(vec![topic])), 2).await;
    assert_eq!(taken.iter().map(|d| &d.record.payload[..]).collect::<Vec<_>>(), [b"1", b"3"]);
}

async fn continues_where_it_is_told<P: Producer, C: Consumer>(
    prefix: &str,
    producer: &P,
    consumer: impl Fn(Topics) -> C,
) {
    let topic = format!("{prefix}.seek");
    let records = (0..10).map(|n| record(&topic, "k", &n.to_string())).collect();
    assert!(producer.produce(records).await.iter().all(Result::is_ok));
    let taken = take(&mut consumer(Topics::Named(vec![topic.clone()])), 10).await;
    let mut again = consumer(Topics::Named(vec![topic]));
    again.seek(&taken[6].partition, taken[6].offset + 1).await.expect("the partition exists");
    assert_eq!(take(&mut again, 3).await, taken[7..]);
}

async fn says_what_it_reads<P: Producer, C: Consumer>(prefix: &str, producer: &P, consumer: impl Fn(Topics) -> C) {
    let topic = format!("{prefix}.changes");
    let records = (0..10).map(|n| record(&topic, &format!("k{n}"), &n.to_string())).collect();
    assert!(producer.produce(records).await.iter().all(Result::is_ok));
    let mut consumer = consumer(Topics::Named(vec![topic]));
    let (mut assigned, mut taken) = (Vec::new(), Vec::new());
    let limit = tokio::time::Instant::now() + WAIT;
    while taken.len() < 10 && tokio::time::Instant::now() < limit {
        for change in consumer.changes() {
            match change {
                Change::Assigned(partition) => assigned.push(partition),
                Change::Revoked(partition) => assigned.retain(|one| *one != partition),
            }
        }
        let some = consumer.poll(10, Duration::from_millis(100)).await.expect("a poll succeeds");
        assert!(some.iter().all(|one| assigned.contains(&one.partition)), "{some:?} of {assigned:?}");
        taken.extend(some);
    }
    assert_eq!(taken.len(), 10, "records were lost");
    assert_eq!(consumer.changes(), []);
    let (from, offset) = (taken[0].partition.clone(), taken[0].offset);
    consumer.seek(&from, offset).await.expect("an assigned partition can be read again");
    let expected: Vec<_> = taken.iter().filter(|one| one.partition == from).cloned().collect();
    let mut again = take(&mut consumer, expected.len()).await;
    again.retain(|one| one.partition == from);
    assert_eq!(again, expected);
}

async fn waits_no_longer_than_it_may<C: Consumer>(prefix: &str, consumer: impl Fn(Topics) -> C) {
    let mut consumer = consumer(Topics::Named(vec![format!("{prefix}.nothing")]));
    let began = tokio::time::Instant::now();
    assert_eq!(consumer.poll(10, Duration::from_millis(20)).await.expect("a poll succeeds"), []);
    assert!(began.elapsed() < WAIT);
}
