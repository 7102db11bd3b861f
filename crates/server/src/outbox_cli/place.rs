//! Which outboxes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use steadfast_db::postgres::Db;
use steadfast_host::clock::System;
use steadfast_outbox::Outbox;

use crate::fault::Fault;
use crate::print::Output;
use crate::roles::database;
use crate::roles::outbox::Letters;
use crate::roles::place;

/// Where the outboxes are, and how results look.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The relay's TOML file: all of its databases.
    #[arg(long, env = "STEADFAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// One database instead: `postgres://user@host:port/database`. A password is better kept in the variable.
    #[arg(long, env = "STEADFAST_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// Of the file's databases only this one.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// How results look on stdout.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

impl Place {
    /// The outboxes, by the name of their database. Nothing has connected yet.
    pub(super) fn outboxes(&self) -> Result<BTreeMap<String, Outbox>, Fault> {
        let dbs = self.databases()?;
        Ok(dbs.into_iter().map(|(name, db)| (name, Outbox::from(db))).collect())
    }

    /// As [`outboxes`](Self::outboxes), for what is held back.
    pub(super) fn letters(&self) -> Result<Letters, Fault> {
        Ok(Letters::new(self.outboxes()?, Arc::new(System)))
    }

    fn databases(&self) -> Result<BTreeMap<String, Db>, Fault> {
        let usage = |error: anyhow::Error| Fault::Usage(format!("{error:#}"));
        if let Some(url) = &self.database_url {
            let db = database::at(url, "outbox").map_err(|error| usage(error.context("--database-url")))?;
            return Ok([(db.name().to_owned(), db)].into());
        }
        let mut named = place::load(self.config.as_deref()).map_err(usage)?.named().map_err(usage)?;
        if named.is_empty() {
            return Err(Fault::Usage(
                "no database is named: give --config outbox.toml or --database-url URL".to_owned(),
            ));
        }
        if let Some(wanted) = &self.database {
            let known = named.keys().cloned().collect::<Vec<_>>().join(", ");
            let one = named.remove(wanted);
            let one = one.ok_or_else(|| Fault::Usage(format!("--database {wanted}: there is none, only {known}")))?;
            named = [(wanted.clone(), one)].into();
        }
        Ok(named)
    }
}
