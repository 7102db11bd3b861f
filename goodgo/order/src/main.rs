//! `goodgo-order`: the order service as a process of its own, and the projector of its read model as another; any number of
//! each over the same databases.

#[path = "process/project.rs"]
mod project;
#[path = "process/serve.rs"]
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use steadfast::host::command::{self, Arguments};

/// The order service of GoodGo.
#[derive(Debug, Parser)]
#[command(name = "goodgo-order", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until a signal. The databases' tables are brought to the newest version.
    Serve(Arguments),
    /// Makes the read model of the events in Kafka until a signal.
    Project(Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => command::main("goodgo-order serve", serve::run(arguments)),
        Command::Project(arguments) => command::main("goodgo-order project", project::run(arguments)),
    }
}
