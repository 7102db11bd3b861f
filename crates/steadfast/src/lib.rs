//! Data consistency for microservices: five patterns that keep data right across services that each own a database.
//!
//! | pattern | module | promise |
//! |---|---|---|
//! | saga | [`saga`] | a workflow across services ends whole or is taken back |
//! | transactional outbox | [`outbox`] | an event exists exactly if its change does, and is published |
//! | idempotency | [`idempotency`] | a request with a key is executed once, however often it is sent |
//! | optimistic locking | [`locking`] | no edit overwrites one that it has not seen; no count oversells |
//! | read models | [`projection`] | queries read rows that events of all services have made |
//!
//! Under them lie [`core`] (ids, events, problems, time as a value), [`db`] (pools, transactions with retries, migrations),
//! [`bus`] (the event log) and [`host`] (what every process needs: authentication, health, metrics, a server that drains).
//! With the features `command` and `postgres` there is `service`: the database of a service that is a process of its own.
//!
//! What must be atomic with your change takes your own transaction: there is no framework around your code, and SQL
//! stays SQL. A service that sells gift cards, safe to be asked twice, telling the world once:
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::body::Body;
//! use axum::http::{Request, Response, StatusCode};
//! use axum::{Extension, Router, routing::post};
//! use steadfast::core::{NewEvent, Principal};
//! use steadfast::db::{Db, Line, Migration, migrate, sqlite::Options};
//! use steadfast::host::{clock, problem::Reply};
//! use steadfast::idempotency::{Answer, Error, Scope, Transactional, TransactionalLayer};
//! use steadfast::{core::Clock, idempotency, outbox};
//! use tower::ServiceExt;
//!
//! const CARDS: Line = Line {
//!     name: "cards",
//!     sqlite: &[Migration { version: 1, name: "card", sql: "create table card (id integer primary key, cents integer)" }],
//!     postgres: &[],
//! };
//!
//! async fn sell(Extension(once): Extension<Transactional>) -> Result<Response<Body>, Reply> {
//!     let sold = once.run(|tx| Box::pin(async move {
//!         let card = sqlx::query("insert into card (cents) values (5000)").execute(&mut **tx).await.map_err(wrap)?;
//!         let id = card.last_insert_rowid().to_string();
//!         let event = NewEvent::new("card", &id, "card.sold.v1", serde_json::json!({"cents": 5000})).with_sequence(1);
//!         outbox::append(tx, &event, clock::System.now()).await.map_err(|_| Error::Closed)?;
//!         Answer::json(StatusCode::CREATED, &serde_json::json!({"card": id}))
//!     }));
//!     Ok(sold.await.map_err(|error| Reply::of(&error))?.map(Body::new))
//! }
//!
//! fn wrap(error: sqlx::Error) -> Error {
//!     steadfast::db::Error::from(error).into()
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("cards.sqlite");
//! let db = Db::open(&path, Options::default()).await?;
//! for line in [&CARDS, &outbox::LINE, &idempotency::LINE] {
//!     migrate(&db, line).await?;
//! }
//! let app = Router::new()
//!     .route("/v1/cards", post(sell))
//!     .layer(TransactionalLayer::new(db.clone(), Arc::new(clock::System), Scope::new("POST /v1/cards")))
//!     .layer(Extension(Principal::new("till-7", ["card.sell"]))); // host::auth::authenticate in earnest
//!
//! for replayed in [false, true, true] {
//!     let request = Request::post("/v1/cards").header("Idempotency-Key", "receipt-1").body(Body::empty())?;
//!     let answer = app.clone().oneshot(request).await?;
//!     assert_eq!(answer.status(), StatusCode::CREATED);
//!     assert_eq!(answer.headers().contains_key("Idempotency-Replayed"), replayed);
//! }
//! let told: (i64, i64) = sqlx::query_as("select (select count(*) from card), (select count(*) from outbox)")
//!     .fetch_one(db.readers())
//!     .await?;
//! assert_eq!(told, (1, 1), "three requests, one card, one event");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! A step of a saga looks the same, with [`saga::barrier::run`] for the layer: see GoodGo's services, which are written
//! to be copied. The orchestrator, the outbox's relay and the runner of projections are roles of the server; a service
//! needs none of them in its own process.
//!
//! It is no broker, no database and no framework for HTTP; it gives no transaction across services, and hides none of
//! the eventual consistency between them.

#[cfg(all(feature = "command", feature = "postgres"))]
pub mod service;

pub use steadfast_bus as bus;
pub use steadfast_core as core;
pub use steadfast_db as db;
pub use steadfast_host as host;
pub use steadfast_idempotency as idempotency;
pub use steadfast_locking as locking;
pub use steadfast_outbox as outbox;
pub use steadfast_projection as projection;
pub use steadfast_saga as saga;
