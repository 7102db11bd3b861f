//! `goodgo-order project`: the events of all services, out of Kafka into the read model. Several share the partitions.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use goodgo_order::read_model;
use serde::Deserialize;
use steadfast::bus::kafka::{self, Member, NewTopics, Reach};
use steadfast::bus::{Start, Topics};
use steadfast::core::Clock;
use steadfast::db::{Followed, migrate};
use steadfast::host::clock::System;
use steadfast::host::command::{self, Arguments, Log};
use steadfast::host::config::{Database, Kafka};
use steadfast::host::health::Health;
use steadfast::host::process::{self, Running};
use steadfast::projection::auditor::Auditor;
use steadfast::projection::{self, Error, Projection, Runner, Together};
use steadfast::service;
use tokio_util::sync::CancellationToken;

/// The projections' checkpoint and their consumer group.
const NAME: &str = "goodgo";
/// How long brokers may take to say that they are there.
const ANSWER: Duration = Duration::from_secs(2);
/// How often the consistency rate is brought up to date.
const AUDIT: Duration = Duration::from_secs(5);

/// What it is told: one TOML file, each key also an environment variable, `database.url` as `GOODGO_DATABASE__URL`.
#[derive(Debug, Deserialize)]
struct Config {
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[serde(default = "listen")]
    listen: String,
    #[serde(default)]
    log: Log,
    /// The database of the read model.
    database: Database,
    /// Where events come from. All topics are read, so that every saga's events are seen.
    kafka: Kafka,
    /// The consumer group.
    #[serde(default = "group")]
    group: String,
    /// The most events of one transaction.
    #[serde(default = "batch")]
    batch: usize,
}

fn listen() -> String {
    "127.0.0.1:7413".to_owned()
}

fn group() -> String {
    NAME.to_owned()
}

fn batch() -> usize {
    projection::Config::default().batch
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let config: Config = arguments.load("GOODGO")?;
    config.log.begin()?;
    config.database.check("database")?;
    config.kafka.check()?;
    let brokers = kafka::Config {
        client: config.kafka.client().to_owned(),
        delivery: config.kafka.delivery(),
        topics: NewTopics::Forbid,
        settings: config.kafka.settings(),
        ..kafka::Config::new(config.kafka.brokers())
    };
    let join = || Member::join(&brokers, &config.group, Topics::All, Start::Beginning);
    // Settings that the client refuses are told now.
    drop(join().context("kafka")?);
    let db = service::handle(&config.database, "goodgo projector")?;
    if arguments.check {
        command::say("the configuration is in order");
        return Ok(());
    }
    let health = Health::new();
    service::show(&health, "database", &db);
    health.needs("kafka", {
        let reach = Reach::open(&brokers).context("kafka")?;
        move || {
            let reach = reach.clone();
            async move { reach.answers(ANSWER).await }
        }
    });
    let time = Arc::new(Followed::new(Arc::new(System)));
    let clock = Arc::clone(&time) as Arc<dyn Clock>;
    let open = async |stop: &CancellationToken| {
        db.answers().await?;
        time.set_by(&db).await?;
        let follow = Arc::clone(&time).follow(db.clone(), stop.clone());
        migrate(&db, &read_model::LINE).await?;
        let auditor = Arc::new(Auditor::new(Arc::clone(&clock)));
        let mut members = read_model::members();
        members.push(Arc::clone(&auditor) as Arc<dyn Projection<sqlx::Postgres>>);
        let together = Arc::new(Together::new(NAME, members));
        let settings = projection::Config { batch: config.batch, ..projection::Config::default() };
        let runner = Runner::open(db.clone(), together, Box::new(join()?), Arc::clone(&clock), settings).await?;
        let (status, clock) = (runner.status(), Arc::clone(&clock));
        health.check("projection", Duration::from_secs(1), move || {
            let now = clock.now();
            let stuck = status.stuck_since(now);
            let why = move |since| format!("it has not moved for {} s: the log says why", now.since(since).as_secs());
            async move { stuck.map_or(Ok(()), |since| Err(why(since))) }
        });
        let (read, watched) = (db.clone(), stop.clone());
        let audit = async move { auditor.watch(&read, AUDIT, watched).await };
        Ok::<_, Error>(Running::new(Router::new()).beside(runner.run(stop.clone())).beside(audit).beside(follow))
    };
    process::run("projector", &config.listen, health.clone(), open).await?;
    Ok(())
}
