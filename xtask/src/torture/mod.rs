//! `cargo xtask torture`: real processes and real servers under faults that a seed deals out, then healed, then checked.
//!
//! What campaigns share: [`folder`] is where a run lives, [`ground`] what its world stands on, [`process`] its processes,
//! [`proxy`] the network between them, [`timeline`] when what goes wrong, [`report`] what came of it. A campaign (`saga`,
//! `outbox`, `idempotency`, `platform`) is a world of servers and processes, its faults, its load, and its checks.
//!
//! The same seed deals the same faults at the same moments and the same intents; what the scheduler makes of them differs
//! from run to run. So a failing run keeps its logs and its databases.

mod arguments;
mod folder;
pub(crate) mod ground;
pub(crate) mod http;
mod idempotency;
mod outbox;
mod platform;
mod process;
mod proxy;
mod report;
mod saga;
mod timeline;
pub(crate) mod token;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use self::arguments::{Arguments, Campaign};
use self::folder::Folder;
use self::report::Report;

/// Carries out `torture CAMPAIGN [OPTION]...`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let arguments = arguments::parse(arguments)?;
    let folder = Folder::take(root, arguments.campaign.name(), arguments.seed)?;
    let seconds = arguments.length.as_secs();
    say(&format!("torture {}: seed {}, {seconds} s of faults", arguments.campaign.name(), arguments.seed));
    let outcome = Runtime::new().context("starting the runtime")?.block_on(interruptible(&arguments, &folder));
    folder.stop_all()?;
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            folder.keep()?;
            say(&format!("the run broke off; its logs are in {}", folder.path().display()));
            return Err(error);
        }
    };
    for violation in report.violations() {
        say(&format!("VIOLATION {violation}"));
    }
    if report.violations().is_empty() {
        folder.remove()?;
    } else {
        folder.keep()?;
        say(&format!("logs and databases are kept in {}", folder.path().display()));
    }
    say(&report.summary());
    Ok(if report.violations().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A participant of the saga campaign, in a process of its own: not for people.
pub(crate) fn participant(arguments: &[String]) -> Result<ExitCode> {
    Runtime::new().context("starting the runtime")?.block_on(saga::participant::run(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn interruptible(arguments: &Arguments, folder: &Folder) -> Result<Report> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for ^C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for the end")?;
    let campaign = async {
        match arguments.campaign {
            Campaign::Saga => saga::run(arguments, folder).await,
            Campaign::Outbox => outbox::run(arguments, folder).await,
            Campaign::Idempotency => idempotency::run(arguments, folder).await,
            Campaign::Platform => platform::run(arguments, folder).await,
        }
    };
    tokio::select! {
        outcome = campaign => outcome,
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("told to end"),
    }
}

#[expect(clippy::print_stdout, reason = "a command of the terminal says what it does")]
fn say(line: &str) {
    println!("{line}");
}
