//! Safe retries: a request that carries a key is executed once, however often it is sent, and every further time gets
//! the first answer.
//!
//! There are two forms. **Transactional** ([`TransactionalLayer`], [`run`]): the record is written in the transaction of
//! the effects, so there is no moment at which one stands without the other. It is the form for money. **Leased**
//! ([`IdempotencyLayer`]): the key is claimed first, the handler may call others, its answer is stored last; when a
//! process dies in between, nobody knows what was done, and the route's [`OnAmbiguous`] decides. Both look keys up in a
//! namespace of method, route and user, compare what is asked for by a [`Fingerprint`], and execute detached from the
//! connection.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::{Extension, Router, body::Body, http::Request, routing::post};
//! use steadfast_core::Principal;
//! use steadfast_idempotency::{Context, IdempotencyLayer, Memory, OnAmbiguous, Scope};
//! use tower::ServiceExt;
//!
//! # #[derive(Debug)] struct Now;
//! # impl steadfast_core::Clock for Now { fn now(&self) -> steadfast_core::Timestamp { Default::default() } }
//! # async fn example() {
//! let store = Arc::new(Memory::new(Arc::new(Now)));
//! let layer = IdempotencyLayer::new(store, Scope::new("POST /v1/orders")).on_ambiguous(OnAmbiguous::Retry);
//! let handler = |Extension(context): Extension<Context>| async move { format!("charged as {}", context.key("charge")) };
//! // Authentication comes before the layer; here it is a fixed user.
//! let app = Router::new()
//!     .route("/v1/orders", post(handler))
//!     .layer(layer)
//!     .layer(Extension(Principal::new("till-7", ["order.place"])));
//!
//! let order = || Request::post("/v1/orders").header("Idempotency-Key", "receipt-1").body(Body::from("1 tea")).unwrap();
//! let first = app.clone().oneshot(order()).await.unwrap();
//! let again = app.oneshot(order()).await.unwrap();
//! assert!(!first.headers().contains_key("Idempotency-Replayed"));
//! assert_eq!(again.headers()["Idempotency-Replayed"], "true");
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example());
//! ```
//!
//! What it does not do: it makes no handler atomic that writes in two places (that is what sagas are for), it does not
//! order requests, and it guards no saga calls, whose barrier row is their record. A repeat with a new key is a new
//! request. Compression belongs before the layer, so that every client gets the coding it asked for.

mod admission;
mod answer;
mod body;
mod context;
mod drain;
mod error;
mod execution;
mod fingerprint;
mod future;
mod key;
mod layer;
mod metrics;
mod options;
mod outcome;
mod record;
mod respond;
mod running;
mod service;
mod store;
mod transactional;

pub mod decision;

pub use answer::Answer;
pub use body::AnswerBody;
pub use context::Context;
pub use decision::{Claim, Decision, Prior, Report, Reported, Resolution, Resolved};
pub use drain::Drain;
pub use error::Error;
pub use fingerprint::{Fingerprint, Request as FingerprintRequest};
pub use future::ResponseFuture;
pub use key::{IdempotencyKey, KeyError, idempotency_key};
pub use layer::{IdempotencyLayer, InFlight, OnAmbiguous, Recover, Recovered};
pub use options::Scope;
pub use outcome::{NotExecuted, NotFinal, ResponseExt};
pub use record::{Owner, Phase, Record, RecordId, RecordIdError, Stamp, State};
pub use service::Idempotency;
#[cfg(feature = "postgres")]
pub use store::Postgres;
#[cfg(feature = "redis")]
pub use store::redis;
pub use store::{Cleaned, LINE, Memory, Sqlite, Store};
pub use transactional::{
    Backend, Keyed, Outcome, Policy, Transactional, TransactionalLayer, TransactionalService, run,
};
