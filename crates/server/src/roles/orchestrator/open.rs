//! From a configuration to a running engine, with patience for what passes by itself.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use steadfast_core::Clock;
use steadfast_core::sealing::Keyring;
use steadfast_db::{DataFolder, Db, Followed, sqlite};
use steadfast_host::patience::patiently;
use steadfast_saga::engine::{self, AsAtStart, Election, Engine, Ports};
use steadfast_saga::journal::{self, Journal};
use steadfast_saga::participant::client::Participants;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Config;
use crate::checkpoint;
#[cfg(feature = "postgres")]
use crate::roles::database::Database;

/// Everything that an engine needs, checked as far as it can be without a database.
pub(super) struct Made {
    engine: engine::Config,
    participants: Arc<Participants>,
    keyring: Arc<Keyring>,
    time: Arc<Followed>,
    election: Option<Arc<dyn Election>>,
    place: Place,
    events: bool,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where sagas are kept.
enum Place {
    #[cfg(feature = "postgres")]
    Postgres(Database),
    Folder(DataFolder),
}

impl Made {
    /// `stop` ends what runs beside the engine.
    pub(super) fn of(config: &Config, time: Arc<Followed>, stop: &CancellationToken) -> Result<Self> {
        let engine = config.engine()?;
        let participants = Arc::new(config.participants()?);
        let keyring = Arc::new(config.keyring()?);
        let place = place(config)?;
        let election = election(config, &engine, stop.clone())?;
        Ok(Self { engine, participants, keyring, time, election, place, events: config.events })
    }

    /// Opens the journal and takes up what is unsettled; tries again while the fault is one that passes.
    pub(super) async fn open(self, stop: &CancellationToken, tasks: &TaskTracker) -> Result<Engine> {
        let opened = patiently("the journal cannot be opened", async || self.attempt(stop).await).await;
        let (engine, work) = opened.context("opening the journal")?;
        tasks.spawn(work);
        Ok(engine)
    }

    /// The engine, and what has to be done beside it.
    async fn attempt(&self, stop: &CancellationToken) -> Result<(Engine, Work), steadfast_saga::Error> {
        let (journal, work): (Arc<dyn Journal>, Work) = match &self.place {
            #[cfg(feature = "postgres")]
            Place::Postgres(database) => {
                // Anew for each attempt: a connection stays with the server that it reached, whatever has become of it.
                let db = database.handle("orchestrator")?;
                db.check().await?;
                if self.events {
                    db.knows(&steadfast_outbox::LINE).await?;
                }
                // All nodes live by one clock: they take each other's sagas over, with their times.
                self.time.set_by(&db).await?;
                let follow = Arc::clone(&self.time).follow(db.clone(), stop.clone());
                (Arc::new(journal::Postgres::open(db, self.events).await?), Box::pin(follow))
            }
            Place::Folder(folder) => {
                let db = Db::open(&folder.path().join("orchestrator.sqlite"), sqlite::Options::default()).await?;
                let sink = if self.events {
                    steadfast_db::migrate(&db, &steadfast_outbox::LINE).await?;
                    Some(Arc::new(steadfast_outbox::Sink::new()) as Arc<_>)
                } else {
                    None
                };
                let keep = checkpoint::keep(vec![db.clone()], stop.clone());
                (Arc::new(journal::Sqlite::open(db, sink).await?), Box::pin(keep))
            }
        };
        let ports = Ports {
            journal,
            participants: Arc::clone(&self.participants),
            permissions: Arc::new(AsAtStart),
            clock: Arc::clone(&self.time) as Arc<dyn Clock>,
            keyring: Arc::clone(&self.keyring),
            election: self.election.clone(),
        };
        Ok((Engine::open(self.engine.clone(), ports).await?, work))
    }
}

fn place(config: &Config) -> Result<Place> {
    match (&config.database, &config.data) {
        (Some(_), Some(_)) => bail!("both `database` and `data` are set: sagas are kept in one place; take one out"),
        #[cfg(feature = "postgres")]
        (Some(database), None) => {
            database.check("database")?;
            Ok(Place::Postgres(database.clone()))
        }
        #[cfg(not(feature = "postgres"))]
        (Some(database), None) => database.refuse(),
        (None, data) => {
            let path = data.as_deref().unwrap_or(Path::new("steadfast-data"));
            Ok(Place::Folder(DataFolder::take(path)?))
        }
    }
}

#[cfg(feature = "etcd")]
fn election(config: &Config, engine: &engine::Config, stop: CancellationToken) -> Result<Option<Arc<dyn Election>>> {
    use steadfast_saga::engine::Etcd;

    let Some(etcd) = &config.etcd else { return Ok(None) };
    let campaign = etcd.campaign(&engine.node, engine.lease)?;
    Ok(Some(Arc::new(Etcd::campaign(campaign, stop)?)))
}

#[cfg(not(feature = "etcd"))]
fn election(config: &Config, _: &engine::Config, _: CancellationToken) -> Result<Option<Arc<dyn Election>>> {
    if config.etcd.is_some() {
        bail!("`etcd` is set, which this build lacks: build it with `--features etcd`, or let the database elect");
    }
    Ok(None)
}
