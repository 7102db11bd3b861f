//! Money that goes back for goods that came back.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use sqlx::Transaction;
use steadfast::core::problem;
use steadfast::host::problem::Reply;
use steadfast::saga::barrier::{Answer, Route};
use uuid::Uuid;

use super::step::{self, Step};
use crate::payment::Fault;
use crate::{Error, Home, Rows, Shared};

#[derive(Debug, Deserialize)]
pub(crate) struct Refund {
    return_id: Uuid,
    /// None: the goods were bought without an order of ours.
    order_id: Option<Uuid>,
    customer: String,
    amount: i64,
}

/// `POST /saga/refunds`. The return was accepted by the order service, so the refund is owed: it cannot be refused, and
/// one that the payment does not cover is for an operator to look at.
pub(crate) async fn refund<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, ("order.return", Route::Retriable), |tx, step: Arc<Step<Refund>>| {
        Box::pin(async move { pay_back(tx, &step).await })
    })
    .await
}

async fn pay_back<DB: Rows>(tx: &mut Transaction<'_, DB>, step: &Step<Refund>) -> Result<Answer, Error> {
    let Step { store, cause, input: Refund { return_id, order_id, customer, amount } } = step;
    if *amount < 1 {
        return Ok(Answer::problem(&problem::INVALID.with(Fault::Amount.to_string())));
    }
    match order_id {
        None => store.refund_alone(tx, *return_id, customer, *amount, cause).await?,
        Some(order_id) => {
            let corrupt = |fault: &str| Error::Corrupt(format!("return {return_id} of order {order_id}: {fault}"));
            let before = store.payment(tx, *order_id).await?;
            let before = before.ok_or_else(|| corrupt("nothing was paid for it"))?;
            let after = before.payment.refund(*amount).map_err(|fault| corrupt(&fault.to_string()))?;
            store.give_back(tx, (*order_id, Some(*return_id)), &before, after, cause).await?;
        }
    }
    Ok(Answer::json(201, &json!({"return_id": return_id.to_string(), "amount": amount})))
}
