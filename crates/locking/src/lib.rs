//! Optimistic locking: rows carry a `version`, and a change names what it is based on.
//!
//! Two classes of change, because an edit and a count are different things:
//!
//! * [`Entity::replace`]: an *edit* of what was read. It names the version; when another user was faster it fails with
//!   [`Conflict`], which says the present version.
//! * [`Entity::adjust`]: a *count* such as stock or a balance. It names no version, only a delta and a guard, so that
//!   a thousand sales of one product do not fight. The version is still raised and returned, and numbers the event.
//!
//! Both take the caller's own transaction, cost one round trip when they succeed, and read a second time only to tell
//! what went wrong.
//!
//! ```
//! use steadfast_locking::{Entity, Error, Version};
//! # use steadfast_db::{Db, sqlite::Options};
//!
//! # async fn example(db: Db) -> Result<(), Error> {
//! # let mut tx = db.begin().await?;
//! # sqlx::raw_sql("create table product (sku text primary key, name text, version integer not null default 1) strict;
//! #   create table stock (sku text primary key, on_hand integer not null, reserved integer not null default 0,
//! #   version integer not null default 1) strict;
//! #   insert into product (sku, name) values ('A-1', 'lantern'); insert into stock (sku, on_hand) values ('A-1', 10);")
//! #   .execute(&mut *tx).await.map_err(steadfast_db::Error::from)?;
//! // Once, at the start of the service: names are checked, metrics begin at 0.
//! let product = Entity::new("product", &["sku"])?;
//! let reserve = Entity::new("stock", &["sku"])?.adjust("reserved = reserved + :n", "on_hand - reserved >= :n")?;
//!
//! // An edit of what was read at version 1 …
//! let saved = product.replace("A-1", Version::FIRST).set("name", "white lantern").run(&mut tx).await?;
//! assert_eq!(saved.version, Version::FIRST.next());
//! // … and another that was based on the same version.
//! let late = product.replace("A-1", Version::FIRST).set("name", "lamp").run(&mut tx).await.unwrap_err();
//! assert!(late.to_string().starts_with("Version mismatch - data was modified by another user"));
//!
//! // Two sales of the same product do not conflict; the guard refuses what is not there.
//! reserve.run(&mut tx, "A-1", 7).await?;
//! assert!(matches!(reserve.run(&mut tx, "A-1", 7).await, Err(Error::Refused { .. })));
//! # tx.commit().await.map_err(steadfast_db::Error::from)?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! #   let test = steadfast_testkit::database().await;
//! #   example(test.clone()).await.unwrap();
//! # });
//! ```
//!
//! Over HTTP a version travels only as an opaque entity tag ([`Etags`]); a `version` in a body is refused
//! ([`refuse_version_in_body`]), attempts are limited per user ([`Limiter`]), and conflicts are written to the log
//! target `security`. [`run`] repeats a whole transaction after a conflict and counts; a user's edit under `If-Match` is
//! never repeated, since that user must see what changed.
//!
//! It does not merge edits, map rows, or build queries beyond its two statements. The statements are assembled from
//! identifiers that are checked and from SQL text that is part of the program (`&'static str`); values are always bound.

mod adjust;
mod backend;
mod body;
mod contention;
mod entity;
mod error;
mod etag;
mod expected;
mod key;
pub mod lane;
mod limiter;
mod metrics;
mod replace;
mod retry;
mod security;
mod statement;
mod version;

pub use adjust::{Adjust, Adjusted};
pub use backend::Backend;
pub use body::refuse_version_in_body;
pub use contention::{Advice, Contention, Health, HotRow};
pub use entity::Entity;
pub use error::{Conflict, Error, Loser, Reason};
pub use etag::{EtagKey, EtagKeyError, Etags, Precondition, Star, Subject};
pub use expected::{Expected, Stamp};
pub use key::{Key, Part, Value};
pub use limiter::{Limiter, Quota, Verdict};
pub use metrics::{CONTENDED_ROWS, LANE_BATCHES, LANE_CHANGES, LANE_STALE, LANE_WAITING};
pub use replace::{Changed, Replace, replace_all};
pub use retry::run;
pub use version::Version;
