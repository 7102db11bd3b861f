//! What tests share: a database of their own, a clock they move, and waiting for a condition with a bound.
//! A development dependency only.

mod clock;
mod database;
mod postgres;
mod wait;

pub use clock::{SeededClock, SystemClock};
pub use database::{TestDb, database};
pub use postgres::{TestPostgres, postgres, postgres_url};
pub use wait::wait_for;
