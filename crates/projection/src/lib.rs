//! CQRS projections: events become rows of a read model, each exactly once and those of an aggregate in order.
//!
//! - **Exactly once.** Read model, checkpoint, sequences and parked events move in one transaction of the read database.
//!   The checkpoint is its own fence: it moves only from where the batch began, so that of two runners that believe to
//!   own a partition one wins each batch. A runner may be killed at any point.
//! - **In order.** Events of one aggregate come over several topics. Their numbers restore the order ([`ordering`] is the
//!   pure decision); early ones wait in the same transaction; a gap that lasts has a policy; duplicates are told by
//!   number and id.
//! - **Poison does not stop the rest.** An event that cannot be applied is found, parked with its aggregate and the
//!   error, listed, replayed or discarded with a record ([`parking`]).
//! - **Fast.** A batch is whatever has arrived, up to a bound, and costs a handful of statements however large it is.
//! - **Seen.** Lag counts from the event's commit; [`Status`] says since when a runner has not moved; [`auditor`] follows
//!   every saga to consistency; [`invariants`] checks SQL over the services' databases.
//!
//! The read database is SQLite or, with the feature `postgres`, PostgreSQL; the log is the embedded one or Kafka: see
//! [`Store`] and [`steadfast_bus::Consumer`].
//!
//! A [`Projection`] is a fold in Rust, or a YAML file with one statement for each event type ([`Declarative`]). A
//! [`Runner`] feeds it from a consumer of the event log:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Arc;
//!
//! use steadfast_bus::{Producer, Start, Topics, embedded::Log, headers};
//! use steadfast_core::Event;
//! use steadfast_projection::{BoxError, Config, Projection, Runner, Subscription, Turn, Tx};
//!
//! /// How many orders each customer has placed.
//! #[derive(Debug)]
//! struct OrdersByCustomer;
//!
//! #[async_trait::async_trait]
//! impl Projection for OrdersByCustomer {
//!     fn name(&self) -> &str {
//!         "orders_by_customer"
//!     }
//!
//!     fn subscribes(&self) -> Subscription {
//!         Subscription::aggregates(["order"]).types(["order.created.v1"])
//!     }
//!
//!     async fn apply(&self, tx: &mut Tx, events: &[Event]) -> Result<(), BoxError> {
//!         let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
//!         for event in events {
//!             *counts.entry(event.payload["customer"].as_str().ok_or("customer is missing")?).or_default() += 1;
//!         }
//!         // One statement, however many events.
//!         sqlx::query(
//!             "insert into orders_by_customer select key, value from json_each(?1) where true
//!              on conflict (customer) do update set orders = orders + excluded.orders",
//!         )
//!         .bind(serde_json::to_string(&counts)?)
//!         .execute(&mut **tx)
//!         .await?;
//!         Ok(())
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # use serde_json::json;
//! # use steadfast_core::{EventId, Timestamp};
//! # let read = steadfast_testkit::database().await;
//! # let events = steadfast_testkit::database().await;
//! # let mut tx = read.begin().await?;
//! # sqlx::query("create table orders_by_customer (customer text primary key, orders integer)").execute(&mut *tx).await?;
//! # tx.commit().await?;
//! # let clock = Arc::new(steadfast_testkit::SystemClock);
//! # let event = Event {
//! #     event_id: EventId::from_parts(Timestamp::from_millis(1), [7; 10]), aggregate_type: "order".into(),
//! #     aggregate_id: "o-1".into(), event_type: "order.created.v1".into(), sequence: 1,
//! #     payload: json!({"customer": "c-1"}), created_at: Timestamp::from_millis(1), saga: None, traceparent: None,
//! # };
//! let log = Log::open(events.clone(), 8).await?;
//! log.produce(vec![headers::encode(&event, "/orders")]).await.remove(0)?;
//!
//! let consumer = Box::new(log.consumer(Topics::All, Start::Beginning));
//! let mut runner =
//!     Runner::open(read.clone(), Arc::new(OrdersByCustomer), consumer, clock, Config::default()).await?;
//! let status = runner.status(); // for /readyz
//! # let _ = status;
//! assert!(matches!(runner.turn().await?, Turn::Committed(tally) if tally.applied == 1));
//! // In a service: `tracker.spawn(runner.run(stop))`.
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! It does not make the tables of a read model, and it does not tell a reader how far a read model has come. Two events
//! that a writer numbers alike cannot both be applied: the second is written down in `skipped_event`. An event that
//! arrives after its number was given up counts as a duplicate.

mod batch;
mod commit;
mod declarative;
mod error;
mod fold;
mod isolate;
mod metrics;
mod pace;
mod projection;
mod runner;
mod statement;
mod status;
mod store;
mod together;
mod upcast;

pub mod auditor;
pub mod invariants;
pub mod ordering;
pub mod parking;

pub use declarative::Declarative;
pub use error::{Error, Fault};
pub use metrics::Tally;
pub use projection::{Projection, Subscription};
pub use runner::{Config, Runner, Turn};
pub use status::{Snapshot, Status};
pub use steadfast_db::BoxError;
pub use steadfast_db::tx::Tx;
pub use store::Store;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use store::faults::{Fault as CrashPoint, Faults};
pub use together::Together;
pub use upcast::Upcasters;

use steadfast_db::{Line, Migration};

/// The migrations of checkpoints, sequences, parked events and the auditor. [`Runner::open`] runs them.
pub const LINE: Line = Line {
    name: "projection",
    sqlite: &[
        Migration { version: 1, name: "projection", sql: include_str!("../migrations/sqlite/0001_projection.sql") },
        Migration {
            version: 2,
            name: "saga_consistency",
            sql: include_str!("../migrations/sqlite/0002_saga_consistency.sql"),
        },
        Migration {
            version: 3,
            name: "checkpoint_topic",
            sql: include_str!("../migrations/sqlite/0003_checkpoint_topic.sql"),
        },
    ],
    postgres: &[
        Migration { version: 1, name: "projection", sql: include_str!("../migrations/postgres/0001_projection.sql") },
        Migration {
            version: 2,
            name: "saga_consistency",
            sql: include_str!("../migrations/postgres/0002_saga_consistency.sql"),
        },
    ],
};
