//! What operators do.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Ask, Client, segment};
use super::fault::Fault;
use super::start::read_json;
use super::{Output, print};

/// An act on a saga as a whole.
#[derive(Debug, Args)]
pub(super) struct Plain {
    /// The saga's id.
    id: String,
    /// Why; it stands in the journal.
    #[arg(long)]
    reason: String,
}

/// Which way a step is left behind.
#[derive(Debug, Args)]
pub(super) struct Skip {
    /// The saga's id.
    id: String,
    /// The step's name.
    step: String,
    /// Leaves it out: its compensation is sent first, so that a late action is refused.
    #[arg(long, required_unless_present = "assume_done", conflicts_with = "assume_done")]
    void: bool,
    /// Takes it as done with the output in this JSON file; `-` reads stdin.
    #[arg(long, value_name = "FILE")]
    assume_done: Option<PathBuf>,
    /// Why; it stands in the journal.
    #[arg(long)]
    reason: String,
}

/// What was done by hand.
#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// The saga's id.
    id: String,
    /// The step's name; without it, all parked steps.
    step: Option<String>,
    /// Says that it was done by hand; nothing is sent.
    #[arg(long, required = true)]
    by_hand: bool,
    /// Why; it stands in the journal.
    #[arg(long)]
    reason: String,
}

pub(super) async fn plain(client: &Client, act: &str, plain: Plain, output: Output) -> Result<ExitCode, Fault> {
    send(client, &plain.id, act, json!({ "reason": plain.reason }), output).await
}

pub(super) async fn skip(client: &Client, skip: Skip, output: Output) -> Result<ExitCode, Fault> {
    let mut body = json!({ "reason": skip.reason, "step": skip.step });
    if let Some(file) = &skip.assume_done {
        body["assume_done"] = read_json("--assume-done", file)?;
    }
    send(client, &skip.id, "skip", body, output).await
}

pub(super) async fn resolve(client: &Client, resolve: Resolve, output: Output) -> Result<ExitCode, Fault> {
    let mut body = json!({ "reason": resolve.reason });
    if let Some(step) = resolve.step {
        body["step"] = Value::from(step);
    }
    send(client, &resolve.id, "resolve", body, output).await
}

async fn send(client: &Client, id: &str, act: &str, body: Value, output: Output) -> Result<ExitCode, Fault> {
    let path = format!("/v1/sagas/{}/{act}", segment(id));
    let done = client.json(Ask::post(&path, body)).await.map_err(|fault| match fault {
        Fault::Unreachable(_) => fault.with("whether it was done is not known: it is safe to repeat"),
        other => other,
    })?;
    match output {
        Output::Json => print::say(&done.to_string()),
        Output::Id => print::say(&print::text(&done, "saga_id")),
        Output::Table => {
            let changed = if done["changed"] == json!(true) { "" } else { " (as it was before)" };
            print::say(&format!("{} {}{changed}", print::text(&done, "saga_id"), print::text(&done, "status")));
        }
    }
    Ok(ExitCode::SUCCESS)
}
