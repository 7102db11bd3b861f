//! Starting a saga.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use steadfast_core::{Clock, SagaId, header};
use steadfast_host::clock::System;
use tokio::time::{Instant, sleep};

use super::client::{Ask, Client, segment};
use super::fault::Fault;
use super::{Output, print};

/// No orchestrator waits longer than this in one request.
const WAIT_AT_ONCE: u64 = 25;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is started.
#[derive(Debug, Args)]
pub(super) struct Start {
    /// The definition's name.
    definition: String,
    /// The input, a JSON file; `-` reads stdin.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Which version; the newest where it is left out.
    #[arg(long)]
    version: Option<u32>,
    /// What makes a repeat the same saga; made and printed where it is left out.
    #[arg(long)]
    key: Option<String>,
    /// Waits so many seconds for its end.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
    wait: Option<u64>,
}

pub(super) async fn run(client: &Client, start: Start, output: Output) -> Result<ExitCode, Fault> {
    let input = read_json("--input", &start.input)?;
    let key = start.key.unwrap_or_else(|| {
        let key = fresh_key();
        print::talk(&format!("key {key}"));
        key
    });
    let mut body = json!({ "input": input });
    if let Some(version) = start.version {
        body["version"] = Value::from(version);
    }
    let path = format!("/v1/sagas/{}", segment(&start.definition));
    let mut ask = Ask::post(&path, body).header(header::IDEMPOTENCY_KEY, &key)?;
    let limit = start.wait.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    if let Some(seconds) = start.wait {
        ask = ask.header("prefer", &format!("wait={}", seconds.min(WAIT_AT_ONCE)))?;
    }
    let started = client.json(ask).await.map_err(|fault| match fault {
        Fault::Unreachable(_) => fault.with(&format!("it is safe to repeat with --key {key}")),
        other => other,
    })?;
    let id = print::text(&started, "saga_id");
    let ended = match limit {
        Some(limit) => settle(client, &id, started, limit).await?,
        None => started,
    };
    tell(&ended, output);
    let status = print::text(&ended, "status");
    Ok(if limit.is_none() { ExitCode::SUCCESS } else { verdict(&id, &status) })
}

/// Asks again until the saga rests, or the time is up.
async fn settle(client: &Client, id: &str, started: Value, limit: Instant) -> Result<Value, Fault> {
    let mut last = started;
    let path = format!("/v1/sagas/{}", segment(id));
    while !rests(&print::text(&last, "status")) && Instant::now() < limit {
        sleep(LOOK_EVERY.min(limit.saturating_duration_since(Instant::now()))).await;
        let found = client.json(Ask::get(&path)).await?;
        for member in ["status", "cause"] {
            last[member] = found[member].clone();
        }
    }
    Ok(last)
}

fn tell(started: &Value, output: Output) {
    match output {
        Output::Json => print::say(&started.to_string()),
        Output::Id => print::say(&print::text(started, "saga_id")),
        Output::Table => {
            let known = if started["existing"] == json!(true) { " (started before)" } else { "" };
            let cause = print::text(started, "cause");
            let cause = if cause.is_empty() { cause } else { format!(": {cause}") };
            print::say(&format!(
                "{} {}{known}{cause}",
                print::text(started, "saga_id"),
                print::text(started, "status")
            ));
        }
    }
}

/// Settled, or parked for an operator.
pub(super) fn rests(status: &str) -> bool {
    matches!(status, "completed" | "compensated" | "failed")
}

/// The exit code of a saga that was waited for.
pub(super) fn verdict(id: &str, status: &str) -> ExitCode {
    if status == "completed" {
        return ExitCode::SUCCESS;
    }
    if !rests(status) {
        print::talk(&format!(
            "steadfast: saga {id} has not ended yet: it goes on by itself; `steadfast saga watch {id}`"
        ));
    }
    ExitCode::FAILURE
}

/// A UUIDv7.
fn fresh_key() -> String {
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    SagaId::from_parts(System.now(), random).to_string()
}

/// A file or stdin, as JSON. The error says where, never what: it may be personal.
pub(super) fn read_json(flag: &str, file: &Path) -> Result<Value, Fault> {
    let text = read_text(flag, file)?;
    serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Fault::Usage(format!("{flag} {}: this is no JSON at line {line}, column {column}", file.display()))
    })
}

/// A file or stdin.
pub(super) fn read_text(flag: &str, file: &Path) -> Result<String, Fault> {
    let read = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| Fault::Usage(format!("{flag} {} cannot be read: {error}", file.display())))
}
