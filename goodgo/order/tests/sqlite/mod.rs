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

/// The events that were written, in their order.
const WRITTEN: &str = "select event_id, aggregate_type, aggregate_id, event_type, sequence, payload, created_at
    from outbox order by id";

/// The keys lie beside the orders.
fn keys() -> goodgo_order::Keys {
    goodgo_order::Keys::Database
}
