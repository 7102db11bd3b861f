//! A service with one route, `POST /charges`, that charges at most once for each `Idempotency-Key`, however often the
//! request is sent. What it charges is a row in PostgreSQL; where it keeps the keys is an option.
//!
//! ```sh
//! cargo run -p steadfast-idempotency --all-features --example charges -- \
//!     --ledger postgres://postgres@127.0.0.1:55432/postgres --keys redis --redis redis://127.0.0.1:16399
//! curl -si 127.0.0.1:8080/charges -H 'x-user: till-7' -H 'idempotency-key: receipt-1' \
//!     -H 'content-type: application/json' -d '{"reference": "receipt-1", "cents": 1250}'
//! ```
//!
//! The second time the same command shows the same answer, with `idempotency-replayed: true`. `cargo xtask torture
//! idempotency` runs this program, several times over each store, and kills what it can reach.

mod overwriting;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::middleware::from_fn;
use axum::routing::post;
use clap::{Parser, ValueEnum};
use steadfast_core::Clock;
use steadfast_db::postgres::{Db, Options};
use steadfast_db::{Line, Migration};
use steadfast_host::health::Health;
use steadfast_host::{clock, problem, serve, shutdown, telemetry};
use steadfast_idempotency::redis::{self, Redis, Wait};
use steadfast_idempotency::{Drain, IdempotencyLayer, OnAmbiguous, Postgres, Scope, Store, TransactionalLayer};

use self::overwriting::Overwriting;
use self::routes::{Shop, authenticate, charge, charge_in_one_commit};

/// The table of the charges.
const CHARGES: Line = Line {
    name: "charges",
    sqlite: &[],
    postgres: &[Migration { version: 1, name: "charge", sql: include_str!("0001_charge.sql") }],
};

/// Charges at most once for each key.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The database of the charges.
    #[arg(long, value_name = "postgres://…", env = "CHARGES_LEDGER", hide_env_values = true)]
    ledger: String,
    /// Where the keys are kept.
    #[arg(long, value_enum, default_value_t = Keys::Transactional)]
    keys: Keys,
    /// Redis, or several nodes of a cluster.
    #[arg(long, value_name = "redis://…", env = "CHARGES_REDIS", hide_env_values = true, value_delimiter = ',')]
    redis: Vec<String>,
    /// So many replicas must have a claim before it is executed.
    #[arg(long)]
    wait: Option<u32>,
    /// Executes again what a process that died may have executed, instead of holding it until somebody has looked.
    #[arg(long)]
    retry: bool,
    /// How long the claim of a process that died stands, in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    lease: u64,
    /// How long a charge takes, in milliseconds: it stands for a call to a card network.
    #[arg(long, default_value_t = 0)]
    takes: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Keys {
    /// In the transaction of the charge: the form for money.
    Transactional,
    /// Beside the charges, claimed before and completed after.
    Postgres,
    /// In Redis, claimed before and completed after.
    Redis,
    /// In one Redis, by a store whose late finishers overwrite what stands there.
    #[value(hide = true)]
    Overwriting,
    /// Nowhere: every repeat charges again.
    #[value(hide = true)]
    Nowhere,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    telemetry::init(telemetry::Format::Json, "info")?;
    let stop = shutdown::on_signal()?;
    let options = Options { application_name: "charges".to_owned(), ..Options::default() };
    let ledger = Db::open(&arguments.ledger.clone().into(), options).await.context("--ledger")?;
    steadfast_db::migrate(&ledger, &steadfast_idempotency::LINE).await?;
    steadfast_db::migrate(&ledger, &CHARGES).await?;

    let drain = Drain::new();
    let charges = guarded(&arguments, &ledger, &drain).await?;
    let state = Shop { ledger, takes: Duration::from_millis(arguments.takes) };
    let router = charges.layer(from_fn(authenticate)).with_state(state).merge(Health::new().router());
    let listener = serve::bind(&arguments.listen.to_string(), "--listen").await?;
    serve::serve(listener, problem::with_fallbacks(router), serve::Limits::default(), stop).await?;
    // Clients that have gone away do not end what was begun for them.
    drain.wait().await;
    Ok(())
}

/// The route behind the layer that was asked for.
async fn guarded(arguments: &Arguments, ledger: &Db, drain: &Drain) -> Result<Router<Shop>> {
    let clock: Arc<dyn Clock> = Arc::new(clock::System);
    let store: Arc<dyn Store> = match arguments.keys {
        Keys::Transactional => {
            let layer = TransactionalLayer::new(ledger.clone(), clock, scope()).drain(drain);
            return Ok(Router::new().route("/charges", post(charge_in_one_commit)).layer(layer));
        }
        Keys::Nowhere => return Ok(Router::new().route("/charges", post(charge))),
        Keys::Postgres => Arc::new(Postgres::new(ledger.clone())),
        Keys::Redis => Arc::new(open_redis(arguments, clock).await?),
        Keys::Overwriting => {
            let [url] = arguments.redis.as_slice() else { anyhow::bail!("--keys overwriting needs one --redis") };
            Arc::new(Overwriting::over(open_redis(arguments, clock).await?, url).await.context("--redis")?)
        }
    };
    let on_ambiguous = if arguments.retry { OnAmbiguous::Retry } else { OnAmbiguous::Hold };
    let layer = IdempotencyLayer::new(store, scope())
        .on_ambiguous(on_ambiguous)
        .lease(Duration::from_millis(arguments.lease))
        .drain(drain);
    Ok(Router::new().route("/charges", post(charge)).layer(layer))
}

fn scope() -> Scope {
    Scope::new("POST /charges")
}

async fn open_redis(arguments: &Arguments, clock: Arc<dyn Clock>) -> Result<Redis> {
    let wait = arguments.wait.map(|replicas| Wait { replicas, limit: Duration::from_millis(100) });
    let options = redis::Options { wait, ..redis::Options::default() };
    let urls: Vec<_> = arguments.redis.iter().map(|url| url.clone().into()).collect();
    match urls.as_slice() {
        [] => anyhow::bail!("--keys redis needs --redis: name a server, or several nodes of a cluster"),
        [url] => Redis::open(url, clock, options).await,
        urls => Redis::open_cluster(urls, clock, options).await,
    }
    .context("--redis")
}
