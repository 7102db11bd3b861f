//! The suite on PostgreSQL.

#[path = "../adjustments.rs"]
mod adjustments;
#[path = "../payments.rs"]
mod payments;
#[path = "../refunds.rs"]
mod refunds;
#[path = "../support.rs"]
mod support;

pub(crate) use steadfast_testkit::{TestPostgres as Database, postgres as database};
