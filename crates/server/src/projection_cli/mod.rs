//! `steadfast projection`: what operators do with events that a projection could not apply, straight in its read database,
//! with or without a projector.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | it was done |
//! | 1 | it was refused or failed |
//! | 2 | the command line or the configuration is at fault: nothing was done |
//! | 3 | the read database cannot be worked with at present |

mod act;
mod look;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use steadfast_db::{postgres, sqlite};
use steadfast_projection::{Store, parking};

use crate::fault::Fault;
use crate::print::Output;
use crate::roles::projector::{Read, read};
use crate::roles::{database, place};

/// What `steadfast projection` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Events that wait, because they failed, stand behind one that failed, or come before their turn.
    #[command(subcommand)]
    Parked(Parked),
    /// What was passed over: lost numbers, records that are no events, events that were given up.
    Skipped(look::List),
}

#[derive(Debug, Subcommand)]
enum Parked {
    /// Lists them, those that failed first.
    List(look::List),
    /// Shows those of one aggregate, without their content.
    Show(look::Show),
    /// Lets the event that failed be tried again, and what stands behind it.
    Replay(act::Replay),
    /// Gives up the event that failed, with a record; what stands behind it is applied.
    Discard(act::Give),
    /// Gives up the numbers that an aggregate waits for, with a record; what waits behind them is applied.
    SkipGap(act::Give),
}

/// Where the read database is, and how results look.
#[derive(Debug, Args)]
struct Place {
    /// The projector's TOML file.
    #[arg(long, env = "STEADFAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The read database in PostgreSQL: `postgres://user@host:port/database`. A password is better kept in the variable.
    #[arg(long, env = "STEADFAST_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// The read database in a file of SQLite.
    #[arg(long, value_name = "FILE", conflicts_with = "database_url")]
    sqlite: Option<PathBuf>,
    /// The projection's name; not needed where the read database has one only.
    #[arg(long, value_name = "NAME")]
    projection: Option<String>,
    /// How results look on stdout.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// An open read database.
enum Open {
    Postgres(postgres::Db),
    Sqlite(sqlite::Db),
}

impl Place {
    async fn open(&self) -> Result<Open, Fault> {
        let usage = |error: anyhow::Error| Fault::Usage(format!("{error:#}"));
        if let Some(path) = &self.sqlite {
            return file(path).await;
        }
        if let Some(url) = &self.database_url {
            let db = database::at(url, "projection").map_err(|error| usage(error.context("--database-url")))?;
            return Ok(Open::Postgres(db));
        }
        let places = place::load(self.config.as_deref()).map_err(usage)?;
        let none = "no read database is named: give --config projector.toml, --database-url URL or --sqlite FILE";
        if places.database.is_none() && places.sqlite.is_none() {
            return Err(Fault::Usage(none.to_owned()));
        }
        match read(places.database.as_ref(), places.sqlite.as_deref()).map_err(usage)? {
            Read::Postgres(database) => Ok(Open::Postgres(database.handle("projection").map_err(Fault::of)?)),
            Read::Sqlite(path) => file(path).await,
        }
    }

    /// The projection that is meant.
    async fn one<S: Store>(&self, db: &S) -> Result<String, Fault> {
        let mut names = self.all(db).await?;
        match (names.pop(), names.is_empty()) {
            (Some(name), true) => Ok(name),
            (Some(last), false) => {
                names.push(last);
                Err(Fault::Usage(format!("which projection? Give --projection one of {}", names.join(", "))))
            }
            (None, _) => Err(Fault::Refused("no projection has ever run into this read database".to_owned())),
        }
    }

    /// The projections that are meant: the one that is named, or all.
    async fn all<S: Store>(&self, db: &S) -> Result<Vec<String>, Fault> {
        let names = parking::projections(db).await.map_err(Fault::of)?;
        match &self.projection {
            None => Ok(names),
            Some(wanted) if names.contains(wanted) => Ok(vec![wanted.clone()]),
            Some(wanted) => {
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Err(Fault::Refused(format!(
                    "no projection {wanted:?} has ever run into this read database; it knows {known}"
                )))
            }
        }
    }
}

async fn file(path: &std::path::Path) -> Result<Open, Fault> {
    // Opening it would make it.
    if !path.is_file() {
        return Err(Fault::Usage(format!("{}: there is no such file", path.display())));
    }
    Ok(Open::Sqlite(sqlite::Db::open(path, sqlite::Options::default()).await.map_err(Fault::of)?))
}

/// Runs `steadfast projection`.
pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let done = match &arguments.command {
        Command::Skipped(list) => on(&list.place, look::Skipped(list)).await,
        Command::Parked(Parked::List(list)) => on(&list.place, look::Parked(list)).await,
        Command::Parked(Parked::Show(show)) => on(&show.place, look::Shown(show)).await,
        Command::Parked(Parked::Replay(replay)) => on(&replay.place, act::Replayed(replay)).await,
        Command::Parked(Parked::Discard(give)) => on(&give.place, act::Discarded(give)).await,
        Command::Parked(Parked::SkipGap(give)) => on(&give.place, act::Skipped(give)).await,
    };
    done.unwrap_or_else(|fault| fault.end())
}

/// A command, whichever database it runs in.
trait Work {
    async fn run<S: Store>(self, db: &S) -> Result<ExitCode, Fault>;
}

async fn on(place: &Place, work: impl Work) -> Result<ExitCode, Fault> {
    match place.open().await? {
        Open::Postgres(db) => work.run(&db).await,
        Open::Sqlite(db) => work.run(&db).await,
    }
}
