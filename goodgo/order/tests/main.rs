//! The order service over HTTP, on real databases, with an orchestrator that answers as the test says.
#![cfg(test)]
#![cfg_attr(
    any(feature = "postgres", feature = "redis"),
    expect(clippy::duplicate_mod, reason = "one suite, once for each backend")
)]

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "process")]
mod process;
#[cfg(feature = "redis")]
mod redis;
mod sqlite;
