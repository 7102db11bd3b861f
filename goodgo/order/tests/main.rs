//! The order service over HTTP, on real databases, with an orchestrator that answers as the test says.
#![cfg(test)]
#![cfg_attr(feature = "postgres", expect(clippy::duplicate_mod, reason = "one suite, once for each backend"))]

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
