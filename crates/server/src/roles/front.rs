//! What a client is told of a platform that runs in processes of its own, such as the one of `cargo xtask platform up`: its
//! front door, and, for who checks and measures, its databases, its log and its replicas. No process's own configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use goodgo_pos::check::{EventLog, Stores, topics};
use goodgo_pos::client::{Client, Limits, Request};
use goodgo_pos::replay::{self, Mint};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use steadfast_bus::kafka::{NewTopics, Reach};
use steadfast_db::postgres::Db;
use steadfast_host::auth::Minter;
use steadfast_host::clock::System;
use steadfast_host::config::Secret;

use super::arguments::source;
use super::database::Database;
use super::kafka::Kafka;

/// Longer than any run: it must not fail for a token's age.
const LIFETIME: Duration = Duration::from_hours(24);
/// How long somebody may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(5);
/// What the databases know the client as.
const OPERATOR: &str = "client";

/// The file.
#[derive(Debug, Deserialize)]
pub(crate) struct Front {
    /// One address for each service, however many replicas it has.
    #[serde(rename = "front")]
    pub(crate) doors: Doors,
    /// Where each replica serves `/readyz` and `/metrics` by itself, by service.
    #[serde(default)]
    pub(crate) replicas: BTreeMap<String, Vec<String>>,
    /// The databases, for who may read them all.
    databases: Databases,
    kafka: Kafka,
    /// Where idempotency keys of orders are kept.
    #[serde(default, rename = "redis")]
    _redis: IgnoredAny,
    tokens: Tokens,
}

/// `[front]`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Doors {
    pub(crate) order: String,
    pub(crate) payment: String,
    pub(crate) inventory: String,
    pub(crate) orchestrator: String,
}

/// `[databases]`.
#[derive(Debug, Deserialize)]
struct Databases {
    order: Database,
    payment: Database,
    inventory: Database,
    orchestrator: Database,
    read_model: Database,
}

/// `[tokens]`: what users' tokens are signed with.
#[derive(Debug, Deserialize)]
struct Tokens {
    issuer: String,
    audience: String,
    kid: String,
    /// At least 32 bytes, shared with the services.
    secret: Secret,
}

/// Handles on the databases.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) order: Db,
    pub(crate) payment: Db,
    pub(crate) inventory: Db,
    pub(crate) orchestrator: Db,
    pub(crate) read_model: Db,
}

impl Front {
    /// Reads file and environment, and asks everybody who is named there whether he is there.
    pub(crate) async fn open(path: &Path) -> Result<(Self, Opened)> {
        let front: Self = source(Some(path))?.load()?.value;
        front.answers().await?;
        let databases = &front.databases;
        let opened = Opened {
            order: open(&databases.order, "databases.order").await?,
            payment: open(&databases.payment, "databases.payment").await?,
            inventory: open(&databases.inventory, "databases.inventory").await?,
            orchestrator: open(&databases.orchestrator, "databases.orchestrator").await?,
            read_model: open(&databases.read_model, "databases.read_model").await?,
        };
        let reach = Reach::open(&front.kafka.client(NewTopics::Forbid)?).context("kafka")?;
        reach.answers(ANSWER).await.context("kafka.brokers")?;
        Ok((front, opened))
    }

    async fn answers(&self) -> Result<()> {
        let client = Client::new(Limits { time: ANSWER, ..Limits::default() });
        let Doors { order, payment, inventory, orchestrator } = &self.doors;
        for (name, base) in
            [("order", order), ("payment", payment), ("inventory", inventory), ("orchestrator", orchestrator)]
        {
            let way_out = "is the platform up? `cargo xtask platform status` tells";
            let asked = client.send(&Request::get(base, "/readyz")).await;
            let answer = asked.with_context(|| format!("front.{name} ({base}) does not answer: {way_out}"))?;
            if !answer.status.is_success() {
                bail!("front.{name} ({base}) is not ready ({}): {way_out}", answer.status);
            }
        }
        Ok(())
    }

    /// Base URLs of the services.
    pub(crate) fn addresses(&self) -> replay::Addresses {
        let Doors { order, payment, inventory, .. } = self.doors.clone();
        replay::Addresses { order, payment, inventory }
    }

    /// Makes tokens with these permissions.
    pub(crate) fn mint(&self, permissions: &'static [&'static str]) -> Result<Mint> {
        let Tokens { issuer, audience, kid, secret } = &self.tokens;
        let secret = secret.expose().trim_end_matches(['\r', '\n']).as_bytes();
        let minter = Minter::new(kid, secret, issuer, audience, Arc::new(System)).context("tokens")?;
        Ok(Arc::new(move |user| minter.mint(user, permissions.iter().copied(), LIFETIME)))
    }

    /// What the check reads.
    pub(crate) fn stores(&self, opened: &Opened) -> Result<Stores> {
        Ok(Stores {
            order: (&opened.order).into(),
            payment: (&opened.payment).into(),
            inventory: (&opened.inventory).into(),
            orchestrator: (&opened.orchestrator).into(),
            log: EventLog::Kafka { config: self.kafka.client(NewTopics::Forbid)?, topics: topics() },
            read_model: (&opened.read_model).into(),
        })
    }

    /// The server of the databases, for a measurement that makes its own there.
    pub(crate) fn postgres(&self) -> String {
        server_of(self.databases.orchestrator.0.url().expose_secret()).to_owned()
    }

    /// The password of that server's user, where it is not left to the environment.
    pub(crate) fn password(&self) -> Option<SecretString> {
        self.databases.orchestrator.0.password()
    }

    /// Kafka's brokers, separated by commas.
    pub(crate) fn brokers(&self) -> String {
        self.kafka.0.brokers()
    }

    /// Resident memory of each replica in MiB, as itself says it; those that do not answer are left out.
    pub(crate) async fn memory(&self) -> BTreeMap<String, f64> {
        let services: Vec<&str> = self.replicas.keys().map(String::as_str).collect();
        self.memory_of(&services).await
    }

    /// The same of the replicas of these services.
    pub(crate) async fn memory_of(&self, services: &[&str]) -> BTreeMap<String, f64> {
        let client = Client::new(Limits { time: ANSWER, ..Limits::default() });
        let mut found = BTreeMap::new();
        let of = self.replicas.iter().filter(|(service, _)| services.contains(&service.as_str()));
        for (service, replicas) in of {
            for address in replicas {
                let asked = client.send(&Request::get(&format!("http://{address}"), "/metrics")).await;
                let resident = asked.ok().and_then(|answer| gauge(&answer.body, "process_resident_memory_bytes"));
                if let Some(bytes) = resident {
                    found.insert(format!("{service} {address}"), bytes / 1_048_576.0);
                }
            }
        }
        found
    }
}

async fn open(database: &Database, place: &str) -> Result<Db> {
    database.check(place)?;
    database.probe(OPERATOR)?.answers().await.with_context(|| place.to_owned())?;
    Ok(database.handle(OPERATOR)?)
}

/// A database's URL without its database.
fn server_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url.get(host..).and_then(|rest| rest.find(['/', '?'])).and_then(|at| url.get(..host + at)).unwrap_or(url)
}

/// The value of a metric without labels.
fn gauge(text: &[u8], name: &str) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_platform_is_read_whole() {
        let text = include_str!("../../../../goodgo/production.toml");
        // The key is made when the platform starts.
        let text = text.replace("secret = { file = \"target/platform/keys/users\" }", "");
        let source = steadfast_host::config::Source::new().text("production.toml", &text).unwrap();
        let variables = [("STEADFAST_TOKENS__SECRET".to_owned(), "0123456789abcdef0123456789abcdef\n".to_owned())];
        let front: Front = source.environment("STEADFAST", variables, &[]).unwrap().load().unwrap().value;
        assert!(front.doors.order.starts_with("http://"));
        assert_eq!(front.replicas["order"].len(), 3);
        let token = front.mint(&["order.place"]).unwrap()("till-1");
        assert_eq!(token.split('.').count(), 3);
        assert!(!format!("{front:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn a_server_is_what_stands_before_its_database() {
        for url in ["postgres://a@h:1/shop?sslmode=disable", "postgres://a@h:1/shop", "postgres://a@h:1"] {
            assert_eq!(server_of(url), "postgres://a@h:1");
        }
    }

    #[test]
    fn a_gauge_is_a_whole_name_and_a_number() {
        let text = b"# HELP a b\na_total 7\na 3.5\n";
        assert_eq!(gauge(text, "a"), Some(3.5));
        assert_eq!(gauge(text, "b"), None);
    }
}
