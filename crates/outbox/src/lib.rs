//! The transactional outbox: an event is written in the transaction of the change it tells of, and published afterwards,
//! at least once, in order within its aggregate.
//!
//! - [`append`] writes in the caller's own transaction: the event exists exactly if the change does. An aggregate's events
//!   are numbered 1, 2, 3 … without a gap, by its version or by the outbox's own count; a number that does not fit is
//!   refused while the transaction can still be rolled back.
//! - [`Relay`] publishes the outboxes of one or many databases. A crash sends at most two batches of each again; consumers
//!   tell by `ce_id` and order by `sequence`. A relay that has been replaced cannot mark: its epoch has ended.
//! - An event that the log refuses holds back its aggregate and nothing else, and ends as a dead letter that an operator
//!   sees, tries again or gives up ([`dead_letter`]).
//! - [`verify`] proves the numbering; [`archive`] moves old events off.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{sync::Arc, time::Duration};
//! use steadfast_bus::{Consumer, Start, Topics, embedded::Log, headers};
//! use steadfast_core::NewEvent;
//! use steadfast_db::{Db, migrate, sqlite::Options};
//! use steadfast_outbox::{Config, LINE, Relay, Source, append};
//! use tokio_util::sync::CancellationToken;
//! # use steadfast_core::{Clock, Timestamp};
//! # let folder = tempfile::tempdir()?;
//! # let (shop, log) = (folder.path().join("shop.sqlite"), folder.path().join("log.sqlite"));
//! # let clock = Arc::new(steadfast_testkit::SystemClock);
//!
//! let db = Db::open(&shop, Options::default()).await?;
//! migrate(&db, &LINE).await?;
//! let log = Log::open(Db::open(&log, Options::default()).await?, 8).await?;
//! let source = Source::new("shop", db.clone());
//! let hint = source.hint.clone();
//! let relay = Relay::new(vec![source], Arc::new(log.clone()), clock.clone(), Config::default());
//! let stop = CancellationToken::new();
//! let running = relay.run(stop.clone());
//!
//! let work = async {
//!     let mut tx = db.begin().await?;
//!     let event = NewEvent::new("order", "o-1", "order.created.v1", serde_json::json!({"total": 1200}));
//!     append(&mut tx, &event.with_sequence(1), clock.now()).await?;
//!     tx.commit().await?;
//!     hint.notify();
//!
//!     let delivered = log.consumer(Topics::All, Start::Beginning).poll(1, Duration::from_secs(5)).await?;
//!     assert_eq!(headers::decode(&delivered[0].record)?.aggregate_id, "o-1");
//!     stop.cancel();
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! };
//! let (_, outcome) = tokio::join!(running, work);
//! outcome
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! It does not publish exactly once, does not order events of different aggregates, and does not deduplicate for
//! consumers.

mod append;
mod archive;
mod backend;
mod check;
mod config;
mod error;
mod hint;
mod lag;
mod lanes;
mod metrics;
mod numbering;
mod outbox;
mod relay;
mod status;
mod store;
mod verify;

pub mod dead_letter;
pub mod inbox;
#[cfg(feature = "postgres")]
pub mod trial;

pub use append::{Sink, append, append_many};
pub use archive::{Target, archive};
pub use backend::Backend;
pub use check::PAYLOAD_LIMIT;
pub use config::{Config, Source};
pub use error::Error;
pub use hint::Hint;
pub use outbox::Outbox;
pub use relay::Relay;
pub use status::{Status, status};
pub use store::Parked;
pub use verify::{Fault, Violation, verify};

/// The outbox's migrations, to be run in every database that has one.
pub const LINE: steadfast_db::Line = steadfast_db::Line {
    name: "outbox",
    sqlite: &[steadfast_db::Migration {
        version: 1,
        name: "outbox",
        sql: include_str!("../migrations/sqlite/0001_outbox.sql"),
    }],
    postgres: &[steadfast_db::Migration {
        version: 1,
        name: "outbox",
        sql: include_str!("../migrations/postgres/0001_outbox.sql"),
    }],
};
