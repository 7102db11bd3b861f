//! What a client is told, and what it may not be told.

use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;

use crate::Error;

/// How Kafka is reached and used.
#[derive(Clone)]
pub struct Config {
    /// `host:port` of some brokers, separated by commas.
    pub brokers: String,
    /// What the brokers know this client as.
    pub client: String,
    /// How long a record may wait for its acknowledgement.
    pub delivery: Duration,
    /// What happens to a topic that is missing.
    pub topics: NewTopics,
    /// Further settings of librdkafka, such as `security.protocol`. Values may be secret and are never shown.
    pub settings: Vec<(String, String)>,
}

/// What happens to a topic that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTopics {
    /// It is made.
    Create {
        /// With so many partitions. The number should never change: another one splits the order of keys.
        partitions: u32,
        /// With so many replicas. From three on, a write needs all but one of them (`min.insync.replicas`).
        replication: u16,
    },
    /// It is not: a record for it is refused until somebody else has made it.
    Forbid,
}

impl Config {
    /// The usual settings: 30 s for an acknowledgement; missing topics get 12 partitions and 3 replicas.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client: "steadfast".to_owned(),
            delivery: Duration::from_secs(30),
            topics: NewTopics::Create { partitions: 12, replication: 3 },
            settings: Vec::new(),
        }
    }

    fn client(&self) -> Result<ClientConfig, Error> {
        let fault = |name: &str, fault: &str| Error::Setting { name: name.to_owned(), fault: fault.to_owned() };
        if self.brokers.trim().is_empty() {
            return Err(fault("brokers", "it is empty: name brokers as host:port, separated by commas"));
        }
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client)
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("log.connection.close", "false");
        for (name, value) in &self.settings {
            if FIXED.contains(&name.as_str()) {
                return Err(fault(name, "what is promised rests on it, so it is fixed: take it out"));
            }
            config.set(name, value);
        }
        Ok(config)
    }

    /// All that an administrator's client of librdkafka is told.
    #[doc(hidden)]
    pub fn admin(&self) -> Result<ClientConfig, Error> {
        self.client()
    }

    /// All that a producer of librdkafka is told: for a measurement beside a bare one.
    #[doc(hidden)]
    pub fn producer(&self) -> Result<ClientConfig, Error> {
        let mut config = self.client()?;
        let defaults = [
            ("linger.ms", "5"),
            ("compression.type", "lz4"),
            ("message.max.bytes", "10485760"),
            ("queue.buffering.max.messages", "100000"),
            ("queue.buffering.max.kbytes", "65536"),
        ];
        for (name, value) in defaults {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", "5")
            .set("partitioner", "murmur2_random")
            // A permanent failure of one record must not let those behind it pass: the order of each key rests on it.
            .set("enable.gapless.guarantee", "true")
            // The deadline is ours: it gives up everything together, and not the oldest before what stands behind it.
            .set("message.timeout.ms", "0")
            .set("socket.timeout.ms", "10000");
        Ok(config)
    }

    pub(super) fn consumer(&self, group: &str) -> Result<ClientConfig, Error> {
        let mut config = self.client()?;
        let defaults = [
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "1000"),
            ("topic.metadata.refresh.interval.ms", "5000"),
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.error.backoff.ms", "100"),
            ("queued.max.messages.kbytes", "16384"),
            ("check.crcs", "true"),
        ];
        for (name, value) in defaults {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error");
        Ok(config)
    }
}

/// Settings on which a promise rests.
const FIXED: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    "allow.auto.create.topics",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "partitioner",
    "enable.gapless.guarantee",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "transactional.id",
    "group.id",
    "group.protocol",
    "partition.assignment.strategy",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "isolation.level",
    "auto.offset.reset",
];

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("brokers", &self.brokers)
            .field("client", &self.client)
            .field("delivery", &self.delivery)
            .field("topics", &self.topics)
            .field("settings", &self.settings.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_promise_rests_on_cannot_be_set() {
        for name in ["acks", "enable.idempotence", "auto.offset.reset"] {
            let config = Config { settings: vec![(name.to_owned(), "1".to_owned())], ..Config::new("k:9092") };
            assert!(matches!(config.producer(), Err(Error::Setting { name: found, .. }) if found == name));
            assert!(config.consumer("g").is_err());
        }
        assert!(matches!(Config::new(" ").admin(), Err(Error::Setting { .. })));
    }

    #[test]
    fn further_settings_win_over_defaults_and_are_not_shown() {
        let settings = vec![("linger.ms".to_owned(), "0".to_owned()), ("sasl.password".to_owned(), "hush".to_owned())];
        let config = Config { settings, ..Config::new("k:9092") };
        assert_eq!(config.producer().unwrap().get("linger.ms"), Some("0"));
        assert!(!format!("{config:?}").contains("hush"));
    }
}
