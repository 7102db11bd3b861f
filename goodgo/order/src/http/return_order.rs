//! `POST /v1/returns`: checked, completed with what is derived, and handed to the orchestrator. Nothing is written here.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use steadfast::core::Principal;
use steadfast::db::Backend;
use steadfast::host::problem::Reply;
use steadfast::idempotency::Context;
use uuid::Uuid;

use super::start::{Asked, derive, invalid, parse, start};
use crate::order::{self, Fault, Line};
use crate::returns;
use crate::{Rows, Shared};

/// What carries it out.
pub(crate) const SAGA: &str = "return_order";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReturnOrder {
    return_no: String,
    /// Null: the goods were bought without an order of ours.
    order_id: Option<Uuid>,
    customer: Option<String>,
    placed_at: String,
    lines: Vec<Line>,
    /// What is refunded, in thousandths.
    amount: i64,
}

/// The handler.
pub(crate) async fn take_back<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    Extension(principal): Extension<Principal>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    let asked: ReturnOrder = parse(&body)?;
    order::word(&asked.return_no).map_err(|fault| invalid(&Fault::new("return_no", fault)))?;
    let customer = order::customer(asked.customer.as_deref()).map_err(|fault| invalid(&fault))?;
    order::moment("placed_at", &asked.placed_at).map_err(|fault| invalid(&fault))?;
    returns::check_amount(asked.amount, &asked.lines).map_err(|fault| invalid(&fault))?;
    let id = derive("return", &principal, &context);
    let input = json!({
        "return_id": id.to_string(),
        "return_no": asked.return_no,
        "order_id": asked.order_id.map(|id| id.to_string()),
        "customer": customer,
        "placed_at": asked.placed_at,
        "amount": asked.amount,
        "lines": asked.lines,
        "stock": order::stock(&asked.lines),
    });
    // The order that it belongs to shows what was returned; a return alone has no page of its own.
    let location = asked.order_id.map(|order_id| format!("/v1/orders/{order_id}"));
    let asked = Asked { definition: SAGA, id_name: "return_id", id, location: location.as_deref() };
    Ok(start(&shared.orchestrator, asked, &context, &headers, &input).await)
}
