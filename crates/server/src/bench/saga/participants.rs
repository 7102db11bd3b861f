//! What the steps talk to: a participant that answers at once, or one that commits a barrier row and an effect first; and
//! the relay, which makes the same calls for whoever asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::Method;
use steadfast_core::{Clock, Op, SagaId, StepKey, problem};
use steadfast_host::clock::System;
use steadfast_host::problem::Reply;
use steadfast_saga::barrier::{Answer, Route};
use steadfast_saga::participant::call::Call;
use steadfast_saga::participant::client::{self, Outgoing, Participants};
use steadfast_saga::participant::token;

use crate::bench::load::Work;
use crate::bench::store::Store;

/// What definition and participant are called.
pub(super) const NAME: &str = "bench";
/// What every user may.
pub(super) const PERMISSION: &str = "bench";

/// The participant's state.
pub(super) struct Participant {
    pub(super) key: token::Key,
    /// Where barrier and effect are committed.
    pub(super) store: Option<Store>,
    /// Of a hundred calls of the last step, how many are refused.
    pub(super) failing: u64,
    pub(super) calls: AtomicU64,
}

impl Participant {
    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new().route("/step", post(step)).route("/last", post(last)).route("/undo", post(undo)).with_state(self)
    }

    async fn answer(&self, headers: &HeaderMap, body: &Bytes, refused: bool) -> Response {
        let reply = if refused {
            Answer::problem(&problem::BUSINESS_REFUSAL.with("refused for the measurement"))
        } else {
            Answer::new(200, "application/json", Bytes::from_static(br#"{"id":1}"#))
        };
        let Some(store) = &self.store else { return http::Response::<Bytes>::from(reply).map(Into::into) };
        let now = System.now();
        let call = match Call::from_headers(headers, &self.key, NAME, PERMISSION, now) {
            Ok(call) => call,
            Err(problem) => return Reply::from(problem).into_response(),
        };
        match store.guarded(&call, Route::Compensatable, body, now, reply).await {
            Ok(answer) => http::Response::<Bytes>::from(answer).map(Into::into),
            Err(error) => Reply::of(&error).into_response(),
        }
    }
}

async fn step(State(participant): State<Arc<Participant>>, headers: HeaderMap, body: Bytes) -> Response {
    participant.answer(&headers, &body, false).await
}

async fn last(State(participant): State<Arc<Participant>>, headers: HeaderMap, body: Bytes) -> Response {
    let call = participant.calls.fetch_add(1, Ordering::Relaxed) % 100;
    // Spread evenly: of each hundred calls in a row so many are refused.
    let refused = call * participant.failing / 100 != (call + 1) * participant.failing / 100;
    participant.answer(&headers, &body, refused).await
}

async fn undo(State(participant): State<Arc<Participant>>, headers: HeaderMap, body: Bytes) -> Response {
    participant.answer(&headers, &body, false).await
}

/// The calls of one saga, one after the other, by the orchestrator's own client.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) participants: Arc<Participants>,
    pub(super) steps: u32,
}

impl Calls {
    pub(super) async fn make(&self) -> Result<()> {
        let participant = self.participants.get(NAME).context("the participant")?;
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let saga = SagaId::from_parts(System.now(), random);
        for step in 0..self.steps {
            let key = StepKey { saga, step: format!("step_{step}"), op: Op::Action };
            let path = if step + 1 == self.steps { "/last" } else { "/step" };
            let raw = participant.send(bare_call(&key, path)).await;
            // A refusal at the last step is an answer like another.
            let answered = |status: StatusCode| status.is_success() || status == StatusCode::UNPROCESSABLE_ENTITY;
            if !matches!(&raw, client::Raw::Replied(replied) if answered(replied.status)) {
                bail!("a bare call failed: {raw:?}");
            }
        }
        Ok(())
    }
}

impl Work for Calls {
    async fn once(&mut self) -> Result<()> {
        self.make().await
    }
}

/// Makes the calls for its caller.
pub(super) fn relay(calls: Arc<Calls>) -> Router {
    Router::new().route("/relay", post(relayed)).with_state(calls)
}

async fn relayed(State(calls): State<Arc<Calls>>, _: Bytes) -> Response {
    match calls.make().await {
        Ok(()) => (StatusCode::OK, r#"{"status":"completed"}"#).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn bare_call<'a>(key: &'a StepKey, path: &'a str) -> Outgoing<'a> {
    Outgoing {
        method: Method::POST,
        path,
        body: Some(Bytes::from_static(br#"{"amount":1200,"order":4711}"#)),
        key,
        attempt: 1,
        started: System.now(),
        epoch: 1,
        knowledge: None,
        user: NAME,
        scope: PERMISSION,
        traceparent: None,
        timeout: Duration::from_secs(30),
        probe: false,
        now: System.now(),
        may_leave: &|| true,
    }
}
