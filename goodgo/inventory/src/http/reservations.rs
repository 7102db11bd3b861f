//! Stock that is promised to an order: reserve, and then release or commit.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Transaction;
use steadfast::core::{Problem, header, problem};
use steadfast::host::problem::Reply;
use steadfast::locking::lane::{self, Verdict};
use steadfast::locking::{Loser, Reason};
use steadfast::saga::barrier::{Answer, Route};
use steadfast::saga::participant::call::Call;
use uuid::Uuid;

use super::step::{self, Step, refuse};
use crate::stock::{Line, Move, by_product};
use crate::store::{Cause, Combine, Moved, Quantities, Want, amounts};
use crate::{Error, Home, Rows, Shared};

const SCOPE: &str = "order.place";

#[derive(Debug, Deserialize)]
pub(crate) struct Reserve {
    order_id: Uuid,
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Settle {
    order_id: Uuid,
}

/// `POST /saga/reservations`: all lines or none. Of a hot product, together with others.
pub(crate) async fn reserve<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    let called = step::read::<_, Reserve>(&shared, &headers, &body, SCOPE)?;
    // Lines that are none are refused the ordinary way.
    let quantities = by_product(&called.1.input.lines).unwrap_or_default();
    let warm = shared.front.come(&quantities);
    if let Some(lane) = shared.front.lane(&warm)
        && let Some(response) = combined(lane, &called, &body, &quantities).await?
    {
        shared.config.hint.notify();
        return Ok(response);
    }
    step::once(&shared, &called, &body, Route::Compensatable, |tx, step: Arc<Step<Reserve>>| {
        Box::pin(async move { hold(tx, &step).await })
    })
    .await
}

/// Reserves in a batch. Nothing where the barrier has to tell what has become of the call, or where the lane gives up: then
/// the ordinary way does, which waits for the row's lock.
async fn combined(
    lane: &dyn Combine,
    (call, step): &(Call, Arc<Step<Reserve>>),
    body: &Bytes,
    quantities: &Quantities,
) -> Result<Option<Response>, Reply> {
    let order_id = step.input.order_id;
    let want = Want::new(call, body, order_id, &step.cause, answer);
    let verdict = match lane.reserve(amounts(quantities), want).await {
        Ok(verdict) => verdict,
        Err(lane::Error::Known | lane::Error::Contended) => return Ok(None),
        Err(lane::Error::Failed(error)) => return Err(Reply::of(&*error)),
        Err(error @ (lane::Error::Full | lane::Error::Closed)) => {
            return Err(problem::UNAVAILABLE.with(error.to_string()).retry_after(1).into());
        }
    };
    let mut response = step::respond(answer(order_id, &verdict));
    if matches!(verdict, Verdict::Refused(_)) {
        // As the barrier says of every refusal that it has stored.
        response.headers_mut().insert(header::SAGA_OUTCOME, HeaderValue::from_static("refused"));
    }
    Ok(Some(response))
}

async fn hold<DB: Rows>(tx: &mut Transaction<'_, DB>, step: &Step<Reserve>) -> Result<Answer, Error> {
    let Step { store, cause, input: Reserve { order_id, lines } } = step;
    let quantities = match by_product(lines) {
        Ok(quantities) => quantities,
        Err(fault) => return Ok(Answer::problem(&refuse(fault))),
    };
    let cause = Cause { order_id: Some(*order_id), ..cause.clone() };
    if !store.reserve(tx, *order_id, &quantities, &cause).await? {
        return Ok(Answer::problem(&refuse(format!("stock has been reserved for order {order_id} before"))));
    }
    match store.shift(tx, Move::Reserve, &quantities, &cause).await? {
        Moved::All => Ok(reserved(*order_id)),
        Moved::None(losers) => Ok(Answer::problem(&out_of_stock(&losers))),
    }
}

fn answer(order_id: Uuid, verdict: &Verdict) -> Answer {
    match verdict {
        Verdict::Taken(_) => reserved(order_id),
        Verdict::Refused(losers) => Answer::problem(&out_of_stock(losers)),
    }
}

fn reserved(order_id: Uuid) -> Answer {
    Answer::json(201, &json!({"order_id": order_id.to_string()}))
}

fn out_of_stock(losers: &[Loser]) -> Problem {
    let text = |loser: &Loser| match loser.reason {
        Reason::NotFound => format!("{} is not sold here", loser.key),
        Reason::Refused | Reason::Conflict(_) => format!("{} is out of stock", loser.key),
    };
    let products: Value = losers.iter().map(|loser| loser.key.to_string()).collect();
    refuse(losers.iter().map(text).collect::<Vec<_>>().join("; ")).member("products", products)
}

/// `POST /saga/reservations/release`: takes the reservation back.
pub(crate) async fn release<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, (SCOPE, Route::Compensatable), |tx, step: Arc<Step<Settle>>| {
        Box::pin(async move { settle(tx, &step, Move::Release, "released").await })
    })
    .await
}

/// `POST /saga/reservations/commit`: the goods leave.
pub(crate) async fn commit<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    step::run(&shared, &headers, &body, (SCOPE, Route::Retriable), |tx, step: Arc<Step<Settle>>| {
        Box::pin(async move { settle(tx, &step, Move::Commit, "committed").await })
    })
    .await
}

async fn settle<DB: Rows>(
    tx: &mut Transaction<'_, DB>,
    step: &Step<Settle>,
    movement: Move,
    status: &'static str,
) -> Result<Answer, Error> {
    let Step { store, cause, input: Settle { order_id } } = step;
    let cause = Cause { order_id: Some(*order_id), ..cause.clone() };
    store.settle(tx, *order_id, movement, status, &cause).await?;
    Ok(Answer::empty(204))
}
