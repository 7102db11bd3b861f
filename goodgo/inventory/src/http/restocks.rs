//! Goods that come back from a customer.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use sqlx::Transaction;
use steadfast::core::problem;
use steadfast::host::problem::Reply;
use steadfast::saga::barrier::{Answer, Route};
use uuid::Uuid;

use super::step::{self, Step};
use crate::stock::{Line, by_product};
use crate::store::Cause;
use crate::{Error, Home, Rows, Shared};

#[derive(Debug, Deserialize)]
pub(crate) struct Restock {
    return_id: Uuid,
    lines: Vec<Line>,
}

/// `POST /saga/restocks`: all of it, whatever it is.
pub(crate) async fn restock<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, ("order.return", Route::Retriable), |tx, step: Arc<Step<Restock>>| {
        Box::pin(async move { take_back(tx, &step).await })
    })
    .await
}

async fn take_back<DB: Rows>(tx: &mut Transaction<'_, DB>, step: &Step<Restock>) -> Result<Answer, Error> {
    let Step { store, cause, input: Restock { return_id, lines } } = step;
    let quantities = match by_product(lines) {
        Ok(quantities) => quantities,
        // The step cannot be refused for good: who operates the saga must look.
        Err(fault) => return Ok(Answer::problem(&problem::INVALID.with(fault))),
    };
    let cause = Cause { return_id: Some(*return_id), ..cause.clone() };
    store.take_back(tx, &quantities, &cause).await?;
    Ok(Answer::empty(204))
}
