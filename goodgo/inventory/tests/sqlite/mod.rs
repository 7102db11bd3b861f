//! The suite on SQLite.

#[path = "../products.rs"]
mod products;
#[path = "../reservations.rs"]
mod reservations;
#[path = "../restocks.rs"]
mod restocks;
#[path = "../stock.rs"]
mod stock;
#[path = "../support.rs"]
mod support;

pub(crate) use steadfast::db::Db;
pub(crate) use steadfast_testkit::{TestDb as Database, database};

/// The records here count by the clock of the test.
async fn expire(_: &Db) {}
