//! Who asks, and what is done for them: in the transaction of the record, or beside it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Json, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgExecutor;
use steadfast_core::{Principal, problem};
use steadfast_db::postgres::Db;
use steadfast_host::problem::Reply;
use steadfast_idempotency::{Answer, Context, Error, Transactional};
use tokio::time::{sleep, timeout};

/// How long the ledger may take.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct Shop {
    pub(crate) ledger: Db,
    pub(crate) takes: Duration,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Charge {
    reference: String,
    cents: i64,
}

/// Stands for authentication, which comes before the layer: a key belongs to a user.
pub(crate) async fn authenticate(mut request: Request, next: Next) -> Response {
    let user = request.headers().get("x-user").and_then(|user| user.to_str().ok());
    if let Some(principal) = user.map(|user| Principal::new(user, ["charge.make"])) {
        request.extensions_mut().insert(principal);
    }
    next.run(request).await
}

/// Record and charge are one commit: after a crash, or a connection that broke in the commit, both are there or neither is.
pub(crate) async fn charge_in_one_commit(
    State(shop): State<Shop>,
    Extension(once): Extension<Transactional<Db>>,
    Json(charge): Json<Charge>,
) -> Result<Response, Reply> {
    let takes = shop.takes;
    let charged = once.run(|tx| {
        let charge = charge.clone();
        Box::pin(async move {
            let id = write(&mut **tx, &charge, 1).await?;
            sleep(takes).await;
            Answer::json(StatusCode::CREATED, &json!({ "charge": id, "attempt": 1 }))
        })
    });
    Ok(charged.await.map_err(|error| Reply::of(&error))?.map(Body::new))
}

/// The record is claimed before and completed after. Whether a charge whose ledger did not answer was made nobody knows:
/// that is a 500, and the route's policy decides what a repeat gets. A real card network is handed `context.key("charge")`.
pub(crate) async fn charge(
    State(shop): State<Shop>,
    context: Option<Extension<Context>>,
    Json(charge): Json<Charge>,
) -> Response {
    let attempt = context.map_or(1, |Extension(context)| context.attempt());
    sleep(shop.takes / 2).await;
    let written = write(shop.ledger.pool(), &charge, attempt).await;
    sleep(shop.takes / 2).await;
    match written {
        Ok(id) => (StatusCode::CREATED, Json(json!({ "charge": id, "attempt": attempt }))).into_response(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the ledger did not answer");
            let unknown = "the ledger did not answer, so whether the charge was made is not known";
            Reply::from(problem::INTERNAL.with(unknown)).into_response()
        }
    }
}

async fn write(ledger: impl PgExecutor<'_>, charge: &Charge, attempt: u32) -> Result<i64, Error> {
    let insert = sqlx::query_scalar(include_str!("insert_charge.sql"))
        .bind(&charge.reference)
        .bind(charge.cents)
        .bind(i64::from(attempt))
        .fetch_one(ledger);
    let written = timeout(PATIENCE, insert).await.map_err(|_| Error::TimedOut)?;
    Ok(written.map_err(steadfast_db::Error::from)?)
}
