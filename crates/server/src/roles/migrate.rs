//! `steadfast migrate`: makes or renews the tables in PostgreSQL, or prints the statements for whoever runs them with a
//! tool of their own.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde::de::IgnoredAny;
use steadfast_db::{Line, migrate};

use super::database::Database;
use super::orchestrator::{self, load};

/// Tables to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tables {
    /// An orchestrator's own: sagas, their journal, lanes, definitions.
    Orchestrator,
    /// A participant's: the barrier and its functions for any language.
    Barrier,
    /// The outbox and its functions for any language.
    Outbox,
    /// The records of idempotency keys.
    Idempotency,
}

impl Tables {
    const fn line(self) -> &'static Line {
        match self {
            Self::Orchestrator => &steadfast_saga::journal::LINE,
            Self::Barrier => &steadfast_saga::barrier::LINE,
            Self::Outbox => &steadfast_outbox::LINE,
            Self::Idempotency => &steadfast_idempotency::LINE,
        }
    }
}

/// What to migrate, and where.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which tables: an orchestrator's database has `orchestrator` (and `outbox` where `events` is on), a participant's
    /// what it uses of the others.
    #[arg(value_enum, required = true)]
    tables: Vec<Tables>,
    /// Prints the statements instead of running them.
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    place: orchestrator::Arguments,
}

/// The part of an orchestrator's configuration that is needed here; the same file may be given.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "the other keys are known and not needed")]
struct Config {
    database: Option<Database>,
    listen: Option<IgnoredAny>,
    node: Option<IgnoredAny>,
    data: Option<IgnoredAny>,
    etcd: Option<IgnoredAny>,
    auth: Option<IgnoredAny>,
    sealing: Option<IgnoredAny>,
    participants: Option<IgnoredAny>,
    limits: Option<IgnoredAny>,
    lease: Option<IgnoredAny>,
    events: Option<IgnoredAny>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    if arguments.print {
        return print(&arguments.tables);
    }
    let config: Config = load(&arguments.place)?;
    let database = config
        .database
        .context("database.url is required: set it in the configuration file, or as STEADFAST_DATABASE__URL")?;
    database.check()?;
    let db = database.handle("migrate")?;
    db.check().await?;
    for tables in arguments.tables {
        let line = tables.line();
        migrate(&db, line).await.with_context(|| format!("migrating {} in {}", line.name, db.name()))?;
        crate::cli::say(&format!("{}: up to date in {}", line.name, db.name()));
    }
    Ok(())
}

fn print(tables: &[Tables]) -> Result<()> {
    let mut text = String::new();
    for tables in tables {
        let line = tables.line();
        if line.postgres.is_empty() {
            bail!("there are no tables of {} for PostgreSQL in this build", line.name);
        }
        for migration in line.postgres {
            // Writing to a string does not fail.
            write!(text, "-- {} {:04} {}\n{}\n", line.name, migration.version, migration.name, migration.sql).ok();
        }
    }
    crate::cli::say(text.trim_end());
    Ok(())
}
