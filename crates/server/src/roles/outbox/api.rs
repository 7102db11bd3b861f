//! The dead letters over HTTP.
//!
//! | route | permission | does |
//! |---|---|---|
//! | `GET /v1/dead-letters` | `outbox.read` | events that Kafka refuses, `retrying` or `dead`; filters `database`, `limit` |
//! | `GET /v1/dead-letters/{event}` | `outbox.read` | one of them |
//! | `POST /v1/dead-letters/{event}/replay` | `outbox.operate` | new attempts, the first of them now |
//! | `POST /v1/dead-letters/{event}/discard` | `outbox.operate` | gives a dead one up; body `{"reason": "…"}` |

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};
use steadfast_core::{EventId, Principal, problem};
use steadfast_host::auth::{Verifier, authenticate};
use steadfast_host::json::Json;
use steadfast_host::problem::Reply;
use steadfast_host::trace;

use super::{Act, Acted, Letter, Letters};
use crate::api::need;

/// Of one database, unless asked otherwise.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 500;

/// The routes, behind authentication.
pub(super) fn router(letters: Letters, verifier: Verifier) -> Router {
    Router::new()
        .route("/v1/dead-letters", get(list))
        .route("/v1/dead-letters/{event}", get(show))
        .route("/v1/dead-letters/{event}/replay", post(replay))
        .route("/v1/dead-letters/{event}/discard", post(discard))
        .with_state(letters)
        .layer(from_fn_with_state(verifier, authenticate))
        .layer(from_fn(trace::request))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    database: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Page {
    dead_letters: Vec<Letter>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Discard {
    reason: String,
}

#[derive(Debug, Serialize)]
struct Done {
    event_id: String,
    database: String,
}

async fn list(
    State(letters): State<Letters>,
    Extension(principal): Extension<Principal>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<axum::Json<Page>, Reply> {
    need(&principal, "outbox.read")?;
    let Query(query) = query
        .map_err(|fault| problem::INVALID.with(format!("{}: the filters are database, limit", fault.body_text())))?;
    let limit = query.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE_MAX {
        return Err(problem::INVALID.with(format!("`limit` is {limit}: it must be 1 to {PAGE_MAX}")).into());
    }
    if let Some(database) = query.database.as_ref().filter(|name| !letters.knows(name)) {
        let detail =
            format!("`database` is {database:?}, which this relay does not publish: take a name of its configuration");
        return Err(problem::INVALID.with(detail).into());
    }
    let dead_letters = letters.list(query.database.as_deref(), limit).await.map_err(|error| Reply::of(&error))?;
    Ok(axum::Json(Page { dead_letters }))
}

async fn show(
    State(letters): State<Letters>,
    Extension(principal): Extension<Principal>,
    Path(event): Path<String>,
) -> Result<axum::Json<Letter>, Reply> {
    need(&principal, "outbox.read")?;
    let event = parse(&event)?;
    let found = letters.show(event).await.map_err(|error| Reply::of(&error))?;
    found.map(axum::Json).ok_or_else(|| absent(event))
}

async fn replay(
    State(letters): State<Letters>,
    Extension(principal): Extension<Principal>,
    Path(event): Path<String>,
) -> Result<axum::Json<Done>, Reply> {
    need(&principal, "outbox.operate")?;
    act(&letters, &principal, &event, Act::Replay).await
}

async fn discard(
    State(letters): State<Letters>,
    Extension(principal): Extension<Principal>,
    Path(event): Path<String>,
    Json(request): Json<Discard>,
) -> Result<axum::Json<Done>, Reply> {
    need(&principal, "outbox.operate")?;
    if request.reason.trim().is_empty() {
        return Err(problem::INVALID.with("`reason` is empty: say why, for whoever finds the number missing").into());
    }
    act(&letters, &principal, &event, Act::Discard(&request.reason)).await
}

async fn act(letters: &Letters, principal: &Principal, event: &str, act: Act<'_>) -> Result<axum::Json<Done>, Reply> {
    let event = parse(event)?;
    let by = principal.subject();
    match letters.act(event, act).await.map_err(|error| Reply::of(&error))? {
        Acted::Done(database) => {
            tracing::warn!(%event, database, by, ?act, "an operator moved a held event");
            Ok(axum::Json(Done { event_id: event.to_string(), database }))
        }
        Acted::StillTried => Err(problem::CONFLICT
            .with(format!("event {event} is still being tried: only a dead letter is discarded"))
            .into()),
        Acted::NotFound => Err(absent(event)),
    }
}

fn parse(text: &str) -> Result<EventId, Reply> {
    text.parse().map_err(|error| problem::INVALID.with(format!("the event's id: {error}")).into())
}

fn absent(event: EventId) -> Reply {
    problem::NOT_FOUND.with(format!("no outbox holds event {event} back: list the dead letters")).into()
}
