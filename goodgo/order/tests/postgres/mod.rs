//! The suite on PostgreSQL.

#[path = "../orders.rs"]
mod orders;
#[path = "../place.rs"]
mod place;
#[path = "../returns.rs"]
mod returns;
#[path = "../support.rs"]
mod support;

pub(crate) use steadfast::db::postgres::Db;
pub(crate) use steadfast_testkit::{TestPostgres as Database, postgres as database};

/// The read model is kept in SQLite here too; its own tests are of that suite.
const _: fn(&support::Shop) -> &steadfast_testkit::TestDb = |shop| &shop.read_model;

/// The keys lie beside the orders.
fn keys() -> goodgo_order::Keys {
    goodgo_order::Keys::Database
}
