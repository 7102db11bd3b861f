//! `steadfast saga` and `steadfast definition`: what the API does, from a shell.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | it was done; with `--wait` and `watch`: the saga is completed |
//! | 1 | it was refused or failed; with `--wait` and `watch`: the saga ended otherwise, or has not ended in time |
//! | 2 | the command line, a file or the token is at fault: nothing was sent |
//! | 3 | no orchestrator could be reached, or its answer did not come |

mod act;
mod client;
mod definition;
mod event;
mod look;
mod start;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::print::Output;
use crate::{fault, print};
use client::Client;
use fault::Fault;

/// Where the orchestrator is, and how results look.
#[derive(Debug, Args)]
struct Common {
    /// An orchestrator's address.
    #[arg(long, global = true, env = "STEADFAST_URL", default_value = "http://127.0.0.1:7400", value_name = "URL")]
    url: String,
    /// A file that holds the bearer token; otherwise it is read from `STEADFAST_TOKEN`.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How results look on stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What `steadfast saga` is told.
#[derive(Debug, Args)]
pub(crate) struct SagaArguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Saga,
}

#[derive(Debug, Subcommand)]
enum Saga {
    /// Starts a saga; a repeat with the same key is the same saga.
    Start(start::Start),
    /// Lists sagas, newest first.
    List(look::List),
    /// Shows a saga with its steps and its history.
    Show(look::Show),
    /// Tells up to when participants may prune their barriers: the start of the oldest saga that is not over.
    Horizon,
    /// Follows a saga to its end, or all sagas of a node.
    Watch(watch::Watch),
    /// Gives all waiting and parked steps new budgets.
    Retry(act::Plain),
    /// Turns a saga back; refused past its commit point.
    Cancel(act::Plain),
    /// Sends nothing more until it is released.
    Hold(act::Plain),
    /// Lets a held saga go on.
    Release(act::Plain),
    /// Leaves a step out, or takes it as done.
    Skip(act::Skip),
    /// Says that what a parked step still owed was done by hand.
    Resolve(act::Resolve),
}

/// What `steadfast definition` is told.
#[derive(Debug, Args)]
pub(crate) struct DefinitionArguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: definition::Command,
}

/// Runs `steadfast saga`.
pub(crate) async fn saga(arguments: SagaArguments) -> ExitCode {
    let SagaArguments { common, command } = arguments;
    run(&common, command).await.unwrap_or_else(|fault| fault.end())
}

/// Runs `steadfast definition`.
pub(crate) async fn definition(arguments: DefinitionArguments) -> ExitCode {
    let DefinitionArguments { common, command } = arguments;
    let work = async { definition::run(&Client::new(&common)?, command, common.output).await };
    work.await.unwrap_or_else(|fault| fault.end())
}

async fn run(common: &Common, command: Saga) -> Result<ExitCode, Fault> {
    let (client, output) = (Client::new(common)?, common.output);
    match command {
        Saga::Start(start) => start::run(&client, start, output).await,
        Saga::List(list) => look::list(&client, &list, output).await,
        Saga::Show(show) => look::show(&client, &show, output).await,
        Saga::Horizon => look::horizon(&client, output).await,
        Saga::Watch(watch) => watch::run(&client, &watch, output).await,
        Saga::Retry(act) => act::plain(&client, "retry", act, output).await,
        Saga::Cancel(act) => act::plain(&client, "cancel", act, output).await,
        Saga::Hold(act) => act::plain(&client, "hold", act, output).await,
        Saga::Release(act) => act::plain(&client, "release", act, output).await,
        Saga::Skip(skip) => act::skip(&client, skip, output).await,
        Saga::Resolve(resolve) => act::resolve(&client, resolve, output).await,
    }
}
