//! Uploading definitions, and looking at them.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use steadfast_core::{Principal, Problem, problem};
use steadfast_host::json::Json;
use steadfast_host::problem::Reply;
use steadfast_saga::engine::{DefinitionSummary, DefinitionView, Engine, Uploaded};

use super::{need, reply};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upload {
    /// YAML or JSON.
    definition: String,
    /// The schema files that it names, by name.
    #[serde(default)]
    schemas: BTreeMap<String, Value>,
}

pub(super) async fn upload(
    State(engine): State<Engine>,
    Extension(principal): Extension<Principal>,
    Json(upload): Json<Upload>,
) -> Result<(StatusCode, axum::Json<Uploaded>), Reply> {
    need(&principal, "saga.define")?;
    let uploaded =
        engine.upload(&upload.definition, upload.schemas, principal.subject()).await.map_err(|error| reply(&error))?;
    let status = if uploaded.added { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(uploaded)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    name: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Listed {
    definitions: Vec<DefinitionSummary>,
}

pub(super) async fn list(
    State(engine): State<Engine>,
    Extension(principal): Extension<Principal>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<axum::Json<Listed>, Reply> {
    may_look(&principal)?;
    let Query(query) =
        query.map_err(|fault| problem::INVALID.with(format!("{}: the filter is name", fault.body_text())))?;
    let definitions = engine.definitions(query.name.as_deref()).await.map_err(|error| reply(&error))?;
    Ok(axum::Json(Listed { definitions }))
}

pub(super) async fn show(
    State(engine): State<Engine>,
    path: Result<Path<(String, u32)>, PathRejection>,
    Extension(principal): Extension<Principal>,
) -> Result<axum::Json<DefinitionView>, Reply> {
    may_look(&principal)?;
    let Path((name, version)) = path
        .map_err(|_| problem::INVALID.with("the version must be a whole number: /v1/definitions/{name}/{version}"))?;
    let found = engine.definition(&name, version).await.map_err(|error| reply(&error))?;
    let absent = || problem::UNKNOWN_DEFINITION.with(format!("there is no definition {name:?} in version {version}"));
    Ok(axum::Json(found.ok_or_else(absent)?))
}

/// Whoever sees all sagas sees what they run, and so does whoever writes it.
fn may_look(principal: &Principal) -> Result<(), Problem> {
    if principal.may("saga.define") { Ok(()) } else { need(principal, "saga.read") }
}
