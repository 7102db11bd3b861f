//! Everything that takes part: PostgreSQL with a service's database and a read database, a Kafka broker, three relays, three
//! projectors, and a stranger's transaction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Method;
use sqlx::postgres::PgPool;
use sqlx::{Postgres as Database, Transaction};
use steadfast_bus::kafka::{Config, NewTopics, Producer};
use steadfast_db::postgres::{Db, Options};
use steadfast_outbox::trial;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::super::folder::Folder;
use super::super::ground::{local, make_database, steadfast, url, wait_ready};
use super::super::http::ask;
use super::super::process::{Process, Recipe};
use crate::services::Service as _;
use crate::services::kafka::Kafka;
use crate::services::postgres::Postgres;
use crate::services::process::is_free;

/// Of the relays, and of the projectors.
pub(super) const MEMBERS: usize = 3;
/// Events of one batch of a bucket: few, so that what a death may repeat is few too.
pub(super) const BATCH: u64 = 10;
/// The trial's event types. Their topics have different numbers of partitions, so that two projectors hold consecutive
/// events of one aggregate.
pub(super) const TOPICS: [&str; 2] = ["trial.changed.v1", "trial.changed.v2"];
const PARTITIONS: [u32; 2] = [4, 5];
const WRITERS: u32 = 64;
const PORTS: u16 = 16;
/// A process that is told to end has this long before it is killed.
const TERM_LIMIT: Duration = Duration::from_secs(8);
const ASK_LIMIT: Duration = Duration::from_secs(5);
const FREE_LIMIT: Duration = Duration::from_secs(10);
const FREE_STEP: Duration = Duration::from_millis(50);
/// A failing run keeps its logs: who read which partition when must stand there.
const LOG: &str = "info,steadfast_projection=debug,librdkafka=debug";
/// Must stay 0: events that a relay's own position has left behind.
const MISSED: &str = "outbox_missed_events_total";

/// Where everybody is, counted from the first port of the run.
#[derive(Clone, Copy, Debug)]
struct Ports {
    first: u16,
}

impl Ports {
    fn postgres(self) -> u16 {
        self.first
    }

    /// Its controller has the next.
    fn kafka(self) -> u16 {
        self.first + 1
    }

    fn relay(self, index: u16) -> u16 {
        self.first + 3 + index
    }

    fn projector(self, index: u16) -> u16 {
        self.first + 6 + index
    }
}

/// A relay or a projector.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    port: u16,
    process: Process,
    /// A fault has it.
    struck: bool,
    /// It was told to end, and had to be killed.
    pub(super) stayed: u64,
}

impl Member {
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.struck = true;
        self.process.kill().await
    }

    pub(super) fn pause(&mut self) -> Result<()> {
        self.struck = true;
        self.process.signal("STOP")
    }

    pub(super) async fn terminate(&mut self) -> Result<()> {
        self.struck = true;
        self.stayed += u64::from(!self.process.terminate(TERM_LIMIT).await?);
        Ok(())
    }

    /// Wakes it, or starts it again.
    pub(super) fn recover(&mut self) -> Result<()> {
        self.struck = false;
        self.process.signal("CONT")?;
        self.process.start()
    }

    /// The most memory that it has had since it was started, in MiB.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        self.process.peak_memory()
    }
}

#[derive(Debug)]
pub(super) struct World {
    folder: PathBuf,
    ports: Ports,
    pub(super) relays: Vec<Member>,
    pub(super) projectors: Vec<Member>,
    /// The writers' own.
    pub(super) shop: Db,
    /// Whoever looks on.
    pub(super) write: PgPool,
    pub(super) read: PgPool,
    stranger: Option<Transaction<'static, Database>>,
    /// A broker takes seconds to start, and nothing else waits for it.
    broker: JoinSet<Result<()>>,
}

impl World {
    /// Makes it and waits until every relay and projector is ready.
    pub(super) async fn start(folder: &Folder) -> Result<Self> {
        let ports = Ports { first: folder.ports(PORTS)? };
        let steadfast = steadfast(folder)?;
        let path = folder.path().to_owned();
        start_servers(path.clone(), ports).await?;
        let write = make_database(folder, &steadfast, ports.postgres(), "shop", "outbox").await?;
        let read = make_database(folder, &steadfast, ports.postgres(), "view", "projection").await?;
        sqlx::raw_sql(include_str!("sql/make_view.sql")).execute(&read).await.context("making the read model")?;
        // Ended with the others by a fault: writers meet that too.
        let application_name = "steadfast torture writers".to_owned();
        let options = Options { connections: WRITERS + 4, application_name, ..Options::default() };
        let shop = Db::lazy(&url(ports.postgres(), "shop").into(), options).context("the writers' database")?;
        trial::prepare(&shop).await.context("making the trial's table")?;
        for (topic, partitions) in TOPICS.into_iter().zip(PARTITIONS) {
            let topics = NewTopics::Create { partitions, replication: 1 };
            let config = Config { topics, ..Config::new(brokers(ports)) };
            let producer = Producer::open(config).context("kafka")?;
            producer.prepare(&[topic]).await.with_context(|| format!("making the topic {topic}"))?;
        }
        folder.write("trial.projection.yaml", include_str!("trial.projection.yaml"))?;
        let mut world = Self {
            relays: (0..3).map(|index| relay(folder, &steadfast, ports, index)).collect::<Result<_>>()?,
            projectors: (0..3).map(|index| projector(folder, &steadfast, ports, index)).collect::<Result<_>>()?,
            folder: path,
            ports,
            shop,
            write,
            read,
            stranger: None,
            broker: JoinSet::new(),
        };
        for member in world.members() {
            member.process.start()?;
        }
        for member in world.members() {
            wait_ready(local(member.port), &member.name).await?;
        }
        Ok(world)
    }

    pub(super) fn members(&mut self) -> impl Iterator<Item = &mut Member> {
        self.relays.iter_mut().chain(&mut self.projectors)
    }

    pub(super) fn plan(seed: u64, duration: Duration) -> trial::Plan {
        trial::Plan {
            writers: WRITERS,
            duration,
            seed,
            event_types: u32::try_from(TOPICS.len()).unwrap_or(1),
            // The load stays below what two cores can carry beside the faults.
            rest: Duration::from_millis(250),
            ..trial::Plan::default()
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn brokers(&self) -> String {
        brokers(self.ports)
    }

    pub(super) async fn end_backends(&self) {
        let sql = include_str!("../sql/terminate_backends.sql");
        // One that cannot be asked has no connections to end.
        drop(sqlx::query(sql).execute(&self.write).await);
    }

    /// PostgreSQL is stopped as a crash would stop it.
    pub(super) async fn stop_postgres(&self) -> Result<()> {
        let folder = self.folder.clone();
        spawn_blocking(move || Postgres::halt(&folder)).await?
    }

    pub(super) async fn start_postgres(&self) -> Result<()> {
        let (folder, port) = (self.folder.clone(), self.ports.postgres());
        spawn_blocking(move || Postgres { port }.up(&folder)).await?
    }

    pub(super) async fn kill_broker(&mut self) -> Result<()> {
        self.broker_started().await?;
        let folder = self.folder.clone();
        spawn_blocking(move || Kafka::halt(&folder)).await?
    }

    /// Begins to start it.
    pub(super) fn start_broker(&mut self) {
        let (folder, kafka) = (self.folder.clone(), kafka(self.ports));
        self.broker.spawn(async move {
            // A process that was killed is gone before its sockets are.
            let begun = Instant::now();
            while ![kafka.port, kafka.port + 1].into_iter().all(is_free) && begun.elapsed() < FREE_LIMIT {
                sleep(FREE_STEP).await;
            }
            spawn_blocking(move || kafka.up(&folder)).await?
        });
    }

    async fn broker_started(&mut self) -> Result<()> {
        while let Some(started) = self.broker.join_next().await {
            started.context("the task that starts Kafka")?.context("starting Kafka")?;
        }
        Ok(())
    }

    /// It may fail, as strangers' transactions do while the server is down.
    pub(super) async fn let_stranger_stand(&mut self) {
        self.stranger = self.stand().await.ok();
    }

    async fn stand(&self) -> Result<Transaction<'static, Database>> {
        let mut tx = self.write.begin().await?;
        sqlx::query("set transaction isolation level repeatable read").execute(&mut *tx).await?;
        sqlx::query(include_str!("sql/stand.sql")).execute(&mut *tx).await?;
        Ok(tx)
    }

    pub(super) async fn let_stranger_go(&mut self) {
        if let Some(tx) = self.stranger.take() {
            // The server may have been stopped under it.
            drop(tx.rollback().await);
        }
    }

    /// Everything as it should be. The timeline has ended its faults; what it does not wait for has come up now, and nobody
    /// is left stopped.
    pub(super) async fn heal(&mut self) -> Result<()> {
        self.broker_started().await?;
        self.members().try_for_each(Member::recover)
    }

    /// Starts those again that have ended by themselves, as whatever watches processes in production does; their names.
    pub(super) fn restart_fallen(&mut self) -> Result<Vec<String>> {
        let mut fallen = Vec::new();
        for member in self.members() {
            if !member.struck && !member.process.is_running()? {
                fallen.push(member.name.clone());
                member.process.start()?;
            }
        }
        Ok(fallen)
    }

    /// What the relays count as left behind.
    pub(super) async fn missed(&self) -> Result<f64> {
        let mut missed = 0.0;
        for relay in &self.relays {
            let reply = ask(local(relay.port), Method::GET, "/metrics", &[], None, ASK_LIMIT).await;
            let reply = reply.with_context(|| format!("the metrics of {}", relay.name))?;
            let text = reply.body.as_str().unwrap_or_default();
            let lines = text.lines().filter(|line| line.starts_with(MISSED));
            missed += lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
        }
        Ok(missed)
    }
}

async fn start_servers(folder: PathBuf, ports: Ports) -> Result<()> {
    spawn_blocking(move || {
        let servers: [Box<dyn crate::services::Service>; 2] =
            [Box::new(Postgres { port: ports.postgres() }), Box::new(kafka(ports))];
        servers.iter().try_for_each(|server| {
            server.install()?;
            server.up(&folder).with_context(|| format!("{} did not come up", server.name()))
        })
    })
    .await?
}

fn kafka(ports: Ports) -> Kafka {
    Kafka { brokers: Some(1), port: ports.kafka(), behind: None }
}

fn brokers(ports: Ports) -> String {
    local(ports.kafka()).to_string()
}

fn relay(folder: &Folder, steadfast: &Path, ports: Ports, index: u16) -> Result<Member> {
    let name = format!("relay-{}", index + 1);
    let port = ports.relay(index);
    let config = format!(
        "node = \"{name}\"\nlisten = \"{}\"\nbatch = {BATCH}\n\n[databases.shop]\nurl = \"{}\"\n\n\
         [kafka]\nbrokers = [\"{}\"]\ndelivery = \"4s\"\n\n[topics]\ncreate = false\n\n\
         [lease]\ntime = \"3s\"\ndrain = \"2s\"\n",
        local(port),
        url(ports.postgres(), "shop"),
        brokers(ports),
    );
    member(folder, steadfast, &["outbox", "relay"], name, port, &config)
}

fn projector(folder: &Folder, steadfast: &Path, ports: Ports, index: u16) -> Result<Member> {
    let name = format!("projector-{}", index + 1);
    let port = ports.projector(index);
    let config = format!(
        "listen = \"{}\"\nprojections = [\"*.projection.yaml\"]\ntopics = {TOPICS:?}\ngroup = \"torture\"\n\n\
         [database]\nurl = \"{}\"\n\n\
         [kafka]\nbrokers = [\"{}\"]\nsettings = {{ session_timeout_ms = \"6000\" }}\n",
        local(port),
        url(ports.postgres(), "view"),
        brokers(ports),
    );
    member(folder, steadfast, &["projector"], name, port, &config)
}

fn member(folder: &Folder, steadfast: &Path, role: &[&str], name: String, port: u16, config: &str) -> Result<Member> {
    let file = folder.write(&format!("{name}.toml"), config)?.display().to_string();
    let process = Process::new(Recipe {
        name: name.clone(),
        program: steadfast.to_owned(),
        arguments: role.iter().copied().chain(["--config", &file]).map(str::to_owned).collect(),
        environment: [("RUST_BACKTRACE", "1"), ("STEADFAST_LOG", LOG)]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        folder: folder.path().to_owned(),
    });
    Ok(Member { name, port, process, struck: false, stayed: 0 })
}
