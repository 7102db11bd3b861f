//! What tests share: a database of their own, a clock they move, a connection that breaks or falls silent, and waiting for a
//! condition with a bound.
//! A development dependency only.

mod clock;
mod database;
mod postgres;
pub mod proxy;
mod wait;

pub use clock::{SeededClock, SystemClock};
pub use database::{TestDb, database};
pub use postgres::{TestPostgres, postgres, postgres_url};
pub use wait::wait_for;
