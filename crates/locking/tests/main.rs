//! Versioned changes against real databases, and what they leave in metrics and logs.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails its test")]
#![cfg_attr(feature = "postgres", expect(clippy::duplicate_mod, reason = "one suite, once for each backend"))]

mod contention;
mod observed;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use sqlite::{ints, shop};
