//! How outboxes stand, whether they are sound, and old days out of them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use steadfast_core::Clock as _;
use steadfast_host::clock::System;
use steadfast_host::config::duration;
use steadfast_outbox::Fault as Of;

use super::place::Place;
use crate::fault::Fault;
use crate::print::{self, Output};
use crate::roles::outbox::archive_once;

/// Which outboxes.
#[derive(Debug, Args)]
pub(super) struct Look {
    #[command(flatten)]
    place: Place,
}

/// What is moved off, and where to.
#[derive(Debug, Args)]
pub(super) struct Archive {
    #[command(flatten)]
    place: Place,
    /// Days that ended longer ago than this, such as `7d`.
    #[arg(long, value_name = "TIME", value_parser = length)]
    older_than: Duration,
    /// The folder that takes the files, in one below it for each database.
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
}

fn length(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write 12h or 7d".to_owned())
}

pub(super) async fn status(look: &Look) -> Result<ExitCode, Fault> {
    let mut rows = Vec::new();
    for (name, outbox) in look.place.outboxes()? {
        let status = outbox.status().await.map_err(|error| Fault::of(error).at(&name))?;
        let age = status.oldest_waiting.map(|since| System.now().since(since).as_secs_f64());
        rows.push(json!({
            "database": name, "rows": status.rows, "parked": status.parked,
            "oldest_waiting": status.oldest_waiting, "oldest_age_seconds": age,
        }));
    }
    match look.place.output {
        Output::Json => print::say(&json!({ "outboxes": rows }).to_string()),
        Output::Id => rows.iter().for_each(|row| print::say(&print::text(row, "database"))),
        Output::Table => {
            let mut table = print::table(&["database", "rows", "held aggregates", "oldest waiting", "age"]);
            for row in &rows {
                let age = row["oldest_age_seconds"].as_f64().map_or("-".to_owned(), |age| format!("{age:.1} s"));
                let since = Some(print::moment(row, "oldest_waiting")).filter(|text| !text.is_empty());
                let member = |name| print::text(row, name);
                table.add_row([
                    member("database"),
                    member("rows"),
                    member("parked"),
                    since.unwrap_or_else(|| "-".to_owned()),
                    age,
                ]);
            }
            print::show(&table);
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn verify(look: &Look) -> Result<ExitCode, Fault> {
    let mut rows: Vec<Value> = Vec::new();
    for (name, outbox) in look.place.outboxes()? {
        for violation in outbox.verify().await.map_err(|error| Fault::of(error).at(&name))? {
            let (fault, numbers) = match &violation.fault {
                Of::Missing(numbers) => ("missing", numbers.as_slice()),
                Of::Repeated(numbers) => ("repeated", numbers.as_slice()),
                Of::Stray(numbers) => ("stray", numbers.as_slice()),
                _ => ("disorder", &[][..]),
            };
            rows.push(json!({
                "database": name, "aggregate_type": violation.aggregate_type, "aggregate_id": violation.aggregate_id,
                "fault": fault, "sequences": numbers, "text": violation.to_string(),
            }));
        }
    }
    match look.place.output {
        Output::Json => print::say(&json!({ "violations": rows }).to_string()),
        Output::Id => rows.iter().for_each(|row| print::say(&print::text(row, "aggregate_id"))),
        Output::Table if rows.is_empty() => print::say("every aggregate's events are numbered without a gap"),
        Output::Table => {
            let mut table = print::table(&["database", "violation"]);
            for row in &rows {
                table.add_row([print::text(row, "database"), print::text(row, "text")]);
            }
            print::show(&table);
        }
    }
    Ok(if rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) async fn archive(archive: &Archive) -> Result<ExitCode, Fault> {
    if !archive.into.is_dir() {
        return Err(Fault::Usage(format!("--into {}: there is no such folder", archive.into.display())));
    }
    let mut rows = Vec::new();
    for (name, outbox) in archive.place.outboxes()? {
        let folder = archive.into.join(name.replace(['/', ':'], "_"));
        let before = System.now() - archive.older_than;
        let events = archive_once(&outbox, &folder, before).await.map_err(|error| Fault::of(error).at(&name))?;
        rows.push(json!({ "database": name, "events": events, "folder": folder.display().to_string() }));
    }
    match archive.place.output {
        Output::Json => print::say(&json!({ "archived": rows }).to_string()),
        Output::Id => rows.iter().for_each(|row| print::say(&print::text(row, "folder"))),
        Output::Table => {
            let mut table = print::table(&["database", "events", "folder"]);
            for row in &rows {
                table.add_row(["database", "events", "folder"].map(|name| print::text(row, name)));
            }
            print::show(&table);
        }
    }
    Ok(ExitCode::SUCCESS)
}
