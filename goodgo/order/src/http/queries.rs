//! Reads: from the read model only.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use steadfast::core::{Problem, problem};
use steadfast::db::Backend;
use steadfast::host::json::Json;
use steadfast::host::problem::Reply;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::guard::Named;
use crate::read_model::{self, order as find_order};
use crate::{Error, Rows, Shared};

/// Which day.
#[derive(Debug, Deserialize)]
pub(crate) struct Day {
    day: Option<String>,
}

/// `GET /v1/orders/{id}`
pub(crate) async fn order<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    Named(id): Named,
) -> Result<Json<Value>, Reply> {
    let not_found = || {
        problem::NOT_FOUND
            .with("no such order is known yet: one that was just placed is shown in a moment; check its id")
    };
    let id: Uuid = id.parse().map_err(|_| not_found())?;
    let found = find_order(&shared.config.read_model, id).await.map_err(|error| Reply::of(&error))?;
    let found = found.ok_or_else(not_found)?;
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(found.placed_at) * 1_000_000).ok();
    let moment = moment.and_then(|moment| moment.format(&Rfc3339).ok());
    let mut body = serde_json::to_value(&found).map_err(|_| Reply::of(&Error::Corrupt(format!("order {id}"))))?;
    body["placed_at"] = moment.into();
    Ok(Json(body))
}

/// `GET /v1/sales?day=2010-12-01`
pub(crate) async fn sales<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    query: Result<Query<Day>, QueryRejection>,
) -> Result<Json<Value>, Reply> {
    let day = query.ok().and_then(|Query(Day { day })| day).filter(|day| is_day(day)).ok_or_else(bad_day)?;
    let sales = read_model::sales_of(&shared.config.read_model, &day).await.map_err(|error| Reply::of(&error))?;
    Ok(Json(json!({ "day": day, "products": sales })))
}

/// `GET /v1/stock-view/{product}`
pub(crate) async fn stock<B: Backend<Sql: Rows>>(
    State(shared): State<Arc<Shared<B>>>,
    Named(product): Named,
) -> Result<Json<Value>, Reply> {
    let found = read_model::stock_of(&shared.config.read_model, &product).await.map_err(|error| Reply::of(&error))?;
    let found = found.ok_or_else(|| problem::NOT_FOUND.with("no stock of this product is known: check its code"))?;
    Ok(Json(json!(found)))
}

fn bad_day() -> Problem {
    problem::INVALID.with("day: a day is required, such as ?day=2010-12-01").member("field", "day")
}

/// Whether the text has the form of a day.
fn is_day(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}
