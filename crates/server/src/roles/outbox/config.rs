//! What a relay is told: one TOML file, each key also an environment variable.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;
use steadfast_bus::kafka::{self, NewTopics};
use steadfast_host::auth;
use steadfast_host::config::duration;
use steadfast_outbox as outbox;

use crate::roles::database::Database;
use crate::roles::kafka::Kafka;

/// The configuration of the role.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    /// Where `/metrics`, `/healthz`, `/readyz` and, with `auth`, the dead letters are served.
    #[serde(default = "listen")]
    pub(crate) listen: String,
    /// What the relay is called in the lanes' leases, its own among those that share a database. One that starts again
    /// under its name takes its lanes back at once. Without it: the machine's name and `listen`.
    #[serde(default)]
    node: Option<String>,
    /// The databases whose outboxes are published, by name.
    pub(crate) databases: BTreeMap<String, Database>,
    /// Where they are published to.
    kafka: Kafka,
    /// What happens to topics.
    #[serde(default)]
    topics: Topics,
    /// Events of one batch of a bucket.
    #[serde(default = "batch")]
    batch: usize,
    /// The longest pause after nothing was found.
    #[serde(default = "poll", with = "duration")]
    poll: Duration,
    /// Attempts after which a refused event is a dead letter.
    #[serde(default = "max_attempts")]
    max_attempts: u32,
    /// How lanes are held.
    #[serde(default)]
    lease: Lease,
    /// Whose tokens open the dead letters; without it they are not served.
    #[serde(default)]
    pub(crate) auth: Option<auth::Config>,
    /// When old days are moved off; without it they stay.
    #[serde(default)]
    pub(crate) archive: Option<Archive>,
}

#[derive(Debug, Deserialize)]
struct Topics {
    /// Whether missing ones are made.
    #[serde(default = "yes")]
    create: bool,
    #[serde(default = "partitions")]
    partitions: u32,
    #[serde(default = "replication")]
    replication: u16,
    /// Those that are made and looked at when the relay starts, before their first event.
    #[serde(default)]
    expected: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Lease {
    /// How long a lane stays with a relay that gives no sign of life.
    #[serde(default = "lease", with = "duration")]
    time: Duration,
    /// How long a relay that is told to end waits for what is in flight.
    #[serde(default = "drain", with = "duration")]
    drain: Duration,
}

/// `[archive]`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Archive {
    /// Where the files go, in a folder for each database.
    pub(crate) folder: PathBuf,
    /// How long a day stays in the table after its end.
    #[serde(default = "keep", with = "duration")]
    pub(crate) keep: Duration,
    /// How often it is looked for one.
    #[serde(default = "every", with = "duration")]
    pub(crate) every: Duration,
}

impl Default for Topics {
    fn default() -> Self {
        Self { create: true, partitions: partitions(), replication: replication(), expected: vec![] }
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self { time: lease(), drain: drain() }
    }
}

fn listen() -> String {
    "127.0.0.1:7401".to_owned()
}

const fn yes() -> bool {
    true
}

const fn partitions() -> u32 {
    12
}

const fn replication() -> u16 {
    3
}

fn batch() -> usize {
    outbox::Config::default().batch
}

fn poll() -> Duration {
    outbox::Config::default().poll_last
}

fn max_attempts() -> u32 {
    outbox::Config::default().max_attempts
}

fn lease() -> Duration {
    outbox::Config::default().lease
}

fn drain() -> Duration {
    outbox::Config::default().drain
}

const fn keep() -> Duration {
    Duration::from_hours(7 * 24)
}

const fn every() -> Duration {
    Duration::from_hours(1)
}

/// A number that must lie between two others.
fn between<T: Copy + PartialOrd + std::fmt::Debug>(key: &str, value: T, least: T, most: T) -> Result<()> {
    if value < least || value > most {
        bail!("{key} is {value:?}: set it to {least:?} at least and {most:?} at most");
    }
    Ok(())
}

impl Config {
    /// Whether everything can be worked with, as far as it can be told without the servers.
    pub(crate) fn check(&self) -> Result<()> {
        if self.databases.is_empty() {
            bail!("databases is empty: name one, as [databases.shop] with its url");
        }
        for (name, database) in &self.databases {
            // It stands in metrics, in logs, in `ce_source` and as a folder's name.
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if !name.chars().all(legal) || name.starts_with('.') || name.len() > 64 {
                bail!("databases.{name} is no name: use up to 64 of letters, digits, '_', '-' and '.'");
            }
            database.check(&format!("databases.{name}"))?;
        }
        between("batch", self.batch, 1, 10_000)?;
        between("poll", self.poll, Duration::from_millis(1), Duration::from_mins(1))?;
        between("max_attempts", self.max_attempts, 1, 1_000_000)?;
        between("lease.time", self.lease.time, Duration::from_secs(2), Duration::from_mins(5))?;
        between("lease.drain", self.lease.drain, Duration::ZERO, Duration::from_mins(1))?;
        between("topics.partitions", self.topics.partitions, 1, 10_000)?;
        between("topics.replication", self.topics.replication, 1, 100)?;
        if let Some(archive) = &self.archive {
            between("archive.every", archive.every, Duration::from_secs(1), Duration::from_hours(24))?;
            if !archive.folder.is_dir() {
                bail!("archive.folder names {}, which is no folder: make it", archive.folder.display());
            }
        }
        Ok(())
    }

    /// How the relay works.
    pub(crate) fn relay(&self) -> outbox::Config {
        let machine = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        outbox::Config {
            node: self.node.clone().unwrap_or_else(|| format!("{}@{}", machine().trim(), self.listen)),
            batch: self.batch,
            poll_last: self.poll,
            max_attempts: self.max_attempts,
            lease: self.lease.time,
            drain: self.lease.drain,
            ..outbox::Config::default()
        }
    }

    /// How Kafka is reached, and what happens to missing topics.
    pub(crate) fn kafka(&self) -> Result<kafka::Config> {
        let Topics { create, partitions, replication, .. } = self.topics;
        self.kafka.client(if create { NewTopics::Create { partitions, replication } } else { NewTopics::Forbid })
    }

    /// The topics to make and to look at when the relay starts.
    pub(crate) fn expected(&self) -> Vec<String> {
        self.topics.expected.clone()
    }
}
