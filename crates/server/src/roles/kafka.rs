//! The event log that a configuration names.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use steadfast_bus::kafka::{self, NewTopics, Reach};
use steadfast_host::config;

use super::missing::{Absence, Missing};

/// How long brokers may take to say that they are there.
const ANSWER: Duration = Duration::from_secs(2);

/// `[kafka]`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Kafka(pub(super) config::Kafka);

impl Kafka {
    /// What a client is told.
    pub(crate) fn client(&self, topics: NewTopics) -> Result<kafka::Config> {
        self.0.check()?;
        Ok(kafka::Config {
            client: self.0.client().to_owned(),
            delivery: self.0.delivery(),
            topics,
            settings: self.0.settings(),
            ..kafka::Config::new(self.0.brokers())
        })
    }
}

/// Says whether brokers answer, from now on.
pub(crate) fn watch(config: &kafka::Config) -> Result<Missing> {
    let reach = Reach::open(config).context("kafka")?;
    Ok(Missing::watched("kafka", move || {
        let reach = reach.clone();
        async move { reach.answers(ANSWER).await.map_err(|error| Absence::passing("no broker answers", &error)) }
    }))
}
