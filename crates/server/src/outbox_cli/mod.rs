//! `steadfast outbox`: the relay, and what operators do straight in the databases, with or without a relay.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | it was done; `verify` found nothing |
//! | 1 | it was refused or failed; `verify` found something |
//! | 2 | the command line or the configuration is at fault: nothing was done |
//! | 3 | a database cannot be worked with at present |

mod letters;
mod look;
mod place;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::roles::arguments;
use crate::roles::outbox;

/// What `steadfast outbox` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publishes the events of one or many databases to Kafka, beside any number of other relays.
    Relay(arguments::Arguments),
    /// How full each outbox is and how long its oldest event has waited.
    Status(look::Look),
    /// Proves that each aggregate's events are numbered 1, 2, 3 … without a gap. Reads everything.
    Verify(look::Look),
    /// Moves published days off into files of compressed JSON lines, and drops them.
    Archive(look::Archive),
    /// Events that Kafka refuses: each holds its aggregate back until it is taken, or given up.
    #[command(subcommand)]
    DeadLetter(letters::Command),
}

/// Runs `steadfast outbox`.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let done = match arguments.command {
        Command::Relay(arguments) => return outbox::relay(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Status(look) => look::status(&look).await,
        Command::Verify(look) => look::verify(&look).await,
        Command::Archive(archive) => look::archive(&archive).await,
        Command::DeadLetter(command) => letters::run(command).await,
    };
    Ok(done.unwrap_or_else(|fault| fault.end()))
}
