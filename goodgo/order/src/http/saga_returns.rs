//! The steps of `return_order` that are done here: create, which may be refused, and then confirm or cancel.

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
use crate::order::{self, Line};
use crate::returns::{self, Status};
use crate::store::NewReturn;
use crate::{Error, Rows, Shared};

const SCOPE: &str = "order.return";

#[derive(Deserialize)]
pub(crate) struct Create {
    return_id: Uuid,
    return_no: String,
    order_id: Option<Uuid>,
    customer: String,
    placed_at: String,
    amount: i64,
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    return_id: Uuid,
}

/// `POST /saga/returns`: never more money and never more goods come back than went out.
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
    let checked = order::moment("placed_at", &input.placed_at)
        .and_then(|moment| returns::check_amount(input.amount, &input.lines).map(|()| moment));
    let placed_at = match checked {
        Ok(placed_at) => placed_at,
        Err(fault) => return Ok(Answer::problem(&refuse(fault.to_string()))),
    };
    let new = NewReturn {
        id: input.return_id,
        return_no: &input.return_no,
        order_id: input.order_id,
        customer: &input.customer,
        placed_at,
        amount: input.amount,
        lines: &input.lines,
    };
    let mut claim = None;
    let order;
    if let Some(order_id) = input.order_id {
        let Some(found) = store.order(tx, order_id).await? else {
            return Ok(Answer::problem(&refuse(format!("order_id: there is no order {order_id} here"))));
        };
        order = found;
        let of = store.returnable(tx, &order).await?;
        match returns::claim(&of, input.amount, &input.lines) {
            Ok(returned) => claim = Some((&order, returned)),
            Err(refusal) => return Ok(Answer::problem(&refuse(refusal.to_string()))),
        }
    }
    if !store.create_return(tx, &new, claim, cause).await? {
        return Ok(Answer::problem(&refuse(format!("return {} exists already", input.return_id))));
    }
    Ok(Answer::json(201, &json!({"return_id": input.return_id.to_string(), "status": Status::Recorded.as_str()})))
}

/// `POST /saga/returns/cancel`
pub(crate) async fn cancel<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, (SCOPE, Route::Compensatable), |tx, step: Arc<Step<Named>>| {
        Box::pin(async move { move_on(tx, &step, Status::Cancelled, "return.cancelled.v1").await })
    })
    .await
}

/// `POST /saga/returns/confirm`
pub(crate) async fn confirm<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, (SCOPE, Route::Retriable), |tx, step: Arc<Step<Named>>| {
        Box::pin(async move { move_on(tx, &step, Status::Confirmed, "return.confirmed.v1").await })
    })
    .await
}

/// As for orders: each step runs once, after the return was recorded here, so one that cannot move is a contradiction.
async fn move_on<DB: Rows>(
    tx: &mut Transaction<'_, DB>,
    step: &Step<Named>,
    after: Status,
    event_type: &'static str,
) -> Result<Answer, Error> {
    let Step { store, cause, input: Named { return_id } } = step;
    let before = store.find_return(tx, *return_id).await?;
    if before.status != Status::Recorded {
        let fault = format!("return {return_id} is {} and {event_type} cannot happen", before.status.as_str());
        return Err(Error::Corrupt(fault));
    }
    store.move_return(tx, *return_id, &before, (after, event_type), cause).await?;
    Ok(Answer::json(200, &json!({"return_id": return_id.to_string(), "status": after.as_str()})))
}
