//! Consuming: a member of a group, which reads where its owner says.
//!
//! ```text
//!            rebalance: assigned                      next poll: begins where the owner has sought
//! (foreign) ─────────────────────> announced ────────────────────────────────────────────────────> read
//!     ^                                │                                                            │ │ seek
//!     └────────────────────────────────┴──────────────── rebalance: revoked ────────────────────────┘ v
//!                                                                                       announced again
//! ```
//!
//! Rebalances are served by [`poll`](crate::Consumer::poll) alone, so partitions change between two batches of the owner.
//! The group's answer to an assignment is held back until the poll after it, which gives the owner the time to say where
//! each partition begins; meanwhile the partitions that it has go on.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::statistics::Statistics;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::topics::{away, setting};
use super::{Config, context};
use crate::{Change, Consumer, Delivered, Error, Partition, Record, Start, Topics};

/// A poll takes no further record beyond so many bytes.
const POLL_BYTES: usize = 8 * 1024 * 1024;
/// How long a question to a broker may take.
const ANSWER: Duration = Duration::from_secs(2);

/// A member of a consumer group.
pub struct Member {
    /// Taken out when it is dropped.
    consumer: Option<Arc<StreamConsumer<Context>>>,
    start: Start,
    brokers: String,
    /// The names of topics, so that records of one topic share theirs.
    names: BTreeSet<Arc<str>>,
    /// What a poll met after it had records to hand over.
    fault: Option<KafkaError>,
    /// Whether no broker answered when last heard of.
    away: bool,
}

impl Member {
    /// Joins a group with the first poll. `start` counts for partitions in which the owner does not seek.
    ///
    /// # Errors
    /// [`Error::Setting`], naming a setting that cannot be used.
    pub fn join(config: &Config, group: &str, topics: Topics, start: Start) -> Result<Self, Error> {
        let consumer = StreamConsumer::from_config_and_context(&config.consumer(group)?, Context::default());
        let consumer: StreamConsumer<Context> = consumer.map_err(|error| setting(&error))?;
        let names = match topics {
            // Kafka's own topics begin with an underscore.
            Topics::All => vec!["^[^_].*".to_owned()],
            Topics::Named(names) => names,
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| Error::Setting {
            name: "topics".to_owned(),
            fault: format!("{error}: name the topics to read"),
        })?;
        Ok(Self {
            consumer: Some(Arc::new(consumer)),
            start,
            brokers: config.brokers.clone(),
            names: BTreeSet::new(),
            fault: None,
            away: false,
        })
    }

    fn client(&self) -> Result<Arc<StreamConsumer<Context>>, Error> {
        self.consumer.clone().ok_or(Error::Closed)
    }

    /// Waits for the first record and takes those that are there behind it.
    async fn take(&mut self, max: usize, deadline: Instant) -> Result<Vec<Delivered>, Error> {
        let consumer = self.client()?;
        let mut taken = Vec::new();
        let mut bytes = 0;
        let mut stream = consumer.stream();
        loop {
            let next = if taken.is_empty() {
                tokio::select! {
                    biased;
                    next = timeout_at(deadline, stream.next()) => next.ok().flatten(),
                    () = consumer.context().announced.notified() => None,
                }
            } else {
                stream.next().now_or_never().flatten()
            };
            match next {
                None => return Ok(taken),
                Some(Ok(message)) => {
                    bytes += message.payload_len() + message.key_len();
                    taken.push(self.delivered(&message));
                    if taken.len() >= max.max(1) || bytes >= POLL_BYTES {
                        return Ok(taken);
                    }
                }
                // An outage leaves hundreds behind: each in a call of its own would cost the caller a turn and a broker a
                // question.
                Some(Err(error)) if taken.is_empty() => {
                    self.judge(error).await?;
                    if Instant::now() >= deadline {
                        return Ok(taken);
                    }
                }
                Some(Err(error)) => {
                    self.fault = Some(error);
                    return Ok(taken);
                }
            }
        }
    }

    fn delivered(&mut self, message: &BorrowedMessage<'_>) -> Delivered {
        let known = self.names.get(message.topic()).map(Arc::clone);
        let topic = known.unwrap_or_else(|| {
            let name: Arc<str> = Arc::from(message.topic());
            self.names.insert(Arc::clone(&name));
            name
        });
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|one| (one.key.to_owned(), text(one.value.unwrap_or_default()))).collect()
        });
        let record = Record {
            topic: topic.as_ref().to_owned(),
            key: text(message.key().unwrap_or_default()),
            headers,
            payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        };
        let number = u32::try_from(message.partition()).unwrap_or_default();
        let partition = Partition { topic: Some(topic), number };
        Delivered { topic: record.topic.clone(), partition, offset: message.offset(), record }
    }

    /// What an error means for the owner; `Ok` where it need not know.
    async fn judge(&mut self, error: KafkaError) -> Result<(), Error> {
        match error.rdkafka_error_code() {
            // Not made yet; it is looked for again with each refresh of what there is. Or the owner was slow, and joins again.
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::PollExceeded) => {
                tracing::debug!(%error, "a consumer goes on");
                Ok(())
            }
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Err(self.out_of_range().await),
            Some(Code::TopicAuthorizationFailed) => Err(Error::Refused(
                "this client may not read one of its topics: grant it READ and DESCRIBE on them".to_owned(),
            )),
            Some(Code::GroupAuthorizationFailed) => {
                Err(Error::Refused("this client may not join its group: grant it READ on the group".to_owned()))
            }
            Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve) => {
                self.away = true;
                Ok(())
            }
            _ => Err(away(&error)),
        }
    }

    /// Finds the partition whose position the log does not hold.
    async fn out_of_range(&self) -> Error {
        let lost = || Error::Unavailable("a position lies outside of what Kafka holds".to_owned());
        let Ok(consumer) = self.client() else { return Error::Closed };
        let begun = consumer.context().lock().read.clone();
        let asked = tokio::task::spawn_blocking(move || {
            for (partition, position) in begun {
                let Offset::Offset(position) = position else { continue };
                let number = i32::try_from(partition.number).unwrap_or(i32::MAX);
                let (first, end) = consumer.client().fetch_watermarks(partition.topic(), number, ANSWER)?;
                if position < first || position > end {
                    return Ok(Some(Error::OutOfRange { partition, first, end, position }));
                }
            }
            Ok::<_, KafkaError>(None)
        });
        match asked.await {
            Ok(Ok(Some(error))) => error,
            Ok(Ok(None)) | Err(_) => lost(),
            Ok(Err(error)) => away(&error),
        }
    }

    /// While no broker was heard of: asks.
    async fn hear(&mut self) -> Result<(), Error> {
        let consumer = self.client()?;
        let asked = tokio::task::spawn_blocking(move || consumer.client().fetch_metadata(None, ANSWER).map(drop));
        match asked.await.map_err(|_| Error::Closed)? {
            Ok(()) => {
                self.away = false;
                Ok(())
            }
            Err(_) => Err(Error::Unavailable(format!("no broker of {} answers", self.brokers))),
        }
    }
}

#[async_trait]
impl Consumer for Member {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivered>, Error> {
        let deadline = Instant::now() + wait;
        let consumer = self.client()?;
        consumer.context().begin(consumer.as_ref(), self.start).map_err(|error| away(&error))?;
        if let Some(error) = self.fault.take() {
            self.judge(error).await?;
        }
        let taken = self.take(max, deadline).await?;
        if !taken.is_empty() {
            self.away = false;
        } else if self.away {
            self.hear().await?;
        }
        Ok(taken)
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), Error> {
        self.client()?.context().lock().sought.insert(partition.clone(), offset.max(0));
        Ok(())
    }

    fn changes(&mut self) -> Vec<Change> {
        self.consumer.as_ref().map_or_else(Vec::new, |consumer| consumer.context().lock().changes.drain(..).collect())
    }

    /// Dropping it does the same behind one's back.
    async fn leave(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            // It waits for the group's coordinator.
            drop(tokio::task::spawn_blocking(move || drop(consumer)).await);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It waits for the group's coordinator, which must not happen on a thread that runs tasks.
        if let Some(consumer) = self.consumer.take() {
            let ending = std::thread::Builder::new().name("kafka-consumer-end".to_owned());
            drop(ending.spawn(move || drop(consumer)));
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("brokers", &self.brokers).field("start", &self.start).finish_non_exhaustive()
    }
}

/// What the group has given this member.
#[derive(Default)]
struct Share {
    /// Assigned, and not begun.
    announced: Vec<Partition>,
    /// Being read, each with the place at which that began.
    read: HashMap<Partition, Offset>,
    /// Where the owner wants a partition to begin.
    sought: HashMap<Partition, i64>,
    /// What the owner has not been told.
    changes: VecDeque<Change>,
}

impl Share {
    fn assign(&mut self, partition: Partition) {
        self.announced.push(partition.clone());
        self.changes.push_back(Change::Assigned(partition));
    }

    fn revoke(&mut self, partition: &Partition) {
        self.read.remove(partition);
        self.sought.remove(partition);
        // What the owner has not been told of it need not be told; at most two changes of a partition are kept.
        let assigned = Change::Assigned(partition.clone());
        let untold = self.changes.iter().rposition(|change| *change == assigned);
        match untold {
            Some(place) => drop(self.changes.remove(place)),
            None => self.changes.push_back(Change::Revoked(partition.clone())),
        }
    }

    /// Partitions in which the owner wants to read from another place.
    fn moved(&self) -> Vec<Partition> {
        self.sought.keys().filter(|partition| self.read.contains_key(partition)).cloned().collect()
    }

    /// Where the partition begins.
    fn place(&self, partition: &Partition, start: Start) -> Offset {
        match (self.sought.get(partition), start) {
            (Some(offset), _) => Offset::Offset(*offset),
            (None, Start::Beginning) => Offset::Beginning,
            (None, Start::End) => Offset::End,
        }
    }
}

/// What librdkafka calls back with.
#[derive(Default)]
struct Context {
    share: Mutex<Share>,
    /// Told when partitions were announced.
    announced: Notify,
}

impl Context {
    fn lock(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins what was announced, and begins again where the owner has sought.
    fn begin(&self, consumer: &impl rdkafka::consumer::Consumer<Self>, start: Start) -> KafkaResult<()> {
        let mut share = self.lock();
        let moved = share.moved();
        if !moved.is_empty() {
            consumer.incremental_unassign(&list(moved.iter().map(|one| (one, Offset::Invalid)))?)?;
            for partition in moved {
                share.read.remove(&partition);
                share.announced.push(partition);
            }
        }
        if share.announced.is_empty() {
            return Ok(());
        }
        let places: Vec<_> = share.announced.iter().map(|one| (one.clone(), share.place(one, start))).collect();
        consumer.incremental_assign(&list(places.iter().map(|(one, place)| (one, *place)))?)?;
        share.announced.clear();
        for (partition, place) in places {
            share.sought.remove(&partition);
            share.read.insert(partition, place);
        }
        Ok(())
    }

    fn serve(&self, consumer: &BaseConsumer<Self>, assigned: bool, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let named: Vec<Partition> =
            partitions.elements().iter().map(|one| partition(one.topic(), one.partition())).collect();
        if assigned {
            if named.is_empty() {
                return consumer.incremental_assign(partitions);
            }
            let mut share = self.lock();
            for one in named {
                share.assign(one);
            }
            self.announced.notify_one();
            return Ok(());
        }
        // An assignment must be answered before a revocation. What stays is begun by the next poll, as the owner says.
        let (gone, staying): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lock().announced).into_iter().partition(|one| named.contains(one));
        let all = gone.iter().chain(&staying);
        if !(gone.is_empty() && staying.is_empty()) {
            consumer.incremental_assign(&list(all.map(|one| (one, Offset::Beginning)))?)?;
        }
        if !staying.is_empty() {
            consumer.incremental_unassign(&list(staying.iter().map(|one| (one, Offset::Invalid)))?)?;
        }
        self.lock().announced = staying;
        consumer.incremental_unassign(partitions)?;
        let mut share = self.lock();
        for one in &named {
            share.revoke(one);
        }
        Ok(())
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        context::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let assigned = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if let Err(error) = self.serve(consumer, assigned, partitions) {
            // The group gives the partitions to others after the session's end.
            tracing::error!(%error, assigned, "a rebalance cannot be followed");
        }
    }
}

fn partition(topic: &str, number: i32) -> Partition {
    Partition::of_topic(topic, u32::try_from(number).unwrap_or_default())
}

fn list<'a>(partitions: impl Iterator<Item = (&'a Partition, Offset)>) -> KafkaResult<TopicPartitionList> {
    let mut all = TopicPartitionList::new();
    for (partition, offset) in partitions {
        all.add_partition_offset(partition.topic(), i32::try_from(partition.number).unwrap_or(i32::MAX), offset)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(steps: impl FnOnce(&mut Share)) -> Vec<Change> {
        let mut share = Share::default();
        steps(&mut share);
        share.changes.drain(..).collect()
    }

    #[test]
    fn an_owner_is_told_what_counts_and_never_much() {
        let one = || partition("t", 1);
        assert_eq!(share(|share| share.assign(one())), [Change::Assigned(one())]);
        let taken_back = |share: &mut Share| {
            share.assign(one());
            share.revoke(&one());
        };
        assert_eq!(share(taken_back), []);
        let told = |share: &mut Share| {
            share.assign(one());
            share.changes.clear();
            for _ in 0..10 {
                share.revoke(&one());
                share.assign(one());
            }
        };
        assert_eq!(share(told), [Change::Revoked(one()), Change::Assigned(one())], "it must be placed again");
    }

    #[test]
    fn a_partition_begins_where_the_owner_has_sought() {
        let mut share = Share::default();
        let (one, two) = (partition("t", 1), partition("t", 2));
        share.sought.insert(one.clone(), 7);
        assert_eq!(share.place(&one, Start::End), Offset::Offset(7));
        assert_eq!(share.place(&two, Start::End), Offset::End);
        share.read.insert(one.clone(), Offset::Offset(7));
        share.sought.insert(two, 9);
        assert_eq!(share.moved(), std::slice::from_ref(&one));
        share.revoke(&one);
        assert_eq!(share.moved(), [], "a place sought before is stale");
    }
}
