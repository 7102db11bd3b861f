//! The SQL ground that the patterns stand on: pools, transactions with retries, migrations, and the seam by which an
//! event can be appended in somebody else's transaction.
//!
//! A backend is a file named for it; above it nobody knows which one it is. What must be atomic with the caller takes
//! the caller's own [`sqlx::Transaction`]; this crate only opens it.
//!
//! ```
//! # async fn example() -> Result<(), steadfast_db::Error> {
//! use steadfast_db::{Db, sqlite::Options, tx};
//!
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! let db = Db::open(&folder.path().join("shop.sqlite"), Options::default()).await?;
//! tx::run(&db, &tx::Policy::default(), |tx| {
//!     Box::pin(async move {
//!         sqlx::query("create table stock (id integer primary key, on_hand integer not null)").execute(&mut **tx).await?;
//!         Ok::<_, steadfast_db::Error>(())
//!     })
//! })
//! .await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! It does not hide SQL, map rows or build queries.

mod backend;
mod error;
mod folder;
mod followed;
mod migrate;
mod sink;

#[cfg(feature = "postgres")]
pub mod postgres;
pub mod sqlite;
pub mod tx;

pub use backend::Backend;
pub use error::{Error, kind_of, kind_of_code};
pub use folder::{DataFolder, FolderError};
pub use followed::Followed;
pub use migrate::{Line, Migration, migrate};
pub use sink::{BoxError, EventSink};
pub use sqlite::Db;
