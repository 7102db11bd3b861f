//! What a projector is told: one TOML file, each key also an environment variable.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use steadfast_bus::Start;
use steadfast_bus::kafka::{self, NewTopics};
use steadfast_host::config::duration;
use steadfast_projection as projection;
use steadfast_projection::ordering::GapPolicy;

use crate::roles::database::Database;
use crate::roles::kafka::Kafka;

/// The configuration of the role.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[serde(default = "listen")]
    pub(crate) listen: String,
    /// YAML files, each one projection: paths, with `*` where several are meant. Relative ones begin at the folder that the
    /// process runs in.
    projections: Vec<String>,
    /// The read database, in PostgreSQL…
    #[serde(default)]
    pub(crate) database: Option<Database>,
    /// …or a file of SQLite.
    #[serde(default)]
    pub(crate) sqlite: Option<PathBuf>,
    /// Where events come from.
    kafka: Kafka,
    /// The topics that are read, with `*` where several are meant: all types of all aggregates that the projections name.
    /// Without it: those that begin with an aggregate's type and a dot.
    #[serde(default)]
    pub(crate) topics: Vec<String>,
    /// What the consumer groups' names begin with; a dot and the projection's name follow.
    #[serde(default = "group")]
    pub(crate) group: String,
    /// Where a projection begins that has no checkpoint: `beginning` or `end`.
    #[serde(default)]
    start: Beginning,
    /// The most events of one transaction.
    #[serde(default = "batch")]
    batch: usize,
    /// What happens to numbers that do not come.
    #[serde(default)]
    gaps: Gaps,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Beginning {
    #[default]
    Beginning,
    End,
}

#[derive(Debug, Deserialize)]
struct Gaps {
    #[serde(default)]
    policy: Policy,
    /// How long a number may be missing.
    #[serde(default = "after", with = "duration")]
    after: Duration,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    Wait,
    #[default]
    Alarm,
    Skip,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { policy: Policy::default(), after: after() }
    }
}

fn listen() -> String {
    "127.0.0.1:7402".to_owned()
}

fn group() -> String {
    "steadfast".to_owned()
}

fn batch() -> usize {
    projection::Config::default().batch
}

const fn after() -> Duration {
    Duration::from_mins(1)
}

/// The read database that a configuration names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read<'a> {
    Postgres(&'a Database),
    Sqlite(&'a Path),
}

/// One of the two.
pub(crate) fn read<'a>(database: Option<&'a Database>, sqlite: Option<&'a Path>) -> Result<Read<'a>> {
    match (database, sqlite) {
        (Some(_), Some(_)) => bail!("both `database` and `sqlite` are set: there is one read database; take one out"),
        (None, None) => bail!("the read database is missing: set database.url (PostgreSQL) or sqlite (a file)"),
        (Some(database), None) => {
            database.check("database")?;
            Ok(Read::Postgres(database))
        }
        (None, Some(path)) => Ok(Read::Sqlite(path)),
    }
}

impl Config {
    /// The read database.
    pub(crate) fn read(&self) -> Result<Read<'_>> {
        read(self.database.as_ref(), self.sqlite.as_deref())
    }

    /// How Kafka is reached. No topic is ever made by who reads it.
    pub(crate) fn kafka(&self) -> Result<kafka::Config> {
        self.kafka.client(NewTopics::Forbid)
    }

    /// Where a projection begins.
    pub(crate) fn start(&self) -> Start {
        match self.start {
            Beginning::Beginning => Start::Beginning,
            Beginning::End => Start::End,
        }
    }

    /// How each projection works.
    pub(crate) fn runner(&self) -> Result<projection::Config> {
        if !(1..=100_000).contains(&self.batch) {
            bail!("batch is {}: set it to 1 at least and 100000 at most", self.batch);
        }
        let after = self.gaps.after;
        let gaps = match self.gaps.policy {
            Policy::Wait => GapPolicy::Wait,
            Policy::Alarm => GapPolicy::Alarm { after },
            Policy::Skip => GapPolicy::Skip { after },
        };
        Ok(projection::Config { batch: self.batch, gaps, ..projection::Config::default() })
    }

    /// The files of the projections, in order.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for (index, pattern) in self.projections.iter().enumerate() {
            let place = || format!("projections[{index}] is {pattern:?}");
            let found = glob::glob(pattern).with_context(|| format!("{}, which is no pattern", place()))?;
            let before = files.len();
            for path in found {
                let path = path.with_context(place)?;
                if path.is_file() {
                    files.push(path);
                }
            }
            if files.len() == before {
                bail!("{}: there is no such file; paths begin at the folder that this runs in", place());
            }
        }
        if files.is_empty() {
            bail!("projections is empty: name YAML files, such as [\"projections/*.yaml\"]");
        }
        files.sort();
        files.dedup();
        Ok(files)
    }
}
