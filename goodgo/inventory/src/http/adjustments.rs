//! Corrections by people: damaged, lost, found, counted wrong.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Transaction;
use steadfast::core::{Problem, header, problem};
use steadfast::host::json;
use steadfast::host::problem::Reply;
use steadfast::idempotency::{Answer, Transactional};
use steadfast::locking::{Reason, refuse_version_in_body};

use super::guard::Named;
use super::products::not_found;
use crate::stock::Move;
use crate::store::{Cause, Moved, Store};
use crate::{Error, Home, Rows, Shared};

/// The longest reference and reason.
const TEXT_MAX: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adjustment {
    /// What it is booked under, such as the number of a protocol.
    reference: String,
    /// Signed: negative is written off.
    quantity: i64,
    reason: String,
}

/// `POST /v1/stock/{product}/adjustments`
pub(crate) async fn adjust<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    Extension(once): Extension<Transactional<B>>,
    Named(product): Named,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    let Adjustment { reference, quantity, reason } = parse(&body)?;
    let traceparent = headers.get(header::TRACEPARENT).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let (reference, reason, now) = (Some(reference), Some(reason), shared.config.clock.now());
    let cause = Arc::new(Cause { traceparent, reference, reason, now, ..Cause::default() });
    let product: Arc<str> = product.into();
    let response = once
        .run(|tx| {
            let (store, product, cause) = (Arc::clone(&shared.store), Arc::clone(&product), Arc::clone(&cause));
            Box::pin(async move { book(&store, tx, &product, quantity, &cause).await })
        })
        .await
        .map_err(|error| Reply::of(&error))?;
    shared.config.hint.notify();
    Ok(response.map(Body::new))
}

async fn book<DB: Rows>(
    store: &Store,
    tx: &mut Transaction<'_, DB>,
    product: &str,
    quantity: i64,
    cause: &Cause,
) -> Result<Answer, Error> {
    let movement = if quantity < 0 { Move::WriteOff } else { Move::Find };
    let one = [(product.to_owned(), quantity.abs())].into();
    match store.shift(tx, movement, &one, cause).await? {
        Moved::All => {
            let body = json!({"product": product, "reference": cause.reference, "quantity": quantity});
            Ok(Answer::json(StatusCode::CREATED, &body)?)
        }
        Moved::None(losers) if losers.iter().any(|loser| loser.reason == Reason::NotFound) => {
            Ok(Answer::problem(&not_found(product)))
        }
        Moved::None(_) => {
            let mut refusal = problem::BUSINESS_REFUSAL.with(format!(
                "fewer than {} of {product} are free: what is promised to orders cannot be written off",
                quantity.abs()
            ));
            refusal.status = 409;
            Ok(Answer::problem(&refusal))
        }
    }
}

fn parse(body: &Bytes) -> Result<Adjustment, Problem> {
    let value: Value = json::parse(body)?;
    refuse_version_in_body(&value)?;
    let adjustment: Adjustment = json::parse(body)?;
    for (field, text) in [("reference", &adjustment.reference), ("reason", &adjustment.reason)] {
        if text.is_empty() || text.chars().count() > TEXT_MAX {
            return Err(problem::INVALID.with(format!("{field}: 1 to {TEXT_MAX} characters are required")));
        }
    }
    if adjustment.quantity == 0 || adjustment.quantity.unsigned_abs() > 1_000_000_000 {
        return Err(problem::INVALID.with("quantity: from -1000000000 to 1000000000, and not 0"));
    }
    Ok(adjustment)
}
