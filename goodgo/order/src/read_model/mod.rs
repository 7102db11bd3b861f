//! The read side: rows made of events of all services, in a database of their own.
//!
//! [`projection`] is fed by a runner; the queries of this service read what it has made. The rows of one event's
//! transaction become visible together with the checkpoint.

mod orders;
mod queries;
mod sales;
mod stock;
mod tables;

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use steadfast::core::Event;
use steadfast::db::{BoxError, Line, Migration};
use steadfast::projection::{Projection, Together};
use uuid::Uuid;

pub use orders::Orders;
pub use sales::Sales;
pub use stock::Stock;
pub use tables::Tables;

pub(crate) use queries::{order, sales_of, stock_of};

/// The tables of the read model.
pub const LINE: Line = Line {
    name: "read_model",
    sqlite: &[Migration {
        version: 1,
        name: "read_model",
        sql: include_str!("../../migrations/read_model/sqlite/0001_read_model.sql"),
    }],
    postgres: &[Migration {
        version: 1,
        name: "read_model",
        sql: include_str!("../../migrations/read_model/postgres/0001_read_model.sql"),
    }],
};

/// All projections under one checkpoint, in the order that they need: sales are counted from the rows of orders.
pub fn projection<DB: Tables>() -> Arc<dyn Projection<DB>> {
    Arc::new(Together::new("goodgo", members()))
}

/// The projections one by one, in the same order, for who adds others to them.
pub fn members<DB: Tables>() -> Vec<Arc<dyn Projection<DB>>> {
    vec![Arc::new(Orders), Arc::new(Sales), Arc::new(Stock)]
}

/// The part of an event's payload that is needed.
fn read<T: DeserializeOwned>(event: &Event) -> Result<T, BoxError> {
    Ok(T::deserialize(&event.payload)?)
}

/// An id as it is handed to SQL within JSON.
fn hex(id: Uuid) -> String {
    id.as_simple().to_string()
}

/// The id of the aggregate that an event tells of.
fn id_of(event: &Event) -> Result<String, BoxError> {
    Ok(hex(event.aggregate_id.parse()?))
}

/// An event of money: whose it is, and how much.
#[derive(Debug, Deserialize)]
struct Money {
    order_id: Option<Uuid>,
    amount: i64,
}
