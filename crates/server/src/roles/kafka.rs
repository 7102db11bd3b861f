//! The event log that a configuration names.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use steadfast_bus::kafka::{self, NewTopics, Reach};
use steadfast_host::config::{Secret, duration};

use super::missing::{Absence, Missing};

/// How long brokers may take to say that they are there.
const ANSWER: Duration = Duration::from_secs(2);

/// `[kafka]`.
#[derive(Debug, Deserialize)]
pub(crate) struct Kafka {
    /// `host:port` of some brokers.
    brokers: Vec<String>,
    /// What the brokers know this client as.
    #[serde(default = "client")]
    client: String,
    /// How long a record may wait for its acknowledgement.
    #[serde(default = "delivery", with = "duration")]
    delivery: Duration,
    /// Further settings of librdkafka, `_` for each `.` in a name: `security_protocol`.
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// Those of them that are secret: `sasl_password`.
    #[serde(default)]
    secrets: BTreeMap<String, Secret>,
}

fn client() -> String {
    "steadfast".to_owned()
}

const fn delivery() -> Duration {
    Duration::from_secs(30)
}

impl Kafka {
    /// What a client is told.
    pub(crate) fn client(&self, topics: NewTopics) -> Result<kafka::Config> {
        if self.brokers.is_empty() {
            bail!("kafka.brokers is empty: name some, such as [\"127.0.0.1:9092\"]");
        }
        if let Some(broker) = self.brokers.iter().find(|broker| !is_address(broker)) {
            bail!("kafka.brokers names {broker:?}: write host:port");
        }
        if !(Duration::from_secs(1)..=Duration::from_mins(10)).contains(&self.delivery) {
            bail!("kafka.delivery is {:?}: set it to 1s at least and 10m at most", self.delivery);
        }
        let dotted = |name: &str| name.replace('_', ".");
        let mut settings: Vec<_> = self.settings.iter().map(|(name, value)| (dotted(name), value.clone())).collect();
        for (name, value) in &self.secrets {
            settings.push((dotted(name), value.expose().trim().to_owned()));
        }
        Ok(kafka::Config {
            client: self.client.clone(),
            delivery: self.delivery,
            topics,
            settings,
            ..kafka::Config::new(self.brokers.join(","))
        })
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Says whether brokers answer, from now on.
pub(crate) fn watch(config: &kafka::Config) -> Result<Missing> {
    let reach = Reach::open(config).context("kafka")?;
    Ok(Missing::watched("kafka", move || {
        let reach = reach.clone();
        async move { reach.answers(ANSWER).await.map_err(|error| Absence::passing("no broker answers", &error)) }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_host_and_a_port() {
        for good in ["127.0.0.1:9092", "kafka:1", "[::1]:9092"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "kafka", ":9092", "kafka:", "kafka:0", "kafka:99999", "kafka:9092/x"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
