//! Listing and showing sagas.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::client::{Ask, Client, segment};
use super::fault::Fault;
use super::{Output, print};

/// Which sagas.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those in this state.
    #[arg(long, value_parser = ["pending", "running", "compensating", "completed", "compensated", "failed"])]
    status: Option<String>,
    /// Only those of this definition.
    #[arg(long)]
    definition: Option<String>,
    /// Only those with this business key.
    #[arg(long)]
    business_key: Option<String>,
    /// Only those started at or after this, in milliseconds since the Unix epoch.
    #[arg(long, value_name = "MILLIS")]
    since: Option<i64>,
    /// Only those before this number: where the page before ended.
    #[arg(long, value_name = "NO")]
    before: Option<i64>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

/// Which saga.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The saga's id.
    id: String,
}

impl List {
    fn path(&self) -> String {
        let mut path = format!("/v1/sagas?limit={}", self.limit);
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                path = format!("{path}&{name}={}", segment(&value));
            }
        };
        add("status", self.status.clone());
        add("definition", self.definition.clone());
        add("business_key", self.business_key.clone());
        add("since", self.since.map(|since| since.to_string()));
        add("before", self.before.map(|before| before.to_string()));
        path
    }
}

pub(super) async fn list(client: &Client, list: &List, output: Output) -> Result<ExitCode, Fault> {
    let page = client.json(Ask::get(&list.path())).await?;
    let sagas = page["sagas"].as_array().map_or(&[][..], Vec::as_slice);
    match output {
        Output::Json => print::say(&page.to_string()),
        Output::Id => sagas.iter().for_each(|saga| print::say(&print::text(saga, "saga_id"))),
        Output::Table => {
            let mut table = print::table(&["id", "definition", "status", "business key", "accepted", "cause"]);
            for saga in sagas {
                table.add_row([
                    print::text(saga, "saga_id"),
                    format!("{} {}", print::text(saga, "definition"), print::text(saga, "version")),
                    state(saga),
                    print::text(saga, "business_key"),
                    print::moment(saga, "accepted_at"),
                    print::text(saga, "cause"),
                ]);
            }
            print::show(&table);
            if let Some(next) = page["next"].as_i64() {
                print::talk(&format!("there may be more: --before {next}"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The status with its flags.
fn state(saga: &Value) -> String {
    let mut text = print::text(saga, "status");
    for flag in ["held", "overdue"] {
        if saga[flag] == Value::Bool(true) {
            text = format!("{text}, {flag}");
        }
    }
    text
}

pub(super) async fn show(client: &Client, show: &Show, output: Output) -> Result<ExitCode, Fault> {
    let saga = client.json(Ask::get(&format!("/v1/sagas/{}", segment(&show.id)))).await?;
    match output {
        Output::Json => print::say(&saga.to_string()),
        Output::Id => print::say(&print::text(&saga, "saga_id")),
        Output::Table => whole(&saga),
    }
    Ok(ExitCode::SUCCESS)
}

/// With `-o id` the bare number, for `saga_barrier_prune`.
pub(super) async fn horizon(client: &Client, output: Output) -> Result<ExitCode, Fault> {
    let answer = client.json(Ask::get("/v1/horizon")).await?;
    match output {
        Output::Json => print::say(&answer.to_string()),
        Output::Id => print::say(&print::text(&answer, "horizon")),
        Output::Table => print::say(&print::moment(&answer, "horizon")),
    }
    Ok(ExitCode::SUCCESS)
}

fn whole(saga: &Value) {
    let definition = format!("{} {}", print::text(saga, "definition"), print::text(saga, "version"));
    for (name, value) in [
        ("saga", print::text(saga, "saga_id")),
        ("definition", definition),
        ("status", state(saga)),
        ("cause", print::text(saga, "cause")),
        ("business key", print::text(saga, "business_key")),
        ("user", print::text(&saga["context"], "userId")),
        ("accepted", print::moment(saga, "accepted_at")),
        ("ended", print::moment(saga, "ended_at")),
    ] {
        if !value.is_empty() {
            print::say(&format!("{name:<13} {value}"));
        }
    }
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut steps = print::table(&["step", "participant", "phase", "attempts", "compensations", "parked"]);
    for step in rows(&saga["steps"]) {
        let member = |name| print::text(&step, name);
        steps.add_row([
            member("name"),
            member("participant"),
            member("phase"),
            member("attempts"),
            member("compensation_attempts"),
            member("parked"),
        ]);
    }
    print::say("");
    print::show(&steps);
    for left in rows(&saga["effects_left"]) {
        let certain = if left["certain"] == Value::Bool(true) { "is" } else { "may be" };
        print::say(&format!(
            "left: {} {certain} done and not taken back ({})",
            print::text(&left, "step"),
            print::text(&left, "parked")
        ));
    }
    let mut history = print::table(&["at", "row", "what"]);
    for line in rows(&saga["context"]["auditLog"]) {
        history.add_row([print::moment(&line, "at"), print::text(&line, "seq"), print::text(&line, "what")]);
    }
    print::say("");
    print::show(&history);
}
