//! The database that a configuration names.

use anyhow::{Result, bail};
use serde::Deserialize;
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
    /// Whether what is written can be a database.
    pub(crate) fn check(&self) -> Result<()> {
        let credentials = self.url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(user, _)| user);
        if credentials.is_some_and(|user| user.contains(':')) {
            bail!("database.url holds a password: take it out and set database.password from a file or variable");
        }
        if !self.url.starts_with("postgres://") && !self.url.starts_with("postgresql://") {
            bail!("database.url names no PostgreSQL: write postgres://user@host:port/database");
        }
        self.handle("check").map(drop)?;
        Ok(())
    }

    /// A handle that has not connected yet.
    pub(crate) fn handle(&self, application: &str) -> Result<steadfast_db::postgres::Db, steadfast_db::Error> {
        use steadfast_db::postgres::{Db, Options};

        let options = Options {
            connections: self.connections,
            application_name: format!("steadfast {application}"),
            password: self.password.as_ref().map(|password| password.expose().trim().to_owned().into()),
            ..Options::default()
        };
        Db::lazy(&self.url.clone().into(), options)
    }
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
