//! The database that a configuration names.

#[cfg(feature = "kafka")]
use std::time::Duration;

#[cfg(feature = "postgres")]
use anyhow::Context;
use anyhow::{Result, bail};
use serde::Deserialize;
#[cfg(feature = "postgres")]
use steadfast_db::postgres::{Db as Postgres, Options};
use steadfast_host::config::Secret;

/// `[database]`: PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Database {
    /// `postgres://user@host:port/database`, with `?sslmode=verify-full` where it leaves the host. No password.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "read only where PostgreSQL is built in"))]
    url: String,
    /// The user's password; without it the server is asked with what PGPASSWORD or the password file say.
    #[serde(default)]
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "read only where PostgreSQL is built in"))]
    password: Option<Secret>,
    /// Connections of the pool.
    #[serde(default = "connections")]
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "read only where PostgreSQL is built in"))]
    connections: u32,
}

const fn connections() -> u32 {
    16
}

#[cfg(feature = "postgres")]
impl Database {
    /// Whether what is written at this place of the configuration can be a database.
    pub(crate) fn check(&self, place: &str) -> Result<()> {
        let credentials = self.url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(user, _)| user);
        if credentials.is_some_and(|user| user.contains(':')) {
            bail!("{place}.url holds a password: take it out and set {place}.password from a file or variable");
        }
        if !self.url.starts_with("postgres://") && !self.url.starts_with("postgresql://") {
            bail!("{place}.url names no PostgreSQL: write postgres://user@host:port/database");
        }
        self.handle("check").map(drop).with_context(|| place.to_owned())
    }

    /// A handle that has not connected yet.
    pub(crate) fn handle(&self, application: &str) -> Result<Postgres, steadfast_db::Error> {
        Postgres::lazy(&self.url.clone().into(), self.options(application))
    }

    /// A handle that only asks whether the server can be worked with, and does not wait for long.
    #[cfg(feature = "kafka")]
    pub(crate) fn probe(&self, application: &str) -> Result<Postgres, steadfast_db::Error> {
        let acquire_timeout = Duration::from_secs(2);
        let options = Options { connections: 1, acquire_timeout, ..self.options(application) };
        Postgres::lazy(&self.url.clone().into(), options)
    }

    fn options(&self, application: &str) -> Options {
        Options {
            connections: self.connections,
            application_name: format!("steadfast {application}"),
            password: self.password.as_ref().map(|password| password.expose().trim().to_owned().into()),
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

/// Whether the server can be worked with; if not, why its connections fail rather than that none became free.
#[cfg(feature = "kafka")]
pub(crate) async fn answers(probe: &Postgres) -> Result<(), steadfast_db::Error> {
    let Err(error) = probe.check().await else { return Ok(()) };
    match tokio::time::timeout(Duration::from_secs(2), probe.connect()).await {
        Ok(Err(cause)) => Err(cause),
        _ => Err(error),
    }
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
        bail!(
            "`database` names PostgreSQL, which this build lacks: build it with `--features postgres`, or take `data`"
        )
    }
}
