//! Brokers with topics of a run's own, and a bare client of theirs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use steadfast_bus::Record;
use steadfast_bus::kafka::{Config, NewTopics, Producer, Reach};
use tokio::time::Instant;

/// How long brokers may take to say that they are there, and to answer afterwards.
const REACH: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);
/// How long a bare producer may take for what it was given.
const FLUSH: Duration = Duration::from_mins(5);

/// Where a measurement finds its servers.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Servers {
    /// A PostgreSQL server, on which databases are made for the run and dropped.
    #[arg(
        long,
        env = "STEADFAST_BENCH_POSTGRES",
        hide_env_values = true,
        value_name = "URL",
        default_value = "postgres://postgres@127.0.0.1:55432"
    )]
    pub(super) postgres: String,
    /// Kafka's brokers, separated by commas, on which topics are made for the run and deleted.
    #[arg(long, env = "STEADFAST_BENCH_KAFKA", value_name = "BROKERS", default_value = "127.0.0.1:19092")]
    kafka: String,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    partitions: u32,
    /// Replicas of each topic.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    replication: u16,
}

/// Brokers, and the topics that were made on them.
pub(super) struct Brokers {
    pub(super) config: Config,
    admin: AdminClient<DefaultClientContext>,
    topics: Mutex<Vec<String>>,
}

impl Brokers {
    pub(super) async fn open(servers: &Servers) -> Result<Self> {
        let topics = NewTopics::Create { partitions: servers.partitions, replication: servers.replication };
        let config = Config { topics, client: "steadfast-bench".to_owned(), ..Config::new(&servers.kafka) };
        Reach::open(&config).context("--kafka")?.answers(REACH).await.context("--kafka")?;
        let admin = AdminClient::from_config_and_context(&config.admin().context("--kafka")?, DefaultClientContext);
        Ok(Self { admin: admin.context("--kafka")?, config, topics: Mutex::default() })
    }

    /// Makes a topic that nobody else has.
    pub(super) async fn topic(&self) -> Result<String> {
        let topic = format!("steadfast-bench-{}-{:016x}.v1", std::process::id(), fastrand::u64(..));
        self.producer()?.prepare(&[&topic]).await.context("--kafka")?;
        self.topics.lock().map_err(|_| anyhow::anyhow!("the list of topics is lost"))?.push(topic.clone());
        Ok(topic)
    }

    /// The library's own producer.
    pub(super) fn producer(&self) -> Result<Producer> {
        Producer::open(self.config.clone()).context("--kafka")
    }

    /// Produces with nothing between, by a client with the library's settings; records a second until all are
    /// acknowledged.
    pub(super) async fn produce(&self, records: Vec<Record>) -> Result<f64> {
        let settings = self.config.producer()?;
        tokio::task::spawn_blocking(move || {
            let producer: BaseProducer<Acks> = BaseProducer::from_config_and_context(&settings, Acks::default())?;
            produce(&producer, &records)
        })
        .await?
    }

    /// Deletes the topics that were made.
    pub(super) async fn close(self) -> Result<()> {
        let topics = self.topics.into_inner().map_err(|_| anyhow::anyhow!("the list of topics is lost"))?;
        if topics.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
        for outcome in self.admin.delete_topics(&names, &options).await.context("deleting topics")? {
            if let Err((topic, code)) = outcome {
                bail!("topic {topic} was not deleted ({code:?}): delete it by hand");
            }
        }
        Ok(())
    }
}

/// Counts what was acknowledged, and keeps the last error.
#[derive(Default)]
struct Acks {
    taken: AtomicU64,
    error: Mutex<Option<KafkaError>>,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => drop(self.taken.fetch_add(1, Ordering::Relaxed)),
            Err((error, _)) => {
                if let Ok(mut slot) = self.error.lock() {
                    *slot = Some(error.clone());
                }
            }
        }
    }
}

fn produce(producer: &BaseProducer<Acks>, records: &[Record]) -> Result<f64> {
    // Connected, and with the partitions known.
    if let Some(first) = records.first() {
        producer.client().fetch_metadata(Some(&first.topic), ANSWER)?;
    }
    let began = Instant::now();
    for record in records {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        let insert =
            |all: OwnedHeaders, (key, value): &(String, String)| all.insert(Header { key, value: Some(value) });
        let mut next = BaseRecord::to(&record.topic)
            .key(record.key.as_str())
            .payload(&record.payload[..])
            .headers(record.headers.iter().fold(headers, insert));
        loop {
            match producer.send(next) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                    next = same;
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error).context("producing by hand"),
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(FLUSH).context("producing by hand")?;
    let took = began.elapsed();
    let acks = producer.context();
    if let Some(error) = acks.error.lock().ok().and_then(|mut slot| slot.take()) {
        return Err(error).context("producing by hand");
    }
    let taken = acks.taken.load(Ordering::Relaxed);
    ensure!(taken == records.len() as u64, "{taken} of {} records were acknowledged", records.len());
    Ok(super::per_second(records.len(), took))
}
