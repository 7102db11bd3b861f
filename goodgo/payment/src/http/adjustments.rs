//! Bookings on a customer's account without goods, such as bad debt.

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
use steadfast::locking::refuse_version_in_body;

use super::guard::Named;
use crate::store::{Cause, Entry, Store};
use crate::{Error, Home, Rows, Shared};

/// The longest reference and reason.
const TEXT_MAX: usize = 200;
/// The longest name of a customer, in bytes.
const CUSTOMER_MAX: usize = 64;
/// The largest adjustment, in thousandths.
const AMOUNT_MAX: u64 = 1_000_000_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adjustment {
    /// What it is booked under, such as the number of a document.
    reference: String,
    /// Signed, in thousandths.
    amount: i64,
    reason: String,
}

/// `POST /v1/accounts/{customer}/adjustments`: the booking, its event and the record of its key in one transaction.
pub(crate) async fn adjust<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    Extension(once): Extension<Transactional<B>>,
    Named(customer): Named,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    let adjustment = Arc::new(parse(&customer, &body)?);
    let traceparent = headers.get(header::TRACEPARENT).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let cause = Arc::new(Cause { traceparent, now: shared.config.clock.now(), ..Cause::default() });
    let customer: Arc<str> = customer.into();
    let response = once
        .run(|tx| {
            let (store, cause) = (Arc::clone(&shared.store), Arc::clone(&cause));
            let (customer, adjustment) = (Arc::clone(&customer), Arc::clone(&adjustment));
            Box::pin(async move { book(&store, tx, &customer, &adjustment, &cause).await })
        })
        .await
        .map_err(|error| Reply::of(&error))?;
    shared.config.hint.notify();
    Ok(response.map(Body::new))
}

async fn book<DB: Rows>(
    store: &Store,
    tx: &mut Transaction<'_, DB>,
    customer: &str,
    adjustment: &Adjustment,
    cause: &Cause,
) -> Result<Answer, Error> {
    let Adjustment { reference, amount, reason } = adjustment;
    let entry =
        Entry { reference: Some(reference), reason: Some(reason), ..Entry::new("adjustment", customer, *amount) };
    let balance = store.adjust(tx, &entry, cause).await?;
    let body = json!({"customer": customer, "reference": reference, "amount": amount, "balance": balance});
    Ok(Answer::json(StatusCode::CREATED, &body)?)
}

fn parse(customer: &str, body: &Bytes) -> Result<Adjustment, Problem> {
    let value: Value = json::parse(body)?;
    refuse_version_in_body(&value)?;
    let adjustment: Adjustment = json::parse(body)?;
    if customer.is_empty() || customer.len() > CUSTOMER_MAX || customer.chars().any(char::is_control) {
        let fault = format!("the customer in the path has 1 to {CUSTOMER_MAX} bytes and no control characters");
        return Err(problem::INVALID.with(fault));
    }
    for (field, text) in [("reference", &adjustment.reference), ("reason", &adjustment.reason)] {
        if text.is_empty() || text.chars().count() > TEXT_MAX {
            return Err(problem::INVALID.with(format!("{field}: 1 to {TEXT_MAX} characters are required")));
        }
    }
    if adjustment.amount == 0 || adjustment.amount.unsigned_abs() > AMOUNT_MAX {
        let fault = format!("amount: from -{AMOUNT_MAX} to {AMOUNT_MAX} thousandths, and not 0");
        return Err(problem::INVALID.with(fault));
    }
    Ok(adjustment)
}
