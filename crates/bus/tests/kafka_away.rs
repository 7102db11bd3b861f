//! Kafka, while its broker is stopped, killed and started again. Seconds each, since a broker takes them to start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use steadfast_bus::kafka::{Config, Member, Producer};
use steadfast_bus::{Consumer, Producer as _, Record, Start, Topics};
use steadfast_core::{Classified, ErrorKind};
use steadfast_testkit::wait_for;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, config, unique};

fn record(topic: &str, key: &str, number: u32) -> Record {
    let payload = Bytes::from(number.to_string());
    Record { topic: topic.to_owned(), key: key.to_owned(), headers: vec![], payload }
}

/// Sends as a relay does: batch after batch, and what was not acknowledged again before anything later.
async fn send_until(producer: &Producer, topic: &str, stop: &CancellationToken, done: &AtomicUsize) -> (u32, u32) {
    let (mut next, mut unknown) = (0, 0);
    let mut open: Vec<Record> = Vec::new();
    while !stop.is_cancelled() || !open.is_empty() {
        while open.len() < 40 && !stop.is_cancelled() {
            open.push(record(topic, &format!("k{}", next % 5), next));
            next += 1;
        }
        let answers = producer.produce(open.clone()).await;
        for error in answers.iter().filter_map(|one| one.as_ref().err()) {
            assert_eq!(error.kind(), ErrorKind::Transient, "a broker that is away is nobody's poison: {error}");
            unknown += 1;
        }
        done.fetch_add(answers.iter().filter(|one| one.is_ok()).count(), Ordering::SeqCst);
        open = open.into_iter().zip(answers).filter(|(_, answer)| answer.is_err()).map(|(record, _)| record).collect();
    }
    (next, unknown)
}

/// Waits until some hundred more records are acknowledged.
async fn flows(done: &AtomicUsize) {
    let goal = done.load(Ordering::SeqCst) + 400;
    wait_for("records to flow", Duration::from_mins(1), || async move { done.load(Ordering::SeqCst) >= goal }).await;
}

/// What a deduplicating consumer sees, by key.
async fn read(config: &Config, topic: &str, amount: usize) -> BTreeMap<String, Vec<u32>> {
    let named = Topics::Named(vec![topic.to_owned()]);
    let mut member = Member::join(config, &unique("g"), named, Start::Beginning).unwrap();
    let (mut met, mut seen) = (BTreeSet::new(), BTreeMap::<String, Vec<u32>>::new());
    let limit = Instant::now() + Duration::from_secs(30);
    while met.len() < amount && Instant::now() < limit {
        for one in member.poll(1_000, Duration::from_millis(100)).await.unwrap_or_default() {
            let number = String::from_utf8_lossy(&one.record.payload).parse().unwrap();
            if met.insert(number) {
                seen.entry(one.record.key).or_default().push(number);
            }
        }
    }
    assert_eq!(met.len(), amount, "records were lost");
    member.leave().await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_stopped_loses_nothing_and_keeps_the_order_of_keys() {
    let mut broker = Broker::start("").await;
    let config = Config { delivery: Duration::from_secs(3), ..config(broker.address()) };
    let done = AtomicUsize::new(0);
    let (producer, topic, stop) = (Producer::open(config.clone()).unwrap(), unique("away"), CancellationToken::new());
    producer.prepare(&[&topic]).await.unwrap();
    let trouble = async {
        flows(&done).await;
        broker.kill_and_restart().await;
        flows(&done).await;
        broker.stop();
        // Longer than a record may wait.
        sleep(Duration::from_secs(5)).await;
        broker.go_on();
        flows(&done).await;
        stop.cancel();
    };
    let ((sent, unknown), ()) = tokio::join!(send_until(&producer, &topic, &stop, &done), trouble);
    assert!(sent > 200 && unknown > 0, "{sent} sent, {unknown} given up and sent again");
    let seen = read(&config, &topic, sent as usize).await;
    for (key, numbers) in seen {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_says_that_no_broker_answers_and_goes_on_by_itself() {
    let mut broker = Broker::start("").await;
    let (config, topic) = (config(broker.address()), unique("gone"));
    let producer = Producer::open(config.clone()).unwrap();
    assert!(producer.produce(vec![record(&topic, "k", 1)]).await[0].is_ok());
    let mut member = Member::join(&config, &unique("g"), Topics::Named(vec![topic.clone()]), Start::Beginning).unwrap();
    // An owner without positions reads from the start again after it has joined again.
    let until = async |member: &mut Member, wanted: &[u8]| loop {
        let some = member.poll(10, Duration::from_millis(100)).await.unwrap_or_default();
        if some.iter().any(|one| one.record.payload == wanted) {
            return;
        }
    };
    timeout(Duration::from_secs(20), until(&mut member, b"1")).await.expect("it reads");
    broker.kill();
    let limit = Instant::now() + Duration::from_secs(20);
    let error = loop {
        assert!(Instant::now() < limit, "a dead broker is noticed");
        if let Err(error) = member.poll(10, Duration::from_millis(100)).await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("no broker of"), "{error}");
    broker.restart().await;
    let sent = async { while producer.produce(vec![record(&topic, "k", 2)]).await[0].is_err() {} };
    let (got, ()) = tokio::join!(timeout(Duration::from_secs(40), until(&mut member, b"2")), sent);
    got.expect("it goes on");
}
