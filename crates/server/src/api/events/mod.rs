//! What happens, as it happens: `text/event-stream`.
//!
//! One saga: its audit log from the beginning, or from after `Last-Event-ID`, then each row as it becomes durable. The
//! journal is what is told; a change only says that there is something to look up, so nothing is lost or told in another
//! order, whichever node runs the saga. All sagas: the changes of this node from now on; who falls behind is told how much
//! was lost.
//!
//! Events: `change` with a line of the log, `rest` where the saga is parked for an operator, `end` with its settlement;
//! `lost` where changes of all sagas came too fast. A stream ends with the saga's settlement, with the node, or after a quarter of an hour, so that nobody outlives their
//! token by much; a client comes again by itself, and says where it was.

mod one;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use steadfast_core::{Principal, Problem, problem};
use steadfast_host::problem::Reply;
use steadfast_saga::engine::Engine;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::need;
use super::sagas::{of, parse_id, text};
use stream::Frames;

/// Streams at once on a node.
const STREAMS: usize = 64;
/// How long a stream lasts.
const LIFE: Duration = Duration::from_mins(15);

/// The room for streams.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS)))
    }
}

impl Streams {
    fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            let detail = format!("{STREAMS} streams are open on this node: ask again later, or ask another node");
            problem::RATE_LIMITED.with(detail).retry_after(5)
        })
    }
}

/// `GET /v1/sagas/{id}/events`.
pub(super) async fn of_one(
    State(engine): State<Engine>,
    Extension(streams): Extension<Streams>,
    Path(id): Path<String>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
) -> Result<Response, Reply> {
    let id = parse_id(&id)?;
    let after = last_event(&headers)?;
    // Before the look, so that what happens in between is heard.
    let changes = engine.watch();
    let view = of(&engine, id, &principal).await?;
    if one::is_told(&view, after) {
        // What tells an EventSource not to come again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let permit = streams.enter()?;
    Ok(stream::response(permit, LIFE, move |frames| one::tell(engine, id, after, view, changes, frames)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AllQuery {
    definition: Option<String>,
}

/// `GET /v1/events`.
pub(super) async fn of_all(
    State(engine): State<Engine>,
    Extension(streams): Extension<Streams>,
    Extension(principal): Extension<Principal>,
    query: Result<Query<AllQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Reply> {
    need(&principal, "saga.read")?;
    let Query(query) =
        query.map_err(|fault| problem::INVALID.with(format!("{}: the filter is definition", fault.body_text())))?;
    engine.ready().map_err(|why| problem::UNAVAILABLE.with(why).retry_after(1))?;
    let permit = streams.enter()?;
    Ok(stream::response(permit, LIFE, move |frames| tell_all(engine, query.definition, frames)))
}

async fn tell_all(engine: Engine, definition: Option<String>, frames: Frames) {
    let mut changes = engine.watch();
    loop {
        let change = tokio::select! {
            change = changes.recv() => change,
            () = engine.lost() => return,
        };
        let sent = match change {
            Ok(change) if definition.as_ref().is_some_and(|name| *name != change.definition) => continue,
            Ok(change) => frames.event("change", None, &change).await,
            Err(RecvError::Lagged(lost)) => frames.event("lost", None, &serde_json::json!({ "changes": lost })).await,
            Err(RecvError::Closed) => return,
        };
        if !sent {
            return;
        }
    }
}

/// The row of the journal up to which the client was told.
fn last_event(headers: &HeaderMap) -> Result<i64, Reply> {
    match text(headers, "last-event-id")? {
        None | Some("") => Ok(0),
        Some(text) => text.trim().parse().ok().filter(|seq| *seq >= 0).ok_or_else(|| {
            let detail = "Last-Event-ID must be the id of an event of this stream, a whole number: or leave it out";
            problem::INVALID.with(detail).into()
        }),
    }
}
