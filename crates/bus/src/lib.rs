//! The event log between services: producers append records, consumers read them in order.
//!
//! A [`Producer`] answers for each record after it is durable. Records with the same key go to the same partition and
//! keep their order there; the partition of a key is the one that Kafka's Java client computes, so that a log can move
//! to Kafka and keep its keys together. A [`Consumer`] reads forward from a position that its owner keeps, usually in
//! the transaction of what it writes. [`headers`] puts an event on the wire as `CloudEvents` 1.0 in binary mode.
//!
//! Two backends: [`embedded`], a durable log in SQLite, nothing to install; and with the feature `kafka` Apache Kafka.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use bytes::Bytes;
//! use steadfast_bus::{Consumer, Producer, Record, Start, Topics, embedded::Log};
//! use steadfast_db::{Db, sqlite::Options};
//!
//! # let folder = tempfile::tempdir()?;
//! let db = Db::open(&folder.path().join("events.sqlite"), Options::default()).await?;
//! let log = Log::open(db, 8).await?;
//! let record = Record {
//!     topic: "order.created.v1".into(),
//!     key: "o-1".into(),
//!     headers: vec![],
//!     payload: Bytes::from_static(b"{}"),
//! };
//! for answer in log.produce(vec![record]).await {
//!     answer?;
//! }
//!
//! let mut consumer = log.consumer(Topics::All, Start::Beginning);
//! let delivered = consumer.poll(100, Duration::from_secs(1)).await?;
//! assert_eq!(delivered[0].record.key, "o-1");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! It does not deduplicate: a producer that repeats a record after an unclear answer stores it twice, and consumers tell
//! by `ce_id`. The embedded log does not balance partitions among consumers: whoever makes one says which it reads.

mod error;
mod partition;
mod port;
mod record;

#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod conformance;
pub mod embedded;
pub mod headers;
#[cfg(feature = "kafka")]
pub mod kafka;

pub use error::Error;
pub use partition::{murmur2, partition_of};
pub use port::{Change, Consumer, Producer};
pub use record::{Delivered, Partition, Record, Start, Topics};
