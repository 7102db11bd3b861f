//! `steadfast projector`: feeds read models from Kafka, one for each YAML file, beside any number of others over the same
//! read database.
//!
//! It listens at once. Until its read database and Kafka answer, `/readyz` is 503 and says what is missing; a fault that no
//! waiting mends (a statement that does not prepare, a server too old) ends it with one line.

mod config;
mod files;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use steadfast_bus::Topics;
use steadfast_bus::kafka::{self, Member};
use steadfast_core::retry::Backoff;
use steadfast_core::{Classified, Clock, ErrorKind};
use steadfast_db::{Followed, postgres, sqlite};
use steadfast_host::clock::System;
use steadfast_host::health::Health;
use steadfast_host::problem::with_fallbacks;
use steadfast_host::process::{Process, limits};
use steadfast_projection::{Declarative, Error, Projection, Runner, Status, Store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::arguments::{self, load};
use super::database::Database;
use crate::checkpoint;
use crate::fault::chain;
use crate::print;
pub(crate) use config::{Config, Read, read};
use files::Fault;

/// The pauses between attempts to open the read database.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(3) };

/// What `steadfast projector` is told.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    start: arguments::Arguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads the configuration and the projections, prepares every statement, and starts nothing.
    Check(arguments::Arguments),
}

/// Runs until a signal, or until it cannot go on; or only checks.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        None => start(arguments.start).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Check(arguments)) => check(&load(&arguments)?).await,
    }
}

/// What the configuration says, checked as far as it can be without the servers.
struct Made {
    files: Vec<PathBuf>,
    topics: Vec<String>,
    group: String,
    kafka: kafka::Config,
    start: steadfast_bus::Start,
    runner: steadfast_projection::Config,
    time: Arc<Followed>,
}

impl Made {
    fn of(config: &Config) -> Result<Self> {
        files::check_topics(&config.topics)?;
        config.read()?;
        let made = Self {
            files: config.files()?,
            topics: config.topics.clone(),
            group: config.group.clone(),
            kafka: config.kafka()?,
            start: config.start(),
            runner: config.runner()?,
            time: Arc::new(Followed::new(Arc::new(System))),
        };
        // Settings that the client refuses are told now.
        drop(made.join("check", &["check".to_owned()])?);
        Ok(made)
    }

    fn join(&self, projection: &str, topics: &[String]) -> Result<Member> {
        let group = format!("{}.{projection}", self.group);
        Member::join(&self.kafka, &group, Topics::Named(topics.to_vec()), self.start).context("kafka")
    }
}

async fn start(arguments: arguments::Arguments) -> Result<()> {
    let config: Config = load(&arguments)?;
    let made = Made::of(&config)?;
    if arguments.check {
        crate::cli::say("the configuration is in order");
        return Ok(());
    }
    let need = super::kafka::watch(&made.kafka)?;
    let (health, stop) = (Health::new(), CancellationToken::new());
    need.show_in(&health);
    let process =
        Process::listen("projector", &config.listen, limits(), health.clone(), stop.clone(), with_fallbacks).await?;
    let kafka_watched = process.tasks.spawn(need.watch(stop.clone()));
    let ended = match config.read()? {
        Read::Postgres(database) => {
            let open = async || {
                let db = server(database).await?;
                made.time.set_by(&db).await?;
                Ok::<_, steadfast_db::Error>(db)
            };
            let keep = |db: &postgres::Db| {
                drop(process.tasks.spawn(Arc::clone(&made.time).follow(db.clone(), stop.clone())));
            };
            project(&made, open, keep, &health, &process.signal).await
        }
        Read::Sqlite(path) => {
            let keep = |db: &sqlite::Db| drop(process.tasks.spawn(checkpoint::keep(vec![db.clone()], stop.clone())));
            project(&made, || file(path), keep, &health, &process.signal).await
        }
    };
    let served = process.end().await;
    kafka_watched.await.context("the task that asks Kafka")?.context("kafka")?;
    served?;
    ended
}

async fn server(database: &Database) -> Result<postgres::Db, steadfast_db::Error> {
    // Anew for each attempt: a connection stays with the server that it reached, whatever has become of it.
    let db = database.handle("projector")?;
    db.answers().await?;
    Ok(db)
}

async fn file(path: &Path) -> Result<sqlite::Db, steadfast_db::Error> {
    sqlite::Db::open(path, sqlite::Options::default()).await
}

/// Opens the read database with patience, hands it to `keep` once, and runs every projection until `signal`.
async fn project<S, F>(
    made: &Made,
    open: impl Fn() -> F,
    keep: impl FnOnce(&S),
    health: &Health,
    signal: &CancellationToken,
) -> Result<()>
where
    S: Store,
    F: Future<Output = Result<S, steadfast_db::Error>>,
    Declarative<S::Sql>: Projection<S::Sql>,
{
    let opened = Arc::new(AtomicBool::new(false));
    health.check("read database", Duration::from_secs(1), {
        let opened = Arc::clone(&opened);
        move || {
            let why = "it cannot be worked with yet: the log says why";
            let ready = if opened.load(Ordering::Acquire) { Ok(()) } else { Err(why.to_owned()) };
            async move { ready }
        }
    });
    let Some(prepared) = signal.run_until_cancelled(patiently(made, open)).await else { return Ok(()) };
    let (db, runners) = prepared?;
    keep(&db);
    let mut running = JoinSet::new();
    for (name, runner) in runners {
        show(&name, runner.status(), Arc::clone(&made.time) as Arc<dyn Clock>, health);
        running.spawn(runner.run(signal.clone()));
    }
    opened.store(true, Ordering::Release);
    while let Some(ended) = running.join_next().await {
        ended.context("a projection has broken off: please report this bug")?;
    }
    Ok(())
}

/// Ready as long as it moves.
fn show(name: &str, status: Status, clock: Arc<dyn Clock>, health: &Health) {
    health.check(format!("projection {name}"), Duration::from_secs(1), move || {
        let now = clock.now();
        let ready = match status.stuck_since(now) {
            None => Ok(()),
            Some(since) => Err(format!("it has not moved for {} s: the log says why", now.since(since).as_secs())),
        };
        async move { ready }
    });
}

/// The read database, and a runner for each projection.
type Prepared<S> = (S, Vec<(String, Runner<S>)>);

/// Opens until it succeeds or a fault is one that does not pass.
async fn patiently<S, F>(made: &Made, open: impl Fn() -> F) -> Result<Prepared<S>>
where
    S: Store,
    F: Future<Output = Result<S, steadfast_db::Error>>,
    Declarative<S::Sql>: Projection<S::Sql>,
{
    let mut attempt = 1;
    loop {
        let passing = match prepare(made, open().await).await? {
            Ok(prepared) => return Ok(prepared),
            Err(passing) => passing,
        };
        let cause = chain(&passing);
        tracing::warn!(cause, attempt, "the read database cannot be worked with: trying again");
        tokio::time::sleep(BACKOFF.pause(attempt, fastrand::u64(..))).await;
        attempt = attempt.saturating_add(1);
    }
}

/// One attempt: the inner error is one that passes.
async fn prepare<S>(made: &Made, opened: Result<S, steadfast_db::Error>) -> Result<Result<Prepared<S>, Error>>
where
    S: Store,
    Declarative<S::Sql>: Projection<S::Sql>,
{
    let sort = |error: Error| {
        if error.kind() == ErrorKind::Transient { Ok(Err(error)) } else { Err(error).context("the read database") }
    };
    let db = match opened {
        Ok(db) => db,
        Err(error) => return sort(error.into()),
    };
    let loaded = match files::read(&db, &made.files).await {
        Ok(loaded) => loaded,
        Err(Fault::Away(error)) => return Ok(Err(error)),
        Err(Fault::Files(faults)) => bail!("{}", faults.join("; ")),
    };
    let mut runners = Vec::new();
    for (path, projection) in loaded {
        let name = projection.name().to_owned();
        let topics =
            files::topics(&made.topics, &projection.subscribes()).with_context(|| path.display().to_string())?;
        let member = Box::new(made.join(&name, &topics)?);
        match Runner::open(db.clone(), projection, member, Arc::clone(&made.time) as Arc<dyn Clock>, made.runner).await
        {
            Ok(runner) => runners.push((name, runner)),
            Err(error) => return sort(error),
        }
    }
    Ok(Ok((db, runners)))
}

/// Prepares every statement and says what is wrong, a line for each fault.
async fn check(config: &Config) -> Result<ExitCode> {
    let made = Made::of(config)?;
    let faults = match config.read()? {
        Read::Postgres(database) => faults(&made, &server(database).await.context("the read database")?).await?,
        Read::Sqlite(path) => {
            // Opening it would make it.
            if !path.is_file() {
                bail!("sqlite names {}, which is no file: make the read model's tables there first", path.display());
            }
            let db = sqlite::Db::open(path, sqlite::Options::default()).await.context("the read database")?;
            faults(&made, &db).await?
        }
    };
    if faults.is_empty() {
        crate::cli::say(&format!("{} projections are in order", made.files.len()));
        return Ok(ExitCode::SUCCESS);
    }
    for fault in faults {
        print::talk(&format!("steadfast: {fault}"));
    }
    Ok(ExitCode::FAILURE)
}

async fn faults<S: Store>(made: &Made, db: &S) -> Result<Vec<String>>
where
    Declarative<S::Sql>: Projection<S::Sql>,
{
    let loaded = match files::read(db, &made.files).await {
        Ok(loaded) => loaded,
        Err(Fault::Away(error)) => return Err(error).context("the read database"),
        Err(Fault::Files(faults)) => return Ok(faults),
    };
    let of_topics = loaded.iter().filter_map(|(path, projection)| {
        let error = files::topics(&made.topics, &projection.subscribes()).err()?;
        Some(format!("{}: {error:#}", path.display()))
    });
    Ok(of_topics.collect())
}
