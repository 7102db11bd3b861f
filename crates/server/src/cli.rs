//! The command line: data on stdout, talk on stderr. Exit codes: 0 ok, 1 failed, 2 usage.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use steadfast_host::telemetry;

use crate::bench;
use crate::idempotency_cli;
#[cfg(feature = "kafka")]
use crate::outbox_cli;
#[cfg(feature = "kafka")]
use crate::projection_cli;
use crate::roles::arguments;
#[cfg(feature = "demo")]
use crate::roles::demo;
#[cfg(feature = "postgres")]
use crate::roles::migrate;
use crate::roles::orchestrator;
#[cfg(feature = "kafka")]
use crate::roles::projector;
use crate::saga_cli;

/// Data consistency for microservices: sagas, a transactional outbox, idempotency, optimistic locking and projections.
#[derive(Debug, Parser)]
#[command(name = "steadfast", version, arg_required_else_help = true)]
struct Cli {
    /// What is logged to stderr, such as `info` or `warn,steadfast_saga=debug`.
    #[arg(long, global = true, env = "STEADFAST_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
    /// Logs as one JSON object a line.
    #[arg(long, global = true, env = "STEADFAST_LOG_JSON")]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a whole point-of-sale platform on real invoices, injects faults, and checks that everything adds up.
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
    /// Accepts sagas over HTTP and runs them to their end, beside any number of others over one database.
    Orchestrator(arguments::Arguments),
    /// Makes or renews tables in PostgreSQL, or prints their statements.
    #[cfg(feature = "postgres")]
    Migrate(migrate::Arguments),
    /// Starts, finds, follows and mends sagas.
    Saga(saga_cli::SagaArguments),
    /// Uploads and shows what sagas run.
    Definition(saga_cli::DefinitionArguments),
    /// Publishes outboxes to Kafka, and what operators do with them.
    #[cfg(feature = "kafka")]
    Outbox(outbox_cli::Arguments),
    /// Publishes outboxes to Kafka (not in this build).
    #[cfg(not(feature = "kafka"))]
    Outbox(Anything),
    /// Feeds read models from Kafka, each by a YAML file.
    #[cfg(feature = "kafka")]
    Projector(projector::Arguments),
    /// Feeds read models from Kafka (not in this build).
    #[cfg(not(feature = "kafka"))]
    Projector(Anything),
    /// Events that a projection could not apply: shown, tried again, given up.
    #[cfg(feature = "kafka")]
    Projection(projection_cli::Arguments),
    /// Events that a projection could not apply (not in this build).
    #[cfg(not(feature = "kafka"))]
    Projection(Anything),
    /// Requests whose outcome nobody knows: found, shown, resolved.
    Idempotency(idempotency_cli::Arguments),
    /// Measures beside the limit, in one run.
    #[command(subcommand)]
    Bench(Bench),
    /// Orchestrator, relay and projector of a demo in a process of their own; the demo starts and kills it.
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    DemoNode(demo::NodeArguments),
}

/// What a command that this build lacks is told.
#[cfg(not(all(feature = "demo", feature = "kafka")))]
#[derive(Debug, clap::Args)]
struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Sagas a second, beside the same calls with no orchestrator and with a mere relay.
    Saga(bench::saga::Arguments),
    /// Idempotency checks, the layer and the transactional form, each beside what it is put on.
    Idempotency(bench::idempotency::Arguments),
    /// Edits beside the bare statement; the hot-row lane beside what is done without one.
    #[cfg(feature = "postgres")]
    Lock(bench::lock::Arguments),
    /// Edits and the hot-row lane beside what is done without them (not in this build).
    #[cfg(not(feature = "postgres"))]
    Lock(Anything),
    /// Events a second from an outbox to Kafka, beside a bare producer and a bare mark; latency; what writers pay.
    #[cfg(feature = "kafka")]
    Outbox(bench::outbox::Arguments),
    /// Events a second from an outbox to Kafka (not in this build).
    #[cfg(not(feature = "kafka"))]
    Outbox(Anything),
    /// Orders a second through a platform that runs already, latencies, and the six figures that were asked for.
    #[cfg(all(feature = "demo", feature = "kafka"))]
    Platform(bench::platform::Arguments),
    /// Orders a second through a platform that runs already (not in this build).
    #[cfg(not(all(feature = "demo", feature = "kafka")))]
    Platform(Anything),
    /// Events a second from Kafka into a read model, beside upserts by hand; latency.
    #[cfg(feature = "kafka")]
    Projection(bench::projection::Arguments),
    /// Events a second from Kafka into a read model (not in this build).
    #[cfg(not(feature = "kafka"))]
    Projection(Anything),
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// A line of what the command was asked for.
#[expect(clippy::print_stdout, reason = "this is where a command's result goes")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// One line with all causes.
#[expect(clippy::print_stderr, reason = "this is where a command's error goes")]
fn complain(error: &anyhow::Error) {
    eprintln!("steadfast: {error:#}");
}

fn run(cli: Cli) -> Result<ExitCode> {
    let format = if cli.log_json { telemetry::Format::Json } else { telemetry::Format::Human };
    telemetry::init(format, &cli.log).context("--log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        match cli.command {
            #[cfg(feature = "demo")]
            Command::Demo(arguments) => demo::run(arguments).await,
            #[cfg(feature = "demo")]
            Command::DemoNode(arguments) => demo::run_node(arguments).await.map(|()| ExitCode::SUCCESS),
            Command::Orchestrator(arguments) => orchestrator::run(arguments).await.map(|()| ExitCode::SUCCESS),
            #[cfg(feature = "postgres")]
            Command::Migrate(arguments) => migrate::run(arguments).await.map(|()| ExitCode::SUCCESS),
            Command::Saga(arguments) => Ok(saga_cli::saga(arguments).await),
            Command::Definition(arguments) => Ok(saga_cli::definition(arguments).await),
            #[cfg(feature = "kafka")]
            Command::Outbox(arguments) => outbox_cli::run(arguments).await,
            #[cfg(feature = "kafka")]
            Command::Projector(arguments) => projector::run(arguments).await,
            #[cfg(feature = "kafka")]
            Command::Projection(arguments) => Ok(projection_cli::run(arguments).await),
            #[cfg(not(feature = "kafka"))]
            Command::Outbox(_) | Command::Projector(_) | Command::Projection(_) => {
                anyhow::bail!("this build lacks Kafka: build it with `--features kafka`")
            }
            Command::Idempotency(arguments) => Ok(idempotency_cli::run(arguments).await),
            Command::Bench(bench) => measure(bench).await.map(|()| ExitCode::SUCCESS),
        }
    })
}

async fn measure(bench: Bench) -> Result<()> {
    match bench {
        Bench::Saga(arguments) => bench::saga::run(arguments).await,
        Bench::Idempotency(arguments) => bench::idempotency::run(arguments).await,
        #[cfg(feature = "postgres")]
        Bench::Lock(arguments) => bench::lock::run(arguments).await,
        #[cfg(not(feature = "postgres"))]
        Bench::Lock(_) => anyhow::bail!("this build lacks PostgreSQL: build it with `--features postgres`"),
        #[cfg(feature = "kafka")]
        Bench::Outbox(arguments) => bench::outbox::run(arguments).await,
        #[cfg(all(feature = "demo", feature = "kafka"))]
        Bench::Platform(arguments) => bench::platform::run(arguments).await,
        #[cfg(not(all(feature = "demo", feature = "kafka")))]
        Bench::Platform(_) => anyhow::bail!("this build lacks GoodGo or Kafka: build it with `--features demo,kafka`"),
        #[cfg(feature = "kafka")]
        Bench::Projection(arguments) => bench::projection::run(arguments).await,
        #[cfg(not(feature = "kafka"))]
        Bench::Outbox(_) | Bench::Projection(_) => {
            anyhow::bail!("this build lacks Kafka: build it with `--features kafka`")
        }
    }
}
