//! Up to when participants may prune their barriers.

use axum::Extension;
use axum::extract::State;
use serde::Serialize;
use steadfast_core::Principal;
use steadfast_host::problem::Reply;
use steadfast_saga::engine::Engine;

use super::{need, reply};

#[derive(Debug, Serialize)]
pub(super) struct Horizon {
    /// Milliseconds since the Unix epoch, as `saga_barrier_prune` takes them.
    horizon: i64,
}

pub(super) async fn show(
    State(engine): State<Engine>,
    Extension(principal): Extension<Principal>,
) -> Result<axum::Json<Horizon>, Reply> {
    need(&principal, "saga.read")?;
    let horizon = engine.horizon().await.map_err(|error| reply(&error))?;
    Ok(axum::Json(Horizon { horizon: horizon.as_millis() }))
}
