//! `steadfast migrate`: makes or renews the tables in PostgreSQL, or prints the statements for whoever runs them with a
//! tool of their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use steadfast_db::{Line, migrate};

use super::arguments::{self, load};
use super::place::Places;

/// Tables to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tables {
    /// An orchestrator's own: sagas, their journal, lanes, definitions.
    Orchestrator,
    /// A participant's: the barrier and its functions for any language.
    Barrier,
    /// The outbox and its functions for any language.
    Outbox,
    /// The inbox: which events a consumer has seen.
    Inbox,
    /// What a projector keeps beside its read models. It makes them itself where its role may.
    Projection,
    /// The records of idempotency keys.
    Idempotency,
}

impl Tables {
    const fn line(self) -> &'static Line {
        match self {
            Self::Orchestrator => &steadfast_saga::journal::LINE,
            Self::Barrier => &steadfast_saga::barrier::LINE,
            Self::Outbox => &steadfast_outbox::LINE,
            Self::Inbox => &steadfast_outbox::inbox::LINE,
            Self::Projection => &steadfast_projection::LINE,
            Self::Idempotency => &steadfast_idempotency::LINE,
        }
    }
}

/// What to migrate, and where.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which tables: an orchestrator's database has `orchestrator` (and `outbox` where `events` is on), a service's what it
    /// uses of the others, a read database `projection`. Of a relay's file all databases are migrated.
    #[arg(value_enum, required = true)]
    tables: Vec<Tables>,
    /// Prints the statements instead of running them.
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    place: arguments::Arguments,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    if arguments.print {
        return print(&arguments.tables);
    }
    let databases: BTreeMap<_, _> = load::<Places>(&arguments.place)?.named()?;
    if databases.is_empty() {
        bail!("database.url is required: set it in the configuration file, or as STEADFAST_DATABASE__URL");
    }
    for db in databases.values() {
        db.check().await?;
        for tables in &arguments.tables {
            let line = tables.line();
            migrate(db, line).await.with_context(|| format!("migrating {} in {}", line.name, db.name()))?;
            crate::cli::say(&format!("{}: up to date in {}", line.name, db.name()));
        }
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
