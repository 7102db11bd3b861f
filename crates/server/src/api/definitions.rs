//! Uploading definitions.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use steadfast_core::Principal;
use steadfast_host::json::Json;
use steadfast_host::problem::Reply;
use steadfast_saga::engine::{Engine, Uploaded};

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
