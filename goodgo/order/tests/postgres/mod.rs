//! The suite on PostgreSQL.

mod locks;
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

pub(crate) use steadfast::db::postgres::Db;
pub(crate) use steadfast_testkit::{TestPostgres as Database, postgres as database};

/// The events that were written, in their order.
const WRITTEN: &str = "select uuid_send(event_id), aggregate_type, aggregate_id, event_type, sequence, payload::text,
    (extract(epoch from created_at) * 1000)::bigint from outbox order by id";

/// The keys lie beside the orders.
fn keys() -> goodgo_order::Keys {
    goodgo_order::Keys::Database
}
