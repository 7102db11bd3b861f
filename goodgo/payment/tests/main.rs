//! The payment service over HTTP, on real databases.
#![cfg(test)]
#![cfg_attr(feature = "postgres", expect(clippy::duplicate_mod, reason = "one suite, once for each backend"))]

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "process")]
mod process;
mod sqlite;
