//! The database that a configuration names.

#[cfg(feature = "kafka")]
use std::time::Duration;

#[cfg(feature = "postgres")]
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
#[cfg(feature = "postgres")]
use steadfast_db::postgres::{Db as Postgres, Options};
use steadfast_host::config;

/// `[database]`: PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Database(
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "read only where PostgreSQL is built in"))]
    pub(super) config::Database,
);

#[cfg(feature = "postgres")]
impl Database {
    /// Whether what is written at this place of the configuration can be a database.
    pub(crate) fn check(&self, place: &str) -> Result<()> {
        self.0.check(place)?;
        self.handle("check").map(drop).with_context(|| place.to_owned())
    }

    /// A handle that has not connected yet.
    pub(crate) fn handle(&self, application: &str) -> Result<Postgres, steadfast_db::Error> {
        Postgres::lazy(&self.0.url(), self.options(application))
    }

    /// A handle that only asks whether the server can be worked with, and does not wait for long.
    #[cfg(feature = "kafka")]
    pub(crate) fn probe(&self, application: &str) -> Result<Postgres, steadfast_db::Error> {
        let acquire_timeout = Duration::from_secs(2);
        let options = Options { connections: 1, acquire_timeout, ..self.options(application) };
        Postgres::lazy(&self.0.url(), options)
    }

    fn options(&self, application: &str) -> Options {
        Options {
            connections: self.0.connections(),
            application_name: format!("steadfast {application}"),
            password: self.0.password(),
            ..Options::default()
        }
    }
}

/// A handle on the database of a URL, which may hold a password, for commands that do one thing. It has not connected yet.
#[cfg(feature = "postgres")]
pub(crate) fn at(url: &str, application: &str) -> Result<Postgres> {
    let options =
        Options { connections: 2, application_name: format!("steadfast {application}"), ..Options::default() };
    Ok(Postgres::lazy(&url.to_owned().into(), options)?)
}

/// Whether the database says that a table or a function is not there.
#[cfg(feature = "kafka")]
pub(crate) fn is_missing_table(error: &steadfast_db::Error) -> bool {
    let steadfast_db::Error::Sql(sqlx::Error::Database(said)) = error else { return false };
    said.code().is_some_and(|code| ["42P01", "42883"].contains(&&*code))
}

#[cfg(not(feature = "postgres"))]
impl Database {
    /// Nothing that this build could use.
    pub(crate) fn refuse<T>(&self) -> Result<T> {
        anyhow::bail!(
            "`database` names PostgreSQL, which this build lacks: build it with `--features postgres`, or take `data`"
        )
    }
}
