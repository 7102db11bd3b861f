//! What waits and what was passed over.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use steadfast_projection::Store;
use steadfast_projection::parking::{self, ParkedEvent};

use super::{Place, Work};
use crate::fault::Fault;
use crate::print::{self, Output};

/// How much is listed.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) place: Place,
    /// How many at most, of each projection.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Of which aggregate.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) place: Place,
    /// The aggregate's type, such as `order`.
    aggregate_type: String,
    /// The aggregate's id.
    aggregate_id: String,
}

/// `parked list`.
pub(super) struct Parked<'a>(pub(super) &'a List);
/// `parked show`.
pub(super) struct Shown<'a>(pub(super) &'a Show);
/// `skipped`.
pub(super) struct Skipped<'a>(pub(super) &'a List);

fn row(projection: &str, event: &ParkedEvent) -> Value {
    json!({
        "projection": projection, "aggregate_type": event.aggregate_type, "aggregate_id": event.aggregate_id,
        "sequence": event.sequence, "event_id": event.event_id.to_string(), "event_type": event.event_type,
        "poison": event.poison, "error": event.error, "attempts": event.attempts, "parked_at": event.parked_at,
    })
}

fn print_parked(rows: &[Value], output: Output) {
    match output {
        Output::Json => print::say(&json!({ "parked": rows }).to_string()),
        Output::Id => rows.iter().for_each(|row| print::say(&print::text(row, "event_id"))),
        Output::Table => {
            let head = ["projection", "aggregate", "sequence", "type", "state", "attempts", "since", "error"];
            let mut table = print::table(&head);
            for row in rows {
                let member = |name| print::text(row, name);
                table.add_row([
                    member("projection"),
                    format!("{} {}", member("aggregate_type"), member("aggregate_id")),
                    member("sequence"),
                    member("event_type"),
                    if row["poison"] == json!(true) { "failed".to_owned() } else { "waiting".to_owned() },
                    member("attempts"),
                    print::moment(row, "parked_at"),
                    member("error"),
                ]);
            }
            print::show(&table);
        }
    }
}

impl Work for Parked<'_> {
    async fn run<S: Store>(self, db: &S) -> Result<ExitCode, Fault> {
        let mut rows = Vec::new();
        for name in self.0.place.all(db).await? {
            let events = parking::list(db, &name, self.0.limit).await.map_err(Fault::of)?;
            rows.extend(events.iter().map(|event| row(&name, event)));
        }
        print_parked(&rows, self.0.place.output);
        Ok(ExitCode::SUCCESS)
    }
}

impl Work for Shown<'_> {
    async fn run<S: Store>(self, db: &S) -> Result<ExitCode, Fault> {
        let Show { place, aggregate_type, aggregate_id } = self.0;
        let mut rows = Vec::new();
        for name in place.all(db).await? {
            let events = parking::of_aggregate(db, &name, aggregate_type, aggregate_id).await.map_err(Fault::of)?;
            rows.extend(events.iter().map(|event| row(&name, event)));
        }
        if rows.is_empty() {
            return Err(Fault::Refused(format!("no event of {aggregate_type} {aggregate_id} is parked")));
        }
        print_parked(&rows, place.output);
        Ok(ExitCode::SUCCESS)
    }
}

impl Work for Skipped<'_> {
    async fn run<S: Store>(self, db: &S) -> Result<ExitCode, Fault> {
        let mut rows = Vec::new();
        for name in self.0.place.all(db).await? {
            for one in parking::skipped(db, &name, self.0.limit).await.map_err(Fault::of)? {
                rows.push(json!({
                    "projection": name, "reason": one.reason.as_str(), "aggregate_type": one.aggregate_type,
                    "aggregate_id": one.aggregate_id, "first_sequence": one.first_sequence,
                    "last_sequence": one.last_sequence, "partition": one.partition.map(|at| at.to_string()),
                    "position": one.position, "detail": one.detail, "skipped_at": one.skipped_at,
                }));
            }
        }
        match self.0.place.output {
            Output::Json => print::say(&json!({ "skipped": rows }).to_string()),
            Output::Id => rows.iter().for_each(|row| print::say(&print::text(row, "aggregate_id"))),
            Output::Table => {
                let mut table = print::table(&["projection", "reason", "what", "numbers", "at", "detail"]);
                for row in &rows {
                    let member = |name| print::text(row, name);
                    let what = format!("{} {}", member("aggregate_type"), member("aggregate_id"));
                    let place = format!("{} at {}", member("partition"), member("position"));
                    let numbers = format!("{} to {}", member("first_sequence"), member("last_sequence"));
                    let has = |name: &str| !row[name].is_null();
                    table.add_row([
                        member("projection"),
                        member("reason"),
                        if has("partition") { place } else { what },
                        if has("first_sequence") { numbers } else { String::new() },
                        print::moment(row, "skipped_at"),
                        member("detail"),
                    ]);
                }
                print::show(&table);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
