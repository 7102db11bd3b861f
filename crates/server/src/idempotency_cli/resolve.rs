//! What an operator found out.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use steadfast_core::hex;
use steadfast_idempotency::{Answer, RecordId, Resolution, Resolved, State};

use super::look::absent;
use super::place::{Place, fault};
use crate::fault::Fault;
use crate::print::{self, Output};

/// The largest body: what a route keeps of an answer, unless it says otherwise.
const BODY_MAX: usize = 256 * 1024;

/// What became of a request.
#[derive(Debug, Args)]
pub(super) struct Resolve {
    #[command(flatten)]
    place: Place,
    /// The record's name, as `list` prints it.
    id: RecordId,
    /// Nothing was executed: the key is free, and the next request with it is executed.
    #[arg(long, required_unless_present = "status", conflicts_with = "status")]
    not_executed: bool,
    /// It was executed: the status that every retry gets.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,
    /// A file with the body that every retry gets; `-` reads stdin. Without it the body is empty.
    #[arg(long, value_name = "FILE", requires = "status")]
    body: Option<PathBuf>,
    /// What the body is.
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    content_type: String,
    /// The mark that `show` printed: refused where the record has changed since.
    #[arg(long, value_name = "MARK")]
    mark: Option<String>,
    /// How long retries get the answer.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8_760))]
    keep_hours: u32,
    /// Why; it goes to the log, under the target `security`.
    #[arg(long)]
    reason: String,
}

pub(super) async fn run(resolve: &Resolve) -> Result<(), Fault> {
    let id = resolve.id;
    if resolve.reason.trim().is_empty() {
        return Err(Fault::Usage("--reason is empty: say how the outcome was found out".to_owned()));
    }
    let resolution = resolution(resolve)?;
    let store = resolve.place.open().await?;
    let record = store.show(id).await.map_err(|error| fault(&error))?.ok_or_else(|| absent(id))?;
    let mark = hex(record.owner.as_bytes());
    if resolve.mark.as_ref().is_some_and(|seen| *seen != mark) {
        return Err(Fault::Refused(format!("{id}: it has changed since it was looked at: show it again")));
    }
    let ttl = Duration::from_hours(u64::from(resolve.keep_hours));
    let resolved = store.resolve(id, record.owner, resolution, ttl).await.map_err(|error| match fault(&error) {
        Fault::Unreachable(text) => {
            Fault::Unreachable(format!("{text}; whether it was done is not known: it is safe to repeat"))
        }
        other => other,
    })?;
    match resolved {
        Resolved::Done => {}
        Resolved::Absent => return Err(absent(id)),
        Resolved::Changed if matches!(record.state, State::Done(_)) => {
            return Err(Fault::Refused(format!("{id}: its outcome is known, there is nothing to resolve")));
        }
        Resolved::Changed => {
            return Err(Fault::Refused(format!("{id}: it has changed meanwhile: show it again")));
        }
        Resolved::InFlight => {
            return Err(Fault::Refused(format!("{id}: somebody is executing it at present: wait for the end")));
        }
    }
    let outcome = if resolve.not_executed { "not executed" } else { "executed" };
    tracing::warn!(
        target: "security",
        record = %id,
        scope = &*record.scope,
        outcome,
        status = resolve.status,
        reason = resolve.reason,
        "an operator has said what became of a request"
    );
    match resolve.place.output {
        Output::Json => {
            let said = json!({ "id": id.to_string(), "outcome": outcome, "status": resolve.status });
            print::say(&said.to_string());
        }
        Output::Id => print::say(&id.to_string()),
        Output::Table => print::say(&format!("{id} {outcome}")),
    }
    Ok(())
}

/// What is said, checked before anything is opened.
fn resolution(resolve: &Resolve) -> Result<Resolution, Fault> {
    let Some(status) = resolve.status else { return Ok(Resolution::NotExecuted) };
    let status = StatusCode::from_u16(status).map_err(|_| Fault::Usage("--status is no HTTP status".to_owned()))?;
    let body = resolve.body.as_deref().map(read).transpose()?.unwrap_or_default();
    let mut answer = Answer::new(status);
    if !body.is_empty() {
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
            return Err(Fault::Usage(format!("--body: an answer with status {} has none", status.as_u16())));
        }
        let content_type = HeaderValue::from_str(&resolve.content_type)
            .map_err(|_| Fault::Usage("--content-type is no value of a header".to_owned()))?;
        answer = answer.with_header(CONTENT_TYPE, content_type).with_body(body);
    }
    Ok(Resolution::Executed(Arc::new(answer)))
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    let body = if file.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().lock().read_to_end(&mut body).map(|_| body)
    } else {
        std::fs::read(file)
    };
    let body = body.map_err(|error| Fault::Usage(format!("--body {} cannot be read: {error}", file.display())))?;
    if body.len() > BODY_MAX {
        return Err(Fault::Usage(format!("--body {}: at most {BODY_MAX} bytes", file.display())));
    }
    Ok(body)
}
