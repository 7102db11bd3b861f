//! `goodgo-order serve`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use goodgo_order::{Error, Keys, NAME, Service, UPDATES};
use serde::Deserialize;
use steadfast::core::Clock;
use steadfast::db::Followed;
use steadfast::host::auth::{self, Verifier};
use steadfast::host::clock::System;
use steadfast::host::command::{self, Arguments, Log};
use steadfast::host::config::{Database, Secret};
use steadfast::host::health::Health;
use steadfast::host::process::{self, Running, every};
use steadfast::locking::Quota;
use steadfast::outbox::Hint;
use steadfast::saga::participant::token;
use steadfast::service;
use tokio_util::sync::CancellationToken;

/// How often expired idempotency keys are removed.
const CLEANING: Duration = Duration::from_mins(1);

/// What it is told: one TOML file, each key also an environment variable, `database.url` as `GOODGO_DATABASE__URL`.
#[derive(Debug, Deserialize)]
struct Config {
    /// Where the API, `/metrics`, `/healthz` and `/readyz` are served.
    #[serde(default = "listen")]
    listen: String,
    #[serde(default)]
    log: Log,
    /// The service's own database.
    database: Database,
    /// The database of the read model, which `goodgo-order project` feeds.
    read_model: Database,
    /// Where the orchestrator is, or what stands before several of them.
    orchestrator: String,
    /// Where users' keys are remembered: `database`, or the URLs of Redis, which may hold a password.
    #[serde(default = "keys")]
    keys: Secret,
    /// Whose tokens it accepts from users.
    auth: auth::Config,
    /// The key that it shares with the orchestrator: at least 32 characters.
    call_key: Secret,
    /// How many updates one user may make a minute, of each process.
    #[serde(default = "updates")]
    updates_per_minute: u32,
}

fn listen() -> String {
    "127.0.0.1:7410".to_owned()
}

fn keys() -> Secret {
    Secret::new("database")
}

const fn updates() -> u32 {
    UPDATES.burst
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let config: Config = arguments.load("GOODGO")?;
    config.log.begin()?;
    config.database.check("database")?;
    config.read_model.check("read_model")?;
    let time = Arc::new(Followed::new(Arc::new(System)));
    let clock = Arc::clone(&time) as Arc<dyn Clock>;
    let verifier = Verifier::from_config(&config.auth, Arc::clone(&clock))?;
    let call_key = token::Key::new(config.call_key.expose().trim().as_bytes()).context("call_key")?;
    let keys: Keys = config.keys.expose().trim().parse()?;
    let (db, read_model) = (
        service::handle(&config.database, "goodgo order")?,
        service::handle(&config.read_model, "goodgo order reads")?,
    );
    if arguments.check {
        command::say("the configuration is in order");
        return Ok(());
    }
    let health = Health::new();
    service::show(&health, "database", &db);
    service::show(&health, "read model", &read_model);
    let open = async |stop: &CancellationToken| {
        db.answers().await?;
        read_model.answers().await?;
        time.set_by(&db).await?;
        let follow = Arc::clone(&time).follow(db.clone(), stop.clone());
        let keys = keys.open(&db, Arc::clone(&clock)).await?;
        let service = goodgo_order::Config {
            call_key: call_key.clone(),
            verifier: verifier.clone(),
            clock: Arc::clone(&clock),
            // The relay is another process.
            hint: Hint::new(),
            updates: Quota { burst: config.updates_per_minute, ..UPDATES },
            orchestrator: config.orchestrator.clone(),
            keys: Arc::clone(&keys),
            read_model: read_model.clone(),
        };
        let service = Service::open(db.clone(), service).await?;
        // Only users' orders need it. All replicas share it: queries and the calls of sagas would find no better one.
        health.uses("keys", move || {
            let keys = Arc::clone(&keys);
            async move { keys.answers().await }
        });
        let (cleaned, drained) = (service.clone(), service.clone());
        let clean = every(CLEANING, "removing expired idempotency keys", stop.clone(), move || {
            let service = cleaned.clone();
            async move { service.clean().await }
        });
        Ok::<_, Error>(
            Running::new(service.router()).beside(clean).beside(follow).at_end(async move { drained.drain().await }),
        )
    };
    process::run(NAME, &config.listen, health.clone(), open).await?;
    Ok(())
}
