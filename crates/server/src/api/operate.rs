//! What operators do.

use axum::Extension;
use axum::extract::{Path, State};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use steadfast_core::{Principal, Problem, problem};
use steadfast_host::json::Json;
use steadfast_host::problem::Reply;
use steadfast_saga::engine::{Engine, Operation};

use super::sagas::parse_id;
use super::{need, reply};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// Why; stands in the journal.
    reason: String,
    /// For `skip` and `resolve`.
    #[serde(default)]
    step: Option<String>,
    /// For `skip`: take the step as done with this output, which may be null; without it the step is voided.
    #[serde(default, deserialize_with = "given")]
    assume_done: Option<Value>,
}

#[derive(Debug, Serialize)]
pub(super) struct Done {
    saga_id: String,
    status: &'static str,
    /// A repeat changes nothing.
    changed: bool,
}

pub(super) async fn operate(
    State(engine): State<Engine>,
    Path((id, act)): Path<(String, String)>,
    Extension(principal): Extension<Principal>,
    Json(request): Json<Request>,
) -> Result<axum::Json<Done>, Reply> {
    need(&principal, "saga.operate")?;
    let id = parse_id(&id)?;
    let reason = request.reason.clone();
    let operation = operation(&act, request)?;
    let done = engine.operate(id, operation, principal.subject(), &reason).await.map_err(|error| reply(&error))?;
    Ok(axum::Json(Done { saga_id: id.to_string(), status: done.status.as_str(), changed: done.changed }))
}

/// A null that is written out is an output too: read as an absence it would void the step instead.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn operation(act: &str, request: Request) -> Result<Operation, Problem> {
    let stray = match act {
        "skip" => None,
        "resolve" => request.assume_done.as_ref().map(|_| "assume_done"),
        _ => request.step.as_ref().map(|_| "step").or(request.assume_done.as_ref().map(|_| "assume_done")),
    };
    if let Some(field) = stray {
        let detail = format!("`{field}` says nothing to {act:?}, which does not take it: leave it out");
        return Err(problem::INVALID.with(detail));
    }
    let step = |step: Option<String>| {
        step.ok_or_else(|| problem::INVALID.with("`step` is missing: name the step that is to be skipped"))
    };
    Ok(match act {
        "cancel" => Operation::Cancel,
        "hold" => Operation::Hold,
        "release" => Operation::Release,
        "retry" => Operation::Retry,
        "skip" => match request.assume_done {
            Some(output) => Operation::SkipAssumeDone { step: step(request.step)?, output },
            None => Operation::SkipVoid { step: step(request.step)? },
        },
        "resolve" => Operation::Resolve { step: request.step },
        other => {
            let detail = format!("there is no act {other:?}: use cancel, hold, release, retry, skip or resolve");
            return Err(problem::NOT_FOUND.with(detail));
        }
    })
}
