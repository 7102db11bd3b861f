//! The roles that the binary can take.

pub(crate) mod arguments;
pub(crate) mod database;
#[cfg(feature = "demo")]
pub(crate) mod demo;
#[cfg(feature = "demo")]
mod embedded;
#[cfg(all(feature = "demo", feature = "kafka"))]
pub(crate) mod front;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "postgres")]
pub(crate) mod migrate;
#[cfg(feature = "kafka")]
mod missing;
pub(crate) mod orchestrator;
#[cfg(feature = "kafka")]
pub(crate) mod outbox;
#[cfg(feature = "postgres")]
pub(crate) mod place;
#[cfg(feature = "kafka")]
pub(crate) mod projector;
