//! The payment for an order: captured, voided, shown.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Transaction;
use steadfast::core::{problem, sha256};
use steadfast::host::json::Json;
use steadfast::host::problem::Reply;
use steadfast::saga::barrier::{Answer, Route};
use uuid::Uuid;

use super::guard::Named;
use super::step::{self, Step, refuse};
use crate::payment::{Payment, authorize};
use crate::store::{Stored, stored};
use crate::{Error, Home, Rows, Shared};

const SCOPE: &str = "payment.process";

#[derive(Deserialize)]
pub(crate) struct Capture {
    order_id: Uuid,
    customer: String,
    amount: i64,
    card: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Void {
    order_id: Uuid,
}

/// `POST /saga/payments`
pub(crate) async fn capture<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, (SCOPE, Route::Compensatable), |tx, step: Arc<Step<Capture>>| {
        Box::pin(async move { take(tx, &step).await })
    })
    .await
}

async fn take<DB: Rows>(tx: &mut Transaction<'_, DB>, step: &Step<Capture>) -> Result<Answer, Error> {
    let Step { store, cause, input: Capture { order_id, customer, amount, card } } = step;
    let payment = match Payment::capture(*amount) {
        Ok(payment) => payment,
        Err(fault) => return Ok(Answer::problem(&refuse(fault.to_string()))),
    };
    if authorize(card).is_err() {
        let mut declined = refuse("the card was declined: ask the customer for another one");
        declined.status = 402;
        return Ok(Answer::problem(&declined));
    }
    let id = payment_id(*order_id);
    if !store.capture(tx, id, (*order_id, customer), payment, cause).await? {
        return Ok(Answer::problem(&refuse(format!("order {order_id} has been paid for before"))));
    }
    Ok(Answer::json(201, &json!({"payment_id": id.to_string(), "status": payment.status.as_str()})))
}

/// The payment's own id: an order is paid for once.
fn payment_id(order_id: Uuid) -> Uuid {
    let hash = sha256(&[b"payment", order_id.as_bytes()]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uuid::new_v8(bytes)
}

/// `POST /saga/payments/refund`: takes the capture back, whole.
pub(crate) async fn void<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, (SCOPE, Route::Compensatable), |tx, step: Arc<Step<Void>>| {
        Box::pin(async move { take_back(tx, &step).await })
    })
    .await
}

async fn take_back<DB: Rows>(tx: &mut Transaction<'_, DB>, step: &Step<Void>) -> Result<Answer, Error> {
    let Step { store, cause, input: Void { order_id } } = step;
    // The barrier knows that the capture was made here, so a payment that is missing or voided is a contradiction.
    let corrupt = |fault: &str| Error::Corrupt(format!("the payment for order {order_id}: {fault}"));
    let before = store.payment(tx, *order_id).await?.ok_or_else(|| corrupt("there is none"))?;
    let after = before.payment.void().map_err(|fault| corrupt(&fault.to_string()))?;
    if before.payment.left() > 0 {
        store.give_back(tx, (*order_id, None), &before, after, cause).await?;
    }
    Ok(Answer::json(200, &json!({"payment_id": before.id.to_string(), "status": after.status.as_str()})))
}

/// Outside any transaction.
async fn find<B: Home>(db: &B, order_id: Uuid) -> Result<Option<Stored>, Error> {
    let mut connection = db.readers().acquire().await?;
    let row = B::Sql::read_payment(&mut connection, order_id).await?;
    row.map(|row| stored(order_id, row)).transpose()
}

/// `GET /v1/payments/{order_id}`
pub(crate) async fn show<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    Named(order_id): Named,
) -> Result<Json<Value>, Reply> {
    let not_found = || problem::NOT_FOUND.with("there is no payment for this order: it was free, or never charged");
    let order_id: Uuid = order_id.parse().map_err(|_| not_found())?;
    let found = find(&shared.db, order_id).await.map_err(|error| Reply::of(&error))?.ok_or_else(not_found)?;
    Ok(Json(json!({
        "order_id": order_id.to_string(),
        "payment_id": found.id.to_string(),
        "customer": found.customer,
        "amount": found.payment.amount,
        "refunded": found.payment.refunded,
        "status": found.payment.status.as_str(),
    })))
}

impl std::fmt::Debug for Capture {
    /// Without the card and the customer.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture")
            .field("order_id", &self.order_id)
            .field("amount", &self.amount)
            .finish_non_exhaustive()
    }
}
