//! Listing and showing records.

use clap::Args;
use serde_json::{Value, json};
use steadfast_core::Clock;
use steadfast_host::clock::System;
use steadfast_idempotency::RecordId;

use super::place::{Place, fault};
use super::view::view;
use crate::fault::Fault;
use crate::print::{self, Output};

/// Which records.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// Only those behind this one: where the page before ended.
    #[arg(long, value_name = "ID")]
    after: Option<RecordId>,
    /// How many at most. In Redis every key is looked at, whatever the limit.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

/// Which record.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    place: Place,
    /// The record's name, as `list` prints it.
    id: RecordId,
}

pub(super) async fn list(list: &List) -> Result<(), Fault> {
    let store = list.place.open().await?;
    let records = store.unresolved(list.after, list.limit).await.map_err(|error| fault(&error))?;
    let now = System.now();
    let rows: Vec<Value> = records.iter().map(|(id, record)| view(*id, record, now)).collect();
    let next = rows.last().filter(|_| u32::try_from(rows.len()).is_ok_and(|n| n >= list.limit));
    let next = next.map(|row| print::text(row, "id"));
    match list.place.output {
        Output::Json => print::say(&json!({ "records": rows, "next": next }).to_string()),
        Output::Id => rows.iter().for_each(|row| print::say(&print::text(row, "id"))),
        Output::Table => {
            let mut table = print::table(&["id", "scope", "state", "since", "attempt", "user"]);
            for row in &rows {
                let member = |name| print::text(row, name);
                table.add_row([
                    member("id"),
                    member("scope"),
                    member("state"),
                    print::moment(row, "since"),
                    member("attempt"),
                    member("user"),
                ]);
            }
            print::show(&table);
            if let Some(next) = next {
                print::talk(&format!("there may be more: --after {next}"));
            }
        }
    }
    Ok(())
}

pub(super) async fn show(show: &Show) -> Result<(), Fault> {
    let store = show.place.open().await?;
    let record = store.show(show.id).await.map_err(|error| fault(&error))?.ok_or_else(|| absent(show.id))?;
    let row = view(show.id, &record, System.now());
    match show.place.output {
        Output::Json => print::say(&row.to_string()),
        Output::Id => print::say(&print::text(&row, "id")),
        Output::Table => {
            for (name, value) in [
                ("record", print::text(&row, "id")),
                ("scope", print::text(&row, "scope")),
                ("user", print::text(&row, "user")),
                ("state", print::text(&row, "state")),
                ("since", print::moment(&row, "since")),
                ("attempt", print::text(&row, "attempt")),
                ("claimed", print::moment(&row, "claimed_at")),
                ("expires", print::moment(&row, "expires_at")),
                ("status", print::text(&row, "status")),
                ("body bytes", print::text(&row, "body_bytes")),
                ("mark", print::text(&row, "mark")),
            ] {
                if !value.is_empty() {
                    print::say(&format!("{name:<11} {value}"));
                }
            }
        }
    }
    Ok(())
}

pub(super) fn absent(id: RecordId) -> Fault {
    Fault::Refused(format!("{id}: there is no such record, or it has expired"))
}
