//! A service's PostgreSQL database, as a process of its own has it: named by the configuration, waited for, shown at `/readyz`.

use steadfast_db::{Error, postgres};
use steadfast_host::config::Database;
use steadfast_host::health::Health;

/// A handle on a database that has not connected yet, with the name under which its server shows the process.
///
/// # Errors
/// [`Error::Url`], without the URL.
pub fn handle(database: &Database, application: &str) -> Result<postgres::Db, Error> {
    let options = postgres::Options {
        connections: database.connections(),
        application_name: application.to_owned(),
        password: database.password(),
        ..postgres::Options::default()
    };
    postgres::Db::lazy(&database.url(), options)
}

/// While it does not answer `/readyz` is 503 and says so under this name.
pub fn show(health: &Health, name: &'static str, db: &postgres::Db) {
    let db = db.clone();
    health.needs(name, move || {
        let db = db.clone();
        async move { db.answers().await }
    });
}
