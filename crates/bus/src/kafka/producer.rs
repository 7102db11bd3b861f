//! Producing: in order, answered record by record.
//!
//! ```text
//! produce ──> topics ready ──> enqueue in turn ──> wait ──> all acknowledged ──> answer
//!                                   ^                │ a failure, or the deadline
//!                                   │ next call      v
//!                                 a new client <── retire: purge, all that is open is unknown
//! ```
//!
//! Why a failure retires the whole client: records behind the failed one may be of the same key. Were they stored while
//! the caller sends the failed one again, the log would hold them in the wrong order.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::{Verdict, judge, refusal, unknown};
use super::topics::{Topics, setting};
use super::{Config, Weakness, context};
use crate::{Error, Record};

/// How long a full queue is waited for before it is tried again unasked.
const FULL: Duration = Duration::from_millis(20);
/// How long a retired client may take to hand back what it held.
const PURGE: Duration = Duration::from_secs(5);

/// A producer; clones are the same one.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

struct Inner {
    config: Config,
    topics: Topics,
    /// Calls enqueue one after the other, so that a full queue lets none overtake.
    turn: tokio::sync::Mutex<()>,
    client: Mutex<Arc<Client>>,
}

impl Producer {
    /// A producer. It connects by itself, and again after each failure; brokers that are away show in what
    /// [`produce`](crate::Producer::produce) answers.
    ///
    /// # Errors
    /// [`Error::Setting`], naming a setting that cannot be used.
    pub fn open(config: Config) -> Result<Self, Error> {
        let topics = Topics::new(&config)?;
        let client = Mutex::new(Arc::new(Client::open(&config)?));
        Ok(Self(Arc::new(Inner { config, topics, turn: tokio::sync::Mutex::default(), client })))
    }

    /// Makes those of the topics that are missing.
    ///
    /// # Errors
    /// [`Error::Refused`] with the setting or right that forbids it; [`Error::Unavailable`] while it cannot be told.
    pub async fn prepare(&self, topics: &[&str]) -> Result<(), Error> {
        for topic in topics {
            self.0.topics.ready(topic).await?;
        }
        Ok(())
    }

    /// Which promises the settings of these topics break; missing ones are made before.
    pub async fn weaknesses(&self, topics: &[&str]) -> Result<Vec<Weakness>, Error> {
        let mut found = Vec::new();
        for topic in topics {
            found.extend(self.0.topics.weaknesses(topic).await?);
        }
        Ok(found)
    }
}

impl Inner {
    fn slot(&self) -> MutexGuard<'_, Arc<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up a client and what it holds, and puts a new one in its place.
    fn retire(&self, client: &Arc<Client>) {
        let mut slot = self.slot();
        if Arc::ptr_eq(&slot, client) {
            match Client::open(&self.config) {
                Ok(fresh) => *slot = Arc::new(fresh),
                // It was made with the same settings before: memory or threads are short. The old one is purged anyway,
                // and answers with errors until a later call succeeds.
                Err(error) => tracing::error!(%error, "a new Kafka producer cannot be made"),
            }
        }
        drop(slot);
        let client = Arc::clone(client);
        // It waits for threads of librdkafka.
        drop(tokio::task::spawn_blocking(move || client.purge()));
    }

    /// Sends records whose topics are ready and answers with what became of each.
    async fn send(&self, records: &[&Record]) -> Vec<Result<(), Code>> {
        let deadline = Instant::now() + self.config.delivery;
        let batch = Arc::new(Batch::new(records.len()));
        let turn = self.turn.lock().await;
        let client = Arc::clone(&self.slot());
        for (index, record) in records.iter().enumerate() {
            if let Err(code) = client.enqueue(record, &batch, index, deadline).await {
                batch.answer_from(index, code);
                break;
            }
        }
        drop(turn);
        self.settle(&client, &batch, deadline).await;
        batch.outcomes()
    }

    /// Waits until every record is answered, and gives up on the client at the first failure or the deadline.
    async fn settle(&self, client: &Arc<Client>, batch: &Batch, deadline: Instant) {
        let mut limit = deadline;
        let mut retired = false;
        loop {
            let news = batch.news.notified();
            let (left, failed) = batch.state();
            if !retired && (failed || (left > 0 && Instant::now() >= limit)) {
                self.retire(client);
                retired = true;
                limit = Instant::now() + PURGE;
            }
            if left == 0 {
                return;
            }
            if timeout_at(limit, news).await.is_err() && retired {
                batch.answer_from(0, Code::PurgeInflight);
                return;
            }
        }
    }

    /// Sends records one by one that a broker refused as part of a larger batch, perhaps with another call's, and answers
    /// for each.
    async fn send_alone(&self, records: &[&Record], outcomes: &mut [Result<(), Code>]) {
        for (record, outcome) in records.iter().zip(outcomes) {
            if !matches!(outcome, Err(code) if judge(*code) == Verdict::Alone) {
                continue;
            }
            let deadline = Instant::now() + self.config.delivery;
            let batch = Arc::new(Batch::new(1));
            let turn = self.turn.lock().await;
            let client = Arc::clone(&self.slot());
            let sent = match client.idle(deadline).await {
                Ok(()) => client.enqueue(record, &batch, 0, deadline).await,
                Err(code) => Err(code),
            };
            if let Err(code) = sent {
                batch.answer_from(0, code);
            }
            self.settle(&client, &batch, deadline).await;
            drop(turn);
            *outcome = batch.outcomes().pop().unwrap_or(Err(Code::PurgeInflight));
        }
    }

    fn error(&self, record: &Record, code: Code) -> Error {
        match judge(code) {
            Verdict::Unknown => {
                if matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) {
                    self.topics.forget(&record.topic);
                }
                unknown(code)
            }
            Verdict::Alone => refusal(code, &record.topic, size(record)),
            Verdict::Refused => {
                let error = refusal(code, &record.topic, size(record));
                if code == Code::TopicAuthorizationFailed {
                    self.topics.refuse(&record.topic, &error);
                }
                error
            }
        }
    }
}

#[async_trait]
impl crate::Producer for Producer {
    async fn produce(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        let mut verdicts: Vec<Result<(), Error>> = Vec::with_capacity(records.len());
        for record in &records {
            let verdict = match record.check() {
                Ok(()) => self.0.topics.ready(&record.topic).await,
                Err(error) => Err(error),
            };
            verdicts.push(verdict);
        }
        let good: Vec<usize> = (0..records.len()).filter(|index| verdicts[*index].is_ok()).collect();
        if good.is_empty() {
            return verdicts;
        }
        let chosen: Vec<&Record> = good.iter().map(|index| &records[*index]).collect();
        let mut outcomes = self.0.send(&chosen).await;
        self.0.send_alone(&chosen, &mut outcomes).await;
        for (index, outcome) in good.into_iter().zip(outcomes) {
            if let Err(code) = outcome {
                verdicts[index] = Err(self.0.error(&records[index], code));
            }
        }
        verdicts
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// What a record takes, without the broker's own overhead.
fn size(record: &Record) -> usize {
    let headers = record.headers.iter().map(|(name, value)| name.len() + value.len());
    record.key.len() + record.payload.len() + headers.sum::<usize>()
}

/// Records that are answered together.
struct Batch {
    outcomes: Mutex<Outcomes>,
    news: Notify,
}

struct Outcomes {
    answers: Vec<Option<Result<(), Code>>>,
    left: usize,
    failed: bool,
}

impl Batch {
    fn new(size: usize) -> Self {
        let outcomes = Outcomes { answers: vec![None; size], left: size, failed: false };
        Self { outcomes: Mutex::new(outcomes), news: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, index: usize, outcome: Result<(), Code>) {
        let mut outcomes = self.lock();
        if outcomes.answers.get(index).is_some_and(Option::is_none) {
            let news = outcomes.left == 1 || (outcome.is_err() && !outcomes.failed);
            outcomes.failed |= outcome.is_err();
            outcomes.answers[index] = Some(outcome);
            outcomes.left -= 1;
            drop(outcomes);
            if news {
                self.news.notify_one();
            }
        }
    }

    /// Answers for all that are open from there on.
    fn answer_from(&self, index: usize, code: Code) {
        let size = self.lock().answers.len();
        for index in index..size {
            self.answer(index, Err(code));
        }
    }

    /// How many are open, and whether one has failed.
    fn state(&self) -> (usize, bool) {
        let outcomes = self.lock();
        (outcomes.left, outcomes.failed)
    }

    fn outcomes(&self) -> Vec<Result<(), Code>> {
        self.lock().answers.iter().map(|answer| answer.unwrap_or(Err(Code::PurgeInflight))).collect()
    }
}

/// What a record carries through librdkafka.
struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

#[derive(Default)]
struct Context {
    /// Told with each record that leaves the queue.
    room: Arc<Notify>,
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

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(code_of(error)),
        };
        ticket.batch.answer(ticket.index, outcome);
        self.room.notify_waiters();
    }
}

fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Fail)
}

/// A client of librdkafka, good until its first failure. Its callbacks run on one thread.
struct Client {
    /// Taken out when it is dropped.
    producer: Option<ThreadedProducer<Context>>,
    room: Arc<Notify>,
}

impl Client {
    fn open(config: &Config) -> Result<Self, Error> {
        let context = Context::default();
        let room = Arc::clone(&context.room);
        let producer = ThreadedProducer::from_config_and_context(&config.producer()?, context);
        Ok(Self { producer: Some(producer.map_err(|error| setting(&error))?), room })
    }

    /// Hands a record to the queue; while that is full, the same one again, until the deadline.
    async fn enqueue(&self, record: &Record, batch: &Arc<Batch>, index: usize, deadline: Instant) -> Result<(), Code> {
        let Some(producer) = &self.producer else { return Err(Code::PurgeQueue) };
        let ticket = Box::new(Ticket { batch: Arc::clone(batch), index });
        let mut next = base_record(record, ticket);
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match producer.send(next) {
                Ok(()) => return Ok(()),
                Err((error, same)) if code_of(&error) == Code::QueueFull && Instant::now() < deadline => next = same,
                Err((error, _)) => return Err(code_of(&error)),
            }
            if batch.state().1 {
                return Err(Code::PurgeQueue);
            }
            // Woken by a record that leaves; or it was the last one, just before.
            drop(timeout(FULL, room).await);
        }
    }

    /// Waits until nothing is queued or under way.
    async fn idle(&self, deadline: Instant) -> Result<(), Code> {
        while self.producer.as_ref().is_some_and(|producer| producer.in_flight_count() > 0) {
            if Instant::now() >= deadline {
                return Err(Code::PurgeQueue);
            }
            drop(timeout(FULL, self.room.notified()).await);
        }
        Ok(())
    }

    fn purge(&self) {
        if let Some(producer) = &self.producer {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Its threads are waited for, which must not happen on a thread that runs tasks.
        if let Some(producer) = self.producer.take() {
            let ending = std::thread::Builder::new().name("kafka-producer-end".to_owned());
            drop(ending.spawn(move || drop(producer)));
        }
    }
}

fn base_record(record: &Record, ticket: Box<Ticket>) -> BaseRecord<'_, str, [u8], Box<Ticket>> {
    let base = BaseRecord::with_opaque_to(&record.topic, ticket).key(record.key.as_str()).payload(&record.payload[..]);
    if record.headers.is_empty() {
        return base;
    }
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    let insert =
        |all: OwnedHeaders, (key, value): &(String, String)| all.insert(Header { key, value: Some(value.as_str()) });
    base.headers(record.headers.iter().fold(headers, insert))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_is_told_of_its_first_failure_and_of_its_end() {
        let batch = Batch::new(4);
        batch.answer(0, Ok(()));
        assert_eq!(batch.state(), (3, false));
        batch.answer(2, Err(Code::MessageTimedOut));
        timeout(Duration::from_secs(1), batch.news.notified()).await.expect("the failure is news");
        batch.answer(2, Ok(()));
        assert_eq!(batch.state(), (2, true), "the first answer counts");
        batch.answer_from(1, Code::PurgeQueue);
        timeout(Duration::from_secs(1), batch.news.notified()).await.expect("the end is news");
        let (timed_out, purged) = (Err(Code::MessageTimedOut), Err(Code::PurgeQueue));
        assert_eq!(batch.outcomes(), [Ok(()), purged, timed_out, purged]);
    }
}
