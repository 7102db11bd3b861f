//! The roles that the binary can take.

mod database;
#[cfg(feature = "demo")]
pub(crate) mod demo;
#[cfg(feature = "demo")]
mod embedded;
#[cfg(feature = "postgres")]
pub(crate) mod migrate;
pub(crate) mod orchestrator;
