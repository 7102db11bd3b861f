//! `steadfast idempotency`: outcomes that nobody knows, and what an operator found out about them. It works in the store
//! itself, beside the services that use it.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | it was done |
//! | 1 | it was refused: no such record, or not in this state |
//! | 2 | the command line, a file or the store's address is at fault: nothing was done |
//! | 3 | the store cannot be worked with at present |

mod look;
mod place;
mod resolve;
mod view;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// What `steadfast idempotency` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists records whose outcome nobody knows: held, or left by a process that died.
    List(look::List),
    /// Shows one record, whatever its state: never its user or its answer's body.
    Show(look::Show),
    /// Says what became of a request whose outcome nobody knows.
    Resolve(resolve::Resolve),
}

/// Runs `steadfast idempotency`.
pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::List(list) => look::list(&list).await,
        Command::Show(show) => look::show(&show).await,
        Command::Resolve(resolve) => resolve::run(&resolve).await,
    };
    done.map_or_else(|fault| fault.end(), |()| ExitCode::SUCCESS)
}
