//! `goodgo-inventory`: the inventory service as a process of its own, beside any number of others over the same database.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use goodgo_inventory::{Error, NAME, Service, UPDATES};
use serde::Deserialize;
use steadfast::core::Clock;
use steadfast::db::Followed;
use steadfast::host::auth::{self, Verifier};
use steadfast::host::clock::System;
use steadfast::host::command::{self, Arguments, Log};
use steadfast::host::config::{Database, Secret};
use steadfast::host::health::Health;
use steadfast::host::process::{self, Running, every};
use steadfast::locking::{EtagKey, Etags, Quota};
use steadfast::outbox::Hint;
use steadfast::saga::participant::token;
use steadfast::service;
use tokio_util::sync::CancellationToken;

/// How often expired idempotency keys are removed.
const CLEANING: Duration = Duration::from_mins(1);

/// The inventory service of GoodGo.
#[derive(Debug, Parser)]
#[command(name = "goodgo-inventory", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until a signal. The database's tables are brought to the newest version.
    Serve(Arguments),
}

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
    /// Whose tokens it accepts from users.
    auth: auth::Config,
    /// The key that it shares with the orchestrator: at least 32 characters.
    call_key: Secret,
    /// What entity tags are signed with, the same in all replicas: at least 32 characters.
    etag_key: Secret,
    /// The name of that key, which stands in the tags; a new key has a new one.
    #[serde(default = "etag_kid")]
    etag_kid: String,
    /// How many updates one user may make a minute, of each process.
    #[serde(default = "updates")]
    updates_per_minute: u32,
}

fn listen() -> String {
    "127.0.0.1:7412".to_owned()
}

fn etag_kid() -> String {
    "1".to_owned()
}

const fn updates() -> u32 {
    UPDATES.burst
}

fn main() -> ExitCode {
    let Command::Serve(arguments) = Cli::parse().command;
    command::main("goodgo-inventory", serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<()> {
    let config: Config = arguments.load("GOODGO")?;
    config.log.begin()?;
    config.database.check("database")?;
    let time = Arc::new(Followed::new(Arc::new(System)));
    let clock = Arc::clone(&time) as Arc<dyn Clock>;
    let db = service::handle(&config.database, &format!("goodgo {NAME}"))?;
    let service = goodgo_inventory::Config {
        call_key: token::Key::new(config.call_key.expose().trim().as_bytes()).context("call_key")?,
        verifier: Verifier::from_config(&config.auth, Arc::clone(&clock))?,
        clock,
        // The relay is another process.
        hint: Hint::new(),
        etags: Etags::new(
            EtagKey::new(&config.etag_kid, config.etag_key.expose().trim().as_bytes()).context("etag_key")?,
        ),
        updates: Quota { burst: config.updates_per_minute, ..UPDATES },
    };
    if arguments.check {
        command::say("the configuration is in order");
        return Ok(());
    }
    let health = Health::new();
    service::show(&health, "database", &db);
    let open = async |stop: &CancellationToken| {
        db.answers().await?;
        time.set_by(&db).await?;
        let follow = Arc::clone(&time).follow(db.clone(), stop.clone());
        let service = Service::open(db.clone(), service.clone()).await?;
        let (cleaned, drained) = (service.clone(), service.clone());
        let clean = every(CLEANING, "removing expired idempotency keys", stop.clone(), move || {
            let service = cleaned.clone();
            async move { service.clean().await }
        });
        Ok::<_, Error>(
            Running::new(service.router()).beside(clean).beside(follow).at_end(async move { drained.drain().await }),
        )
    };
    process::run(NAME, &config.listen, health, open).await?;
    Ok(())
}
