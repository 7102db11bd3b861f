//! `POST /v1/orders`: checked, completed with what is derived, and handed to the orchestrator. Nothing is written here.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use steadfast::core::{Principal, problem};
use steadfast::db::Backend;
use steadfast::host::problem::Reply;
use steadfast::idempotency::Context;

use super::start::{Asked, derive, invalid, parse, start};
use crate::order::{self, Fault, Line};
use crate::{Rows, Shared};

/// The longest card token.
const CARD_MAX: usize = 64;

/// What carries it out.
pub(crate) const SAGA: &str = "place_order";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceOrder {
    order_no: String,
    customer: Option<String>,
    placed_at: String,
    lines: Vec<Line>,
    currency: String,
    card: String,
}

/// The handler.
pub(crate) async fn place<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    Extension(principal): Extension<Principal>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    let asked: PlaceOrder = parse(&body)?;
    order::word(&asked.order_no).map_err(|fault| invalid(&Fault::new("order_no", fault)))?;
    let customer = order::customer(asked.customer.as_deref()).map_err(|fault| invalid(&fault))?;
    order::moment("placed_at", &asked.placed_at).map_err(|fault| invalid(&fault))?;
    order::currency(&asked.currency).map_err(|fault| invalid(&fault))?;
    let total = order::total(&asked.lines).map_err(|fault| invalid(&fault))?;
    if asked.card.is_empty() || asked.card.len() > CARD_MAX {
        return Err(problem::INVALID
            .with(format!("card: a payment token of 1 to {CARD_MAX} bytes is required"))
            .into());
    }
    let id = derive("order", &principal, &context);
    let input = json!({
        "order_id": id.to_string(),
        "order_no": asked.order_no,
        "customer": customer,
        "placed_at": asked.placed_at,
        "lines": asked.lines,
        "total": total,
        "currency": asked.currency,
        "card": asked.card,
        "stock": order::stock(&asked.lines),
    });
    let location = format!("/v1/orders/{id}");
    let asked = Asked { definition: SAGA, id_name: "order_id", id, location: Some(&location) };
    Ok(start(&shared.orchestrator, asked, &context, &headers, &input).await)
}
