//! What operators do.

use std::process::ExitCode;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};
use steadfast_core::Clock as _;
use steadfast_host::clock::System;
use steadfast_projection::{Store, parking};

use super::{Place, Work};
use crate::fault::Fault;
use crate::print::{self, Output};

/// What is tried again.
#[derive(Debug, Args)]
pub(super) struct Replay {
    #[command(flatten)]
    pub(super) place: Place,
    /// The aggregate's type, such as `order`.
    #[arg(required_unless_present = "all")]
    aggregate_type: Option<String>,
    /// The aggregate's id.
    #[arg(required_unless_present = "all")]
    aggregate_id: Option<String>,
    /// Every event of the projection that failed, as after a repair.
    #[arg(long, conflicts_with_all = ["aggregate_type", "aggregate_id"])]
    all: bool,
}

/// What is given up.
#[derive(Debug, Args)]
pub(super) struct Give {
    #[command(flatten)]
    pub(super) place: Place,
    /// The aggregate's type, such as `order`.
    aggregate_type: String,
    /// The aggregate's id.
    aggregate_id: String,
    /// Why; it is kept in `skipped_event`.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

/// `parked replay`.
pub(super) struct Replayed<'a>(pub(super) &'a Replay);
/// `parked discard`.
pub(super) struct Discarded<'a>(pub(super) &'a Give);
/// `parked skip-gap`.
pub(super) struct Skipped<'a>(pub(super) &'a Give);

fn done(output: Output, id: &str, value: &Value, line: &str) -> ExitCode {
    match output {
        Output::Json => print::say(&value.to_string()),
        Output::Id => print::say(id),
        Output::Table => print::say(line),
    }
    ExitCode::SUCCESS
}

impl Work for Replayed<'_> {
    async fn run<S: Store>(self, db: &S) -> Result<ExitCode, Fault> {
        let Replay { place, aggregate_type, aggregate_id, .. } = self.0;
        let name = place.one(db).await?;
        if let (Some(kind), Some(id)) = (aggregate_type, aggregate_id) {
            parking::replay(db, &name, kind, id).await.map_err(Fault::of)?;
            let value = json!({ "projection": name, "aggregate_type": kind, "aggregate_id": id, "done": "replayed" });
            return Ok(done(place.output, id, &value, &format!("{kind} {id}: tried again within a second")));
        }
        let events = parking::replay_all(db, &name).await.map_err(Fault::of)?;
        let value = json!({ "projection": name, "events": events, "done": "replayed" });
        Ok(done(place.output, &name, &value, &format!("{name}: {events} events are tried again within a second")))
    }
}

impl Work for Discarded<'_> {
    async fn run<S: Store>(self, db: &S) -> Result<ExitCode, Fault> {
        let Give { place, aggregate_type: kind, aggregate_id: id, reason } = self.0;
        let name = place.one(db).await?;
        let number = parking::discard(db, &name, kind, id, reason, System.now()).await.map_err(Fault::of)?;
        let value = json!({
            "projection": name, "aggregate_type": kind, "aggregate_id": id, "sequence": number, "done": "discarded",
        });
        Ok(done(place.output, id, &value, &format!("{kind} {id}: event {number} was given up")))
    }
}

impl Work for Skipped<'_> {
    async fn run<S: Store>(self, db: &S) -> Result<ExitCode, Fault> {
        let Give { place, aggregate_type: kind, aggregate_id: id, reason } = self.0;
        let name = place.one(db).await?;
        let (first, last) = parking::skip_gap(db, &name, kind, id, reason, System.now()).await.map_err(Fault::of)?;
        let value = json!({
            "projection": name, "aggregate_type": kind, "aggregate_id": id, "first_sequence": first,
            "last_sequence": last, "done": "skipped",
        });
        Ok(done(place.output, id, &value, &format!("{kind} {id}: numbers {first} to {last} were given up")))
    }
}
