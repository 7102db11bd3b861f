//! Kafka, while it is well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use steadfast_bus::kafka::{self, Config, Member, NewTopics, Producer, Weakness};
use steadfast_bus::{
    Change, Consumer, Delivered, Error, Partition, Producer as _, Record, Start, Topics, conformance, partition_of,
};
use steadfast_core::{Classified, ErrorKind};
use tokio::time::{Instant, timeout};

use crate::broker::{config, server, unique};

const LIMIT: Duration = Duration::from_secs(30);

fn record(topic: &str, key: &str, payload: &str) -> Record {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Record { topic: topic.to_owned(), key: key.to_owned(), headers: vec![], payload }
}

async fn take(member: &mut Member, amount: usize) -> Vec<Delivered> {
    let mut taken = Vec::new();
    let limit = Instant::now() + LIMIT;
    while taken.len() < amount && Instant::now() < limit {
        taken.extend(member.poll(1_000, Duration::from_millis(200)).await.expect("a poll succeeds"));
    }
    assert_eq!(taken.len(), amount);
    taken
}

/// Text that compression cannot make much smaller.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed + 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + u8::try_from(state % 90).unwrap())
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Makes a topic with settings of its own.
async fn make(topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", server()).create().unwrap();
    let new = settings
        .iter()
        .fold(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)), |new, (name, value)| new.set(name, value));
    admin.create_topics([&new], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}

#[tokio::test]
async fn kafka_keeps_every_promise_of_a_log() {
    let producer = Producer::open(config(server())).unwrap();
    let member = |topics| Member::join(&config(server()), &unique("g"), topics, Start::Beginning).unwrap();
    conformance::all(&unique("c"), &producer, member).await;
}

#[tokio::test]
async fn a_keys_partition_is_the_java_clients() {
    let (producer, topic) = (Producer::open(config(server())).unwrap(), unique("keys"));
    let records = (0..200).map(|n| record(&topic, &format!("käse-{n}"), "x")).collect();
    assert!(producer.produce(records).await.iter().all(Result::is_ok));
    let mut member =
        Member::join(&config(server()), &unique("g"), Topics::Named(vec![topic.clone()]), Start::Beginning).unwrap();
    for one in take(&mut member, 200).await {
        assert_eq!(one.partition, Partition::of_topic(topic.as_str(), partition_of(&one.record.key, 4)));
    }
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_alone_and_its_neighbours_pass() {
    let (producer, topic) = (Producer::open(config(server())).unwrap(), unique("large"));
    make(&topic, 1, &[("max.message.bytes", "20000")]).await;
    // Random enough to stay large when it is compressed.
    let large = noise(1, 40_000);
    let mut records = vec![record(&topic, "a", "1"), record(&topic, "big", &large), record(&topic, "a", "2")];
    let mut answers = producer.produce(records.clone()).await;
    let refusal = answers[1].clone().unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::Refused, "{refusal}");
    assert!(refusal.to_string().contains("max.message.bytes"), "{refusal}");
    // What stood beside it may be unknown; sent again without it, it passes, in order.
    records.remove(1);
    assert!(answers.remove(1).is_err());
    let again: Vec<Record> =
        records.into_iter().zip(&answers).filter(|(_, answer)| answer.is_err()).map(|(record, _)| record).collect();
    assert!(answers.iter().filter_map(|one| one.as_ref().err()).all(|error| error.kind() == ErrorKind::Transient));
    assert!(producer.produce(again).await.iter().all(Result::is_ok));
    let named = Topics::Named(vec![topic]);
    let mut member = Member::join(&config(server()), &unique("g"), named, Start::Beginning).unwrap();
    let taken = take(&mut member, 2).await;
    assert_eq!(taken.iter().map(|one| &one.record.payload[..]).collect::<Vec<_>>(), [b"1", b"2"]);

    let huge = Record { payload: Bytes::from(vec![0; 9 * 1024 * 1024]), ..taken[0].record.clone() };
    assert!(matches!(producer.produce(vec![huge]).await.remove(0), Err(Error::TooLarge { .. })));
}

#[tokio::test]
async fn small_records_of_one_batch_that_is_too_large_together_all_pass() {
    let (producer, topic) = (Producer::open(config(server())).unwrap(), unique("together"));
    make(&topic, 1, &[("max.message.bytes", "4000")]).await;
    let mut open: Vec<Record> = (0..12).map(|n| record(&topic, "k", &format!("{n:02}{}", noise(n, 1_000)))).collect();
    let mut rounds = 0;
    while !open.is_empty() {
        let answers = producer.produce(open.clone()).await;
        for answer in answers.iter().filter_map(|one| one.as_ref().err()) {
            assert_eq!(answer.kind(), ErrorKind::Transient, "{answer}");
        }
        open = open.into_iter().zip(answers).filter(|(_, answer)| answer.is_err()).map(|(record, _)| record).collect();
        rounds += 1;
        assert!(rounds < 20, "it comes to an end");
    }
    let named = Topics::Named(vec![topic]);
    let mut member = Member::join(&config(server()), &unique("g"), named, Start::Beginning).unwrap();
    let numbers: Vec<u32> = take(&mut member, 12)
        .await
        .iter()
        .map(|one| String::from_utf8_lossy(&one.record.payload[..2]).parse().unwrap())
        .collect();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_topic_that_may_not_be_made_is_refused_and_the_others_flow() {
    let (there, missing) = (unique("there"), unique("missing"));
    make(&there, 1, &[]).await;
    let producer = Producer::open(Config { topics: NewTopics::Forbid, ..config(server()) }).unwrap();
    let answers = producer.produce(vec![record(&missing, "k", "1"), record(&there, "k", "2")]).await;
    let refusal = answers[0].as_ref().unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::Refused);
    assert!(refusal.to_string().contains("setting that makes missing topics is off"), "{refusal}");
    assert!(answers[1].is_ok(), "{answers:?}");

    let many = NewTopics::Create { partitions: 1, replication: 3 };
    let producer = Producer::open(Config { topics: many, ..config(server()) }).unwrap();
    let error = producer.produce(vec![record(&missing, "k", "1")]).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "brokers may be starting");
    assert!(error.to_string().contains("3 replicas"), "{error}");
}

#[tokio::test]
async fn weak_topics_are_named_with_the_promise_that_breaks() {
    let (weak, made) = (unique("weak"), unique("made"));
    make(&weak, 1, &[("unclean.leader.election.enable", "true"), ("cleanup.policy", "compact")]).await;
    let producer = Producer::open(config(server())).unwrap();
    let found = producer.weaknesses(&[&weak, &made]).await.unwrap();
    let expected = [
        Weakness::Replication { topic: weak.clone(), replicas: 1 },
        Weakness::MinInsync { topic: weak.clone(), min_insync: 1 },
        Weakness::UncleanElection { topic: weak.clone() },
        Weakness::Compacted { topic: weak },
        Weakness::Replication { topic: made.clone(), replicas: 1 },
        Weakness::MinInsync { topic: made, min_insync: 1 },
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_topic_that_is_just_made_is_judged_by_its_own_settings() {
    // Not every broker, and not every part of one, knows it when it says that it was made.
    let topics: Vec<String> = (0..4).map(|n| unique(&format!("judged-{n}"))).collect();
    let wide = NewTopics::Create { partitions: 16, replication: 1 };
    let judged = topics.iter().map(|topic| async move {
        let producer = Producer::open(Config { topics: wide, ..config(server()) }).unwrap();
        (topic, producer.weaknesses(&[topic]).await)
    });
    for (topic, found) in futures_util::future::join_all(judged).await {
        let topic = || topic.clone();
        let expected = [
            Weakness::Replication { topic: topic(), replicas: 1 },
            Weakness::MinInsync { topic: topic(), min_insync: 1 },
        ];
        assert_eq!(found.unwrap(), expected);
    }
}

/// An owner that keeps positions, as a projection does.
struct Owner {
    member: Member,
    owned: BTreeSet<Partition>,
}

impl Owner {
    fn new(group: &str, topic: &str) -> Self {
        let named = Topics::Named(vec![topic.to_owned()]);
        Self {
            member: Member::join(&config(server()), group, named, Start::Beginning).unwrap(),
            owned: BTreeSet::new(),
        }
    }

    async fn turn(&mut self, positions: &mut BTreeMap<Partition, i64>, seen: &mut Vec<String>) {
        for change in self.member.changes() {
            match change {
                Change::Assigned(partition) => {
                    if let Some(position) = positions.get(&partition) {
                        self.member.seek(&partition, *position).await.unwrap();
                    }
                    assert!(self.owned.insert(partition));
                }
                Change::Revoked(partition) => assert!(self.owned.remove(&partition)),
            }
        }
        for one in self.member.poll(10, Duration::from_millis(20)).await.unwrap() {
            assert!(self.owned.contains(&one.partition));
            assert_eq!(positions.insert(one.partition, one.offset + 1).unwrap_or(one.offset), one.offset);
            seen.push(String::from_utf8(one.record.payload.to_vec()).unwrap());
        }
    }
}

#[tokio::test]
async fn partitions_move_between_members_and_continue_where_the_owner_stood() {
    let (producer, topic, group) = (Producer::open(config(server())).unwrap(), unique("move"), unique("g"));
    let send = |from: u32| {
        let records = (from..from + 100).map(|n| record(&topic, &format!("k{n}"), &n.to_string())).collect();
        producer.produce(records)
    };
    assert!(send(0).await.iter().all(Result::is_ok));
    let (mut positions, mut seen) = (BTreeMap::new(), Vec::new());
    let mut one = Owner::new(&group, &topic);
    let limit = Instant::now() + LIMIT;
    while seen.len() < 100 && Instant::now() < limit {
        one.turn(&mut positions, &mut seen).await;
    }
    assert_eq!(one.owned.len(), 4);
    let mut two = Owner::new(&group, &topic);
    while (one.owned.len() != 2 || two.owned.len() != 2) && Instant::now() < limit {
        one.turn(&mut positions, &mut seen).await;
        two.turn(&mut positions, &mut seen).await;
    }
    assert!(one.owned.is_disjoint(&two.owned), "{:?} {:?}", one.owned, two.owned);
    assert!(send(100).await.iter().all(Result::is_ok));
    while seen.len() < 200 && Instant::now() < limit {
        one.turn(&mut positions, &mut seen).await;
        two.turn(&mut positions, &mut seen).await;
    }
    one.member.leave().await;
    assert!(send(200).await.iter().all(Result::is_ok));
    while seen.len() < 300 && Instant::now() < limit {
        two.turn(&mut positions, &mut seen).await;
    }
    assert_eq!(two.owned.len(), 4);
    let numbers: BTreeSet<u32> = seen.iter().map(|one| one.parse().unwrap()).collect();
    assert_eq!((seen.len(), numbers.len()), (300, 300), "each once");
}

#[tokio::test]
async fn a_position_that_kafka_does_not_hold_is_an_error_and_not_a_jump() {
    let (producer, topic) = (Producer::open(config(server())).unwrap(), unique("lost"));
    make(&topic, 1, &[]).await;
    assert!(producer.produce(vec![record(&topic, "k", "1")]).await[0].is_ok());
    let named = Topics::Named(vec![topic.clone()]);
    let mut member = Member::join(&config(server()), &unique("g"), named, Start::Beginning).unwrap();
    let partition = Partition::of_topic(topic, 0);
    member.seek(&partition, 500).await.unwrap();
    let limit = Instant::now() + LIMIT;
    let error = loop {
        assert!(Instant::now() < limit, "the position is noticed");
        if let Err(error) = member.poll(10, Duration::from_millis(100)).await {
            break error;
        }
    };
    assert!(matches!(&error, Error::OutOfRange { first: 0, end: 1, position: 500, .. }), "{error:?}");
    // After the position was moved by hand it goes on.
    member.seek(&partition, 0).await.unwrap();
    assert_eq!(take(&mut member, 1).await.len(), 1);
}

#[tokio::test]
async fn a_topic_that_is_made_later_is_found() {
    let topic = unique("later");
    let named = Topics::Named(vec![topic.clone()]);
    let settings = vec![("topic.metadata.refresh.interval.ms".to_owned(), "200".to_owned())];
    let config = Config { settings, ..config(server()) };
    let mut member = Member::join(&config, &unique("g"), named, Start::Beginning).unwrap();
    assert_eq!(member.poll(10, Duration::from_millis(300)).await.unwrap(), []);
    let producer = Producer::open(config).unwrap();
    assert!(producer.produce(vec![record(&topic, "k", "1")]).await[0].is_ok());
    assert_eq!(take(&mut member, 1).await.len(), 1);
}

#[tokio::test]
async fn the_ends_are_told_of_partitions_that_hold_records() {
    let (topic, missing) = (unique("ends"), unique("never-made"));
    let producer = Producer::open(config(server())).unwrap();
    let records: Vec<Record> = (0..7).map(|n| record(&topic, "one key", &n.to_string())).collect();
    for answer in producer.produce(records).await {
        answer.unwrap();
    }
    let ends = kafka::ends(&config(server()), &[topic.clone(), missing]).await.unwrap();
    assert_eq!(ends, [(Partition::of_topic(topic, partition_of("one key", 4)), 7)]);
}

#[tokio::test]
async fn the_ends_of_a_topic_that_is_just_made_are_waited_for() {
    // Its partitions are led one after the other, which the answer to the making does not wait for.
    let topics: Vec<String> = (0..4).map(|n| unique(&format!("fresh-{n}"))).collect();
    let made = topics.iter().map(|topic| async move {
        make(topic, 16, &[]).await;
        kafka::ends(&config(server()), std::slice::from_ref(topic)).await
    });
    for ends in futures_util::future::join_all(made).await {
        assert_eq!(ends.unwrap(), []);
    }
}

#[tokio::test]
async fn a_full_queue_keeps_the_order() {
    let topic = unique("full");
    let settings = vec![("queue.buffering.max.messages".to_owned(), "16".to_owned())];
    let producer = Producer::open(Config { settings, ..config(server()) }).unwrap();
    let records = |from: u32| (from..from + 200).map(|n| record(&topic, "k", &n.to_string())).collect();
    let (one, two) = tokio::join!(producer.produce(records(0)), producer.produce(records(200)));
    assert!(one.iter().chain(&two).all(Result::is_ok));
    let named = Topics::Named(vec![topic.clone()]);
    let mut member = Member::join(&config(server()), &unique("g"), named, Start::Beginning).unwrap();
    let numbers: Vec<u32> = take(&mut member, 400)
        .await
        .iter()
        .map(|one| String::from_utf8_lossy(&one.record.payload).parse().unwrap())
        .collect();
    assert!(numbers[..200].is_sorted() && numbers[200..].is_sorted());
    assert!(numbers == (0..400).collect::<Vec<_>>() || numbers[0] == 200, "one call does not enter another");
}

#[tokio::test]
async fn a_dropped_poll_loses_no_record() {
    let (producer, topic) = (Producer::open(config(server())).unwrap(), unique("dropped"));
    let named = Topics::Named(vec![topic.clone()]);
    let mut member = Member::join(&config(server()), &unique("g"), named, Start::Beginning).unwrap();
    let mut taken = 0;
    let work = async {
        for n in 0..50 {
            assert!(producer.produce(vec![record(&topic, "k", &n.to_string())]).await[0].is_ok());
        }
    };
    let read = async {
        let limit = Instant::now() + LIMIT;
        while taken < 50 && Instant::now() < limit {
            if let Ok(some) = timeout(Duration::from_millis(3), member.poll(10, LIMIT)).await {
                taken += some.unwrap().len();
            }
        }
        taken
    };
    assert_eq!(tokio::join!(work, read).1, 50);
}

/// Measures; run it beside `ProducerPerformance --num-records 1000000 --record-size 200 --throughput -1` with
/// `acks=all enable.idempotence=true compression.type=lz4 linger.ms=5` on a topic of 4 partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn producer_rate() {
    const CALLS: u32 = 2_000;
    let (producer, topic) = (Producer::open(config(server())).unwrap(), unique("rate"));
    producer.prepare(&[&topic]).await.unwrap();
    let noise = noise(1, 100_000);
    let batch = |call: u32| -> Vec<Record> {
        (0..500)
            .map(|n| {
                let at = (call * 500 + n) as usize * 7 % (noise.len() - 200);
                Record {
                    payload: Bytes::copy_from_slice(&noise.as_bytes()[at..at + 200]),
                    ..record(&topic, &format!("k{n}"), "")
                }
            })
            .collect()
    };
    for round in 0..3 {
        let began = Instant::now();
        let mut calls: tokio::task::JoinSet<bool> = tokio::task::JoinSet::new();
        for call in 0..CALLS {
            if calls.len() >= 16 {
                assert!(calls.join_next().await.unwrap().unwrap());
            }
            let (producer, records) = (producer.clone(), batch(call));
            calls.spawn(async move { producer.produce(records).await.iter().all(Result::is_ok) });
        }
        assert!(calls.join_all().await.into_iter().all(|good| good));
        println!("round {round}: {:.0} records/s", f64::from(CALLS * 500) / began.elapsed().as_secs_f64());
    }
}
