//! The orchestrator over HTTP.
//!
//! | route | permission | does |
//! |---|---|---|
//! | `POST /v1/sagas/{definition}` | the definition's | starts a saga; `Idempotency-Key` names it, `Prefer: wait=N` waits for its end |
//! | `GET /v1/sagas` | `saga.read` | a page, newest first; filters `status`, `definition`, `business_key`, `before`, `limit` |
//! | `GET /v1/sagas/{id}` | `saga.read`, or whoever began it | one saga with its steps and its audit log |
//! | `POST /v1/sagas/{id}/{act}` | `saga.operate` | `cancel`, `hold`, `release`, `retry`, `skip`, `resolve` |
//! | `GET /v1/sagas/{id}/events` | as `GET /v1/sagas/{id}` | its audit log, then each change as it becomes durable |
//! | `GET /v1/horizon` | `saga.read` | up to when participants may prune their barriers |
//! | `GET /v1/events` | `saga.read` | the changes of this node's sagas; filter `definition` |
//! | `POST /v1/definitions` | `saga.define` | uploads a definition |
//! | `GET /v1/definitions` | `saga.read` or `saga.define` | all versions, newest first; filter `name` |
//! | `GET /v1/definitions/{name}/{version}` | the same | one version with its text and schema |

mod definitions;
mod events;
mod horizon;
mod operate;
mod sagas;

use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use axum::{Extension, Router};
use steadfast_core::{Principal, Problem, problem};
use steadfast_host::auth::{Verifier, authenticate};
use steadfast_host::problem::Reply;
use steadfast_host::trace;
use steadfast_saga::engine::Engine;

/// The routes, behind authentication.
pub(crate) fn router(engine: Engine, verifier: Verifier) -> Router {
    Router::new()
        .route("/v1/definitions", post(definitions::upload).get(definitions::list))
        .route("/v1/definitions/{name}/{version}", get(definitions::show))
        .route("/v1/events", get(events::of_all))
        .route("/v1/horizon", get(horizon::show))
        .route("/v1/sagas", get(sagas::list))
        .route("/v1/sagas/{name}", post(sagas::start).get(sagas::show))
        .route("/v1/sagas/{name}/events", get(events::of_one))
        .route("/v1/sagas/{name}/{act}", post(operate::operate))
        .layer(Extension(events::Streams::default()))
        .with_state(engine)
        .layer(from_fn_with_state(verifier, authenticate))
        .layer(from_fn(trace::request))
}

/// The way an error of the engine is answered; what is nobody's fault but ours is logged here, once.
fn reply(error: &steadfast_saga::Error) -> Reply {
    let problem = error.to_problem();
    if problem.status >= 500 {
        tracing::error!(error = error as &dyn std::error::Error, "a request to the orchestrator failed");
    }
    Reply::from(problem)
}

pub(crate) fn need(principal: &Principal, permission: &str) -> Result<(), Problem> {
    if principal.may(permission) {
        return Ok(());
    }
    Err(problem::FORBIDDEN.with(format!("this needs the permission {permission}")))
}
