//! A step of a saga: who calls, then everything once, in one transaction.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use sqlx::Transaction;
use steadfast::core::{Problem, problem};
use steadfast::host::json;
use steadfast::host::problem::Reply;
use steadfast::saga::barrier::{self, Answer, BoxFuture, Route};
use steadfast::saga::participant::call::Call;

use crate::store::{Cause, Store};
use crate::{Error, Home, NAME, Shared};

/// What a step works with.
#[derive(Debug)]
pub(crate) struct Step<I> {
    pub(crate) store: Arc<Store>,
    pub(crate) cause: Cause,
    pub(crate) input: I,
}

/// The call, and what it works with.
pub(crate) fn read<B, I: DeserializeOwned>(
    shared: &Shared<B>,
    headers: &HeaderMap,
    body: &Bytes,
    scope: &'static str,
) -> Result<(Call, Arc<Step<I>>), Reply> {
    let now = shared.config.clock.now();
    let call = Call::from_headers(headers, &shared.config.call_key, NAME, scope, now)?;
    let input = json::parse(body)?;
    let step = Arc::new(Step { store: Arc::clone(&shared.store), cause: Cause::of_call(&call, now), input });
    Ok((call, step))
}

/// Answers one call: the stored answer, or `work` with the barrier's row in one transaction.
pub(crate) async fn once<B, I, F>(
    shared: &Shared<B>,
    (call, step): &(Call, Arc<Step<I>>),
    body: &Bytes,
    route: Route,
    work: F,
) -> Result<Response, Reply>
where
    B: Home,
    F: for<'t> Fn(&'t mut Transaction<'static, B::Sql>, Arc<Step<I>>) -> BoxFuture<'t, Result<Answer, Error>>,
{
    let answer = barrier::run(&shared.db, call, route, body, step.cause.now, |tx| work(tx, Arc::clone(step)))
        .await
        .map_err(|error| Reply::of(&error))?;
    shared.config.hint.notify();
    Ok(respond(answer))
}

/// [`read`] and [`once`].
pub(crate) async fn run<B, I, F>(
    shared: &Shared<B>,
    headers: &HeaderMap,
    body: &Bytes,
    (scope, route): (&'static str, Route),
    work: F,
) -> Result<Response, Reply>
where
    B: Home,
    I: DeserializeOwned,
    F: for<'t> Fn(&'t mut Transaction<'static, B::Sql>, Arc<Step<I>>) -> BoxFuture<'t, Result<Answer, Error>>,
{
    once(shared, &read(shared, headers, body, scope)?, body, route, work).await
}

/// An answer on its way.
pub(crate) fn respond(answer: Answer) -> Response {
    http::Response::<Bytes>::from(answer).map(Body::from)
}

/// A refusal: what was written is taken back, and every repeat hears the same.
pub(crate) fn refuse(detail: impl Into<String>) -> Problem {
    problem::BUSINESS_REFUSAL.with(detail)
}
