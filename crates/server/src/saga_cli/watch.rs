//! Following what happens, across connections that end.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Ask, Client, segment};
use super::event::{Event, Reader};
use super::fault::Fault;
use super::start::{rests, verdict};
use super::{Output, print};

/// An orchestrator shows a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// How long nobody may be there before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
const COME_AGAIN: Duration = Duration::from_secs(1);

/// What is followed.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// The saga's id; without it, all sagas of the node that is asked, from now on.
    id: Option<String>,
    /// Without an id: only those of this definition.
    #[arg(long, conflicts_with = "id")]
    definition: Option<String>,
}

/// Where a stream stands.
#[derive(Debug, Default)]
struct Followed {
    /// The last row that was told whole.
    after: Option<String>,
    /// Where the saga stood with the last event.
    status: String,
    /// Somebody has answered: where nobody ever did, nobody is waited for.
    answered: bool,
    ended: bool,
}

pub(super) async fn run(client: &Client, watch: &Watch, output: Output) -> Result<ExitCode, Fault> {
    let path = match (&watch.id, &watch.definition) {
        (Some(id), _) => format!("/v1/sagas/{}/events", segment(id)),
        (None, Some(name)) => format!("/v1/events?definition={}", segment(name)),
        (None, None) => "/v1/events".to_owned(),
    };
    let mut followed = Followed::default();
    let mut heard_at = Instant::now();
    while !followed.ended {
        match follow(client, &path, watch.id.is_some(), &mut followed, output).await {
            Ok(()) => heard_at = Instant::now(),
            // A node that was restarted or a proxy that cut: where it was is known.
            Err(Fault::Unreachable(_)) if heard_at.elapsed() < PATIENCE && followed.answered => {}
            Err(fault) => return Err(fault),
        }
        if followed.ended {
            break;
        }
        sleep(COME_AGAIN).await;
    }
    Ok(verdict(watch.id.as_deref().unwrap_or_default(), &followed.status))
}

/// One connection, to its end.
async fn follow(client: &Client, path: &str, one: bool, followed: &mut Followed, output: Output) -> Result<(), Fault> {
    let mut ask = Ask::get(path).header("accept", "text/event-stream")?;
    if let Some(after) = &followed.after {
        ask = ask.header("last-event-id", after)?;
    }
    let mut answer = client.open(ask).await?;
    followed.answered = true;
    if answer.response.status() == http::StatusCode::NO_CONTENT {
        followed.ended = true;
        return Ok(());
    }
    let mut reader = Reader::default();
    // A stream that is cut or silent is asked for again.
    while let Ok(Some(Ok(frame))) = timeout(SILENCE, answer.response.body_mut().frame()).await {
        let Ok(piece) = frame.into_data() else { continue };
        let Some(events) = reader.feed(&piece) else {
            return Err(Fault::Refused(
                "this is no stream of events: is this the address of an orchestrator?".to_owned(),
            ));
        };
        for event in events {
            hear(&event, one, followed, output);
        }
        if followed.ended {
            return Ok(());
        }
    }
    Ok(())
}

fn hear(event: &Event, one: bool, followed: &mut Followed, output: Output) {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    if event.id.is_some() {
        followed.after.clone_from(&event.id);
    }
    if event.name == "end" || event.name == "rest" {
        followed.status = print::text(&data, "status");
        followed.ended = one && rests(&followed.status);
    }
    tell(event, &data, output);
}

fn tell(event: &Event, data: &Value, output: Output) {
    match (output, event.name.as_str()) {
        (Output::Json, _) => print::say(&event.data),
        (Output::Id, "change") => print::say(&print::text(data, "saga_id")),
        (Output::Id, _) => {}
        (Output::Table, "change") => {
            let (step, what) = (print::text(data, "step"), print::text(data, "what"));
            // The line of one saga's history names its step itself.
            let what = if step.is_empty() || what.starts_with(&step) { what } else { format!("{step}: {what}") };
            print::say(format!("{} {} {what}", print::moment(data, "at"), print::text(data, "saga_id")).trim_start());
        }
        (Output::Table, "lost") => {
            print::talk(&format!("{} changes were too fast and are not shown", print::text(data, "changes")));
        }
        (Output::Table, _) => print::say(&format!("{} {}", print::text(data, "saga_id"), print::text(data, "status"))),
    }
}
