//! How a configuration names Kafka. Words only: who connects is elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Fault, Secret, duration};

/// `[kafka]`.
#[derive(Clone, Debug, Deserialize)]
pub struct Kafka {
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
    /// Whether it can be Kafka.
    ///
    /// # Errors
    /// A broker that is no address, or a time out of bounds.
    pub fn check(&self) -> Result<(), Fault> {
        let fault = |key: &str, what: String| Err(Fault::new(what).at(key, None));
        if self.brokers.is_empty() {
            return fault("kafka.brokers", "is empty: name some, such as [\"127.0.0.1:9092\"]".to_owned());
        }
        if let Some(broker) = self.brokers.iter().find(|broker| !is_address(broker)) {
            return fault("kafka.brokers", format!("names {broker:?}: write host:port"));
        }
        if !(Duration::from_secs(1)..=Duration::from_mins(10)).contains(&self.delivery) {
            let what = format!("is {:?}: set it to 1s at least and 10m at most", self.delivery);
            return fault("kafka.delivery", what);
        }
        Ok(())
    }

    /// The brokers, with commas between them.
    pub fn brokers(&self) -> String {
        self.brokers.join(",")
    }

    /// What the brokers know this client as.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// How long a record may wait for its acknowledgement.
    pub fn delivery(&self) -> Duration {
        self.delivery
    }

    /// Further settings, by the names of librdkafka; some are secret.
    pub fn settings(&self) -> Vec<(String, String)> {
        let dotted = |name: &str| name.replace('_', ".");
        let open = self.settings.iter().map(|(name, value)| (dotted(name), value.clone()));
        let secret = self.secrets.iter().map(|(name, value)| (dotted(name), value.expose().trim().to_owned()));
        open.chain(secret).collect()
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
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
