//! Events that Kafka refuses: shown, tried anew, given up.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use steadfast_core::EventId;

use super::place::Place;
use crate::fault::Fault;
use crate::print::{self, Output};
use crate::roles::outbox::{Act, Acted};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists those that are still tried and those that are dead.
    List(List),
    /// Shows one of them, without its payload.
    Show(Show),
    /// Gives it new attempts, the first of them now: after its cause is mended.
    Replay(Show),
    /// Gives a dead one up: it is never published, and consumers find its number missing.
    Discard(Discard),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// How many at most, of each database.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    place: Place,
    /// The event's id.
    event: EventId,
}

#[derive(Debug, Args)]
pub(super) struct Discard {
    #[command(flatten)]
    of: Show,
    /// Why; it is kept with the event in `outbox_discarded`.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Fault> {
    match command {
        Command::List(command) => list(&command).await,
        Command::Show(command) => show(&command).await,
        Command::Replay(command) => act(&command, Act::Replay).await,
        Command::Discard(command) => act(&command.of, Act::Discard(&command.reason)).await,
    }
}

async fn list(list: &List) -> Result<ExitCode, Fault> {
    let letters = list.place.letters()?.list(None, list.limit).await.map_err(Fault::of)?;
    let page = json!({ "dead_letters": letters });
    let rows = page["dead_letters"].as_array().map_or(&[][..], Vec::as_slice);
    match list.place.output {
        Output::Json => print::say(&page.to_string()),
        Output::Id => rows.iter().for_each(|row| print::say(&print::text(row, "event_id"))),
        Output::Table => {
            let head = ["event", "database", "state", "type", "aggregate", "sequence", "attempts", "last error"];
            let mut table = print::table(&head);
            for row in rows {
                let member = |name| print::text(row, name);
                table.add_row([
                    member("event_id"),
                    member("database"),
                    member("state"),
                    member("event_type"),
                    format!("{} {}", member("aggregate_type"), member("aggregate_id")),
                    member("sequence"),
                    member("attempts"),
                    member("last_error"),
                ]);
            }
            print::show(&table);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(show: &Show) -> Result<ExitCode, Fault> {
    let letter = show.place.letters()?.show(show.event).await.map_err(Fault::of)?;
    let letter: Value = json!(letter.ok_or_else(|| absent(show.event))?);
    match show.place.output {
        Output::Json => print::say(&letter.to_string()),
        Output::Id => print::say(&print::text(&letter, "event_id")),
        Output::Table => {
            for (name, member) in [
                ("event", "event_id"),
                ("database", "database"),
                ("state", "state"),
                ("type", "event_type"),
                ("aggregate", "aggregate_type"),
                ("", "aggregate_id"),
                ("sequence", "sequence"),
                ("attempts", "attempts"),
                ("last error", "last_error"),
            ] {
                print::say(&format!("{name:<13} {}", print::text(&letter, member)));
            }
            for (name, member) in
                [("held since", "parked_at"), ("next attempt", "next_attempt_at"), ("dead since", "dead_at")]
            {
                let moment = print::moment(&letter, member);
                if !moment.is_empty() {
                    print::say(&format!("{name:<13} {moment}"));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(show: &Show, act: Act<'_>) -> Result<ExitCode, Fault> {
    let event = show.event;
    let database = match show.place.letters()?.act(event, act).await.map_err(Fault::of)? {
        Acted::Done(database) => database,
        Acted::NotFound => return Err(absent(event)),
        Acted::StillTried => {
            let why = format!("event {event} is still being tried: only a dead letter is discarded");
            return Err(Fault::Refused(why));
        }
    };
    let done = if act == Act::Replay { "replayed" } else { "discarded" };
    match show.place.output {
        Output::Json => {
            print::say(&json!({ "event_id": event.to_string(), "database": database, "done": done }).to_string());
        }
        Output::Id => print::say(&event.to_string()),
        Output::Table => print::say(&format!("{event} {done} in {database}")),
    }
    Ok(ExitCode::SUCCESS)
}

fn absent(event: EventId) -> Fault {
    Fault::Refused(format!("no outbox holds event {event} back: list the dead letters"))
}
