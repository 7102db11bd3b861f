//! Everything that a measurement needs, in this process: participant, relay, engine and its API, each behind its socket.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use steadfast_core::Clock;
use steadfast_core::sealing::Keyring;
use steadfast_host::auth::{Key, Minter, Verifier};
use steadfast_host::clock::System;
use steadfast_host::metrics;
use steadfast_saga::engine::{AsAtStart, Config, Engine, Ports};
use steadfast_saga::journal::{self, Journal};
use steadfast_saga::participant::client::{ParticipantConfig, Participants};
use steadfast_saga::participant::token;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Arguments;
use super::participants::{Calls, NAME, PERMISSION, Participant, relay};
use crate::api;
use crate::bench::http::{Caller, serve_at};
use crate::bench::load::{Run, Work, drive};
#[cfg(feature = "postgres")]
use crate::bench::store::Scratch;
use crate::bench::store::{Store, sqlite};
use crate::bench::usage;
use crate::checkpoint;

const SECRET: [u8; 32] = [7; 32];
const INPUT: &[u8] = br#"{"input":{"order":4711,"amount":1200}}"#;

pub(super) struct Scene {
    engine: Engine,
    participants: Arc<Participants>,
    exporter: metrics::Exporter,
    steps: u32,
    setting: String,
    token: String,
    api: SocketAddr,
    relay: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    #[cfg(feature = "postgres")]
    scratch: Option<(Scratch, Option<u32>)>,
    // Holds the files until the end.
    _folder: tempfile::TempDir,
}

impl Scene {
    pub(super) async fn open(arguments: &Arguments) -> Result<Self> {
        let exporter = metrics::install()?;
        let folder = tempfile::tempdir()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        #[cfg(feature = "postgres")]
        let scratch = match &arguments.postgres {
            Some(server) => {
                let scratch = Scratch::create(server).await?;
                let postmaster = scratch.postmaster().await;
                Some((scratch, postmaster))
            }
            None => None,
        };
        #[cfg(feature = "postgres")]
        let postgres = scratch.as_ref().map(|(scratch, _)| scratch.db.clone());
        #[cfg(not(feature = "postgres"))]
        anyhow::ensure!(
            arguments.postgres.is_none(),
            "--postgres: this build lacks PostgreSQL; build it with `--features postgres`"
        );

        let store = if arguments.barrier {
            #[cfg(feature = "postgres")]
            let there = postgres.clone().map(Store::Postgres);
            #[cfg(not(feature = "postgres"))]
            let there = None;
            let store = match there {
                Some(store) => store,
                None => Store::Sqlite(sqlite(&folder, "participant.sqlite").await?),
            };
            store.prepare().await?;
            Some(store)
        } else {
            None
        };
        let key = || token::Key::new(&SECRET);
        let participant =
            Participant { key: key()?, store, failing: arguments.failing.into(), calls: AtomicU64::new(0) };
        let address = serve_at(Arc::new(participant).router(), &stop, &tasks).await?;
        let config = ParticipantConfig {
            concurrency: 4_096,
            ..ParticipantConfig::new(NAME, format!("http://{address}"), key()?)
        };
        let participants = Arc::new(Participants::new(vec![config])?);
        let calls = Arc::new(Calls { participants: Arc::clone(&participants), steps: arguments.steps });
        let relay = serve_at(relay(calls), &stop, &tasks).await?;

        #[cfg(feature = "postgres")]
        let journal: Arc<dyn Journal> = match postgres {
            Some(db) => {
                steadfast_db::migrate(&db, &journal::LINE).await?;
                Arc::new(journal::Postgres::open(db, false).await?)
            }
            None => embedded(&folder, &stop, &tasks).await?,
        };
        #[cfg(not(feature = "postgres"))]
        let journal = embedded(&folder, &stop, &tasks).await?;
        let clock: Arc<dyn Clock> = Arc::new(System);
        let ports = Ports {
            journal,
            participants: Arc::clone(&participants),
            permissions: Arc::new(AsAtStart),
            clock: Arc::clone(&clock),
            keyring: Arc::new(Keyring::new(NAME, SECRET)),
            election: None,
        };
        let engine = Engine::open(Config::default(), ports).await?;
        engine.upload(&definition(arguments.steps), BTreeMap::new(), NAME).await?;
        let verifier = Verifier::new(NAME, NAME, vec![Key::hs256(NAME, &SECRET)?], Arc::clone(&clock))?;
        let token = Minter::new(NAME, &SECRET, NAME, NAME, clock)?.mint(NAME, [PERMISSION], Duration::from_hours(12));
        let api = serve_at(api::router(engine.clone(), verifier), &stop, &tasks).await?;
        let setting = setting(arguments);
        Ok(Self {
            engine,
            participants,
            exporter,
            steps: arguments.steps,
            setting,
            token,
            api,
            relay,
            stop,
            tasks,
            #[cfg(feature = "postgres")]
            scratch,
            _folder: folder,
        })
    }

    pub(super) async fn close(self) -> Result<()> {
        self.engine.drain().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        #[cfg(feature = "postgres")]
        if let Some((scratch, _)) = self.scratch {
            scratch.drop().await?;
        }
        Ok(())
    }

    pub(super) fn setting(&self) -> &str {
        &self.setting
    }

    /// Sagas through the API, each waited for.
    pub(super) async fn ours(&self, at_once: usize, length: Duration) -> Result<Run> {
        let mut workers = Vec::with_capacity(at_once);
        for _ in 0..at_once {
            let ends = &[r#""status":"completed""#, r#""status":"compensated""#];
            let caller = Caller::connect(self.api, "/v1/sagas/bench", Bytes::from_static(INPUT), ends, &self.tasks);
            workers.push(caller.await?.waiting(&self.token)?);
        }
        self.counted(workers, length).await
    }

    /// The same hops without a journal.
    pub(super) async fn relay(&self, at_once: usize, length: Duration) -> Result<Run> {
        let mut workers = Vec::with_capacity(at_once);
        for _ in 0..at_once {
            let ends = &[r#""status":"completed""#];
            let caller = Caller::connect(self.relay, "/relay", Bytes::from_static(INPUT), ends, &self.tasks);
            workers.push(caller.await?);
        }
        self.counted(workers, length).await
    }

    /// The same calls with nobody between.
    pub(super) async fn calls(&self, at_once: usize, length: Duration) -> Result<Run> {
        let calls = || Calls { participants: Arc::clone(&self.participants), steps: self.steps };
        self.counted((0..at_once).map(|_| calls()).collect(), length).await
    }

    async fn counted<W: Work>(&self, workers: Vec<W>, length: Duration) -> Result<Run> {
        let before = (self.cpu(), self.commits(), self.wal().await?);
        let mut run = drive(workers, length).await?;
        let after = (self.cpu(), self.commits(), self.wal().await?);
        run.cpu_ms_each = (after.0 - before.0) * 1e3 / run.count();
        run.commits_each = (after.1 - before.1) / run.count();
        run.wal_bytes_each = (after.2 - before.2) / run.count();
        Ok(run)
    }

    fn commits(&self) -> f64 {
        let text = self.exporter.render();
        let line = text.lines().find_map(|line| line.strip_prefix("saga_journal_commits_total "));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
    }

    #[cfg(feature = "postgres")]
    fn cpu(&self) -> f64 {
        let postmaster = self.scratch.as_ref().and_then(|(_, postmaster)| *postmaster);
        usage::cpu_seconds() + postmaster.map_or(0.0, usage::cpu_seconds_of_family)
    }

    #[cfg(not(feature = "postgres"))]
    #[expect(clippy::unused_self, reason = "a database that is another process has its own CPU")]
    fn cpu(&self) -> f64 {
        usage::cpu_seconds()
    }

    #[cfg(feature = "postgres")]
    async fn wal(&self) -> Result<f64> {
        match &self.scratch {
            Some((scratch, _)) => scratch.wal().await,
            None => Ok(0.0),
        }
    }

    #[cfg(not(feature = "postgres"))]
    #[expect(clippy::unused_async, clippy::unused_self, reason = "only a server has a log that tells its length")]
    async fn wal(&self) -> Result<f64> {
        Ok(0.0)
    }
}

fn setting(arguments: &Arguments) -> String {
    let journal = if arguments.postgres.is_some() { "postgres" } else { "sqlite, synchronous=full" };
    let failing = if arguments.failing > 0 { format!(", {} % failing", arguments.failing) } else { String::new() };
    let barrier = if arguments.barrier { ", barrier" } else { "" };
    format!("{journal}, {} steps{failing}{barrier}", arguments.steps)
}

async fn embedded(
    folder: &tempfile::TempDir,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Arc<dyn Journal>> {
    let db = sqlite(folder, "journal.sqlite").await?;
    tasks.spawn(checkpoint::keep(vec![db.clone()], stop.clone()));
    Ok(Arc::new(journal::Sqlite::open(db, None).await?))
}

fn definition(steps: u32) -> String {
    let mut text = format!("saga: {NAME}\nversion: 1\npermissions: [{PERMISSION}]\nsteps:\n");
    for step in 0..steps {
        let after = if step == 0 { String::new() } else { format!("after: [step_{}], ", step - 1) };
        let path = if step + 1 == steps { "/last" } else { "/step" };
        // Writing to a string cannot fail.
        writeln!(
            text,
            "  step_{step}: {{ participant: {NAME}, {after}action: {{ post: {path}, body: {{ order: \"${{input.order}}\", amount: \"${{input.amount}}\" }} }}, compensate: {{ post: /undo, body: {{ order: \"${{input.order}}\" }} }}, output: {{ id: body.id }} }}"
        )
        .ok();
    }
    text
}
