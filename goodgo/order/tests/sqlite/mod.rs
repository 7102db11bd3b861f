//! The suite on SQLite.

#[path = "../orders.rs"]
mod orders;
#[path = "../place.rs"]
mod place;
#[path = "../read_model.rs"]
mod read_model;
#[path = "../returns.rs"]
mod returns;
#[path = "../support.rs"]
mod support;

pub(crate) use steadfast::db::Db;
pub(crate) use steadfast_testkit::{TestDb as Database, database};

/// The keys lie beside the orders.
fn keys() -> goodgo_order::Keys {
    goodgo_order::Keys::Database
}
