//! The other end: a consumer applies an event exactly once, by remembering it in the transaction that applies it.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast_core::EventId;
//! use steadfast_db::{Db, migrate, sqlite::Options};
//! use steadfast_outbox::inbox;
//! # use steadfast_core::Timestamp;
//! # let folder = tempfile::tempdir()?;
//! # let db = Db::open(&folder.path().join("consumer.sqlite"), Options::default()).await?;
//! # let event_id = EventId::from_parts(Timestamp::from_millis(1), [7; 10]);
//!
//! migrate(&db, &inbox::LINE).await?;
//! let mut tx = db.begin().await?;
//! if inbox::once(&mut tx, "stock", event_id).await? {
//!     // … apply the event in this transaction …
//! }
//! tx.commit().await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! A projection does not need it: its checkpoint does the same for a whole batch.

use sqlx::Transaction;
use steadfast_core::EventId;

use crate::{Backend, Error};

/// The inbox's migrations, to be run in the database of every consumer that uses it.
pub const LINE: steadfast_db::Line = steadfast_db::Line {
    name: "inbox",
    sqlite: &[steadfast_db::Migration {
        version: 1,
        name: "inbox",
        sql: include_str!("../migrations/sqlite/inbox_0001_inbox.sql"),
    }],
    postgres: &[steadfast_db::Migration {
        version: 1,
        name: "inbox",
        sql: include_str!("../migrations/postgres/inbox_0001_inbox.sql"),
    }],
};

/// Whether `consumer` meets the event for the first time. It is remembered exactly if the transaction commits: apply the
/// event in it, and only when the answer is true. Two transactions with one event take turns. The SQL function
/// `inbox_once(consumer, event_id)` is the same for other languages.
///
/// Old rows may be deleted by `received_at` once no delivery can come that late.
pub async fn once<DB: Backend>(tx: &mut Transaction<'_, DB>, consumer: &str, event: EventId) -> Result<bool, Error> {
    DB::receive(tx, consumer, event).await
}
