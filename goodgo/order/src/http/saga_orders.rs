//! The steps of `place_order` that are done here: create, and then confirm or cancel.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use sqlx::Transaction;
use steadfast::db::Backend;
use steadfast::host::problem::Reply;
use steadfast::saga::barrier::{Answer, Route};
use uuid::Uuid;

use super::step::{self, Step, refuse};
use crate::order::{self, Line, Status};
use crate::store::NewOrder;
use crate::{Error, Rows, Shared};

const SCOPE: &str = "order.place";

#[derive(Deserialize)]
pub(crate) struct Create {
    order_id: Uuid,
    order_no: String,
    customer: String,
    placed_at: String,
    lines: Vec<Line>,
    total: i64,
    currency: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    order_id: Uuid,
}

/// `POST /saga/orders`
pub(crate) async fn create<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, (SCOPE, Route::Compensatable), |tx, step: Arc<Step<Create>>| {
        Box::pin(async move { write(tx, &step).await })
    })
    .await
}

async fn write<DB: Rows>(tx: &mut Transaction<'_, DB>, step: &Step<Create>) -> Result<Answer, Error> {
    let Step { store, cause, input } = step;
    let placed_at = match order::moment("placed_at", &input.placed_at) {
        Ok(placed_at) => placed_at,
        Err(fault) => return Ok(Answer::problem(&refuse(fault.to_string()))),
    };
    // What is charged is what the lines come to, whoever asks.
    match order::total(&input.lines) {
        Ok(total) if total == input.total => {}
        Ok(total) => {
            let fault = format!("total: the lines come to {total} thousandths, not to {}", input.total);
            return Ok(Answer::problem(&refuse(fault)));
        }
        Err(fault) => return Ok(Answer::problem(&refuse(fault.to_string()))),
    }
    let new = NewOrder {
        id: input.order_id,
        order_no: &input.order_no,
        customer: &input.customer,
        placed_at,
        total: input.total,
        currency: &input.currency,
        lines: &input.lines,
    };
    if !store.create_order(tx, &new, cause).await? {
        return Ok(Answer::problem(&refuse(format!("order {} exists already", input.order_id))));
    }
    Ok(Answer::json(201, &json!({"order_id": input.order_id.to_string(), "status": Status::Created.as_str()})))
}

/// `POST /saga/orders/cancel`
pub(crate) async fn cancel<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, (SCOPE, Route::Compensatable), |tx, step: Arc<Step<Named>>| {
        Box::pin(async move { move_on(tx, &step, Status::cancel, "order.cancelled.v1").await })
    })
    .await
}

/// `POST /saga/orders/confirm`
pub(crate) async fn confirm<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, (SCOPE, Route::Retriable), |tx, step: Arc<Step<Named>>| {
        Box::pin(async move { move_on(tx, &step, Status::confirm, "order.confirmed.v1").await })
    })
    .await
}

/// Reads, decides, and writes under the version that was read. Both steps follow the creation of the order here, and each
/// runs once, so an order that is missing or cannot move is a contradiction.
async fn move_on<DB: Rows>(
    tx: &mut Transaction<'_, DB>,
    step: &Step<Named>,
    rule: fn(Status) -> Option<Status>,
    event_type: &'static str,
) -> Result<Answer, Error> {
    let Step { store, cause, input: Named { order_id } } = step;
    let corrupt = |fault: &str| Error::Corrupt(format!("order {order_id}: {fault}"));
    let before = store.order(tx, *order_id).await?.ok_or_else(|| corrupt("there is none"))?;
    let after = rule(before.status)
        .ok_or_else(|| corrupt(&format!("it is {} and {event_type} cannot happen", before.status.as_str())))?;
    store.move_order(tx, *order_id, &before, (after, event_type), cause).await?;
    Ok(Answer::json(200, &json!({"order_id": order_id.to_string(), "status": after.as_str()})))
}
