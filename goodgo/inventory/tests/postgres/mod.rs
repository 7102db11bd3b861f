//! The suite on PostgreSQL.

mod hot;
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

pub(crate) use steadfast::db::postgres::Db;
pub(crate) use steadfast_testkit::{TestPostgres as Database, postgres as database};

/// The records here count by the clock of the database, which no test moves.
async fn expire(db: &Db) {
    sqlx::query("update idempotency_record set expires_at = 0").execute(db.pool()).await.unwrap();
}
