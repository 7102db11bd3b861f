//! Everything that takes part: PostgreSQL, an etcd of three, three participants, three orchestrators, and a proxy on each
//! way from an orchestrator to a participant or to the database.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use sqlx::postgres::PgPool;
use tokio::task::spawn_blocking;

use super::super::arguments::Arguments;
use super::super::folder::Folder;
use super::super::ground::{self, local, make_database, pool, url, wait_ready};
use super::super::process::{Process, Recipe};
use super::super::proxy::{Network, Proxy};
use super::load::Api;
use super::participant;
use super::plan::{DEFINITIONS, PARTICIPANTS};
use crate::services::Service as _;
use crate::services::etcd::Etcd;
use crate::services::postgres::Postgres;

pub(super) const ORCHESTRATORS: usize = 3;
const PORTS: u16 = 32;

/// Where everybody is, counted from the first port of the run.
#[derive(Clone, Copy, Debug)]
struct Ports {
    first: u16,
}

impl Ports {
    fn postgres(self) -> u16 {
        self.first
    }

    fn etcd(self) -> Etcd {
        Etcd { client_port: self.first + 1, peer_port: self.first + 4 }
    }

    fn orchestrator(self, node: u16) -> u16 {
        self.first + 7 + node
    }

    fn participant(self, index: u16) -> u16 {
        self.first + 10 + index
    }

    fn to_postgres(self, node: u16) -> u16 {
        self.first + 13 + node
    }

    fn to_participant(self, node: u16, index: u16) -> u16 {
        self.first + 16 + 3 * node + index
    }
}

/// The ways out of one orchestrator.
#[derive(Debug)]
pub(super) struct Ways {
    pub(super) to_postgres: Proxy,
    pub(super) to_participants: Vec<Proxy>,
}

#[derive(Debug)]
pub(super) struct World {
    folder: PathBuf,
    ports: Ports,
    pub(super) network: Network,
    pub(super) ways: Vec<Ways>,
    pub(super) orchestrators: Vec<Process>,
    pub(super) participants: Vec<Process>,
    /// Past the proxies.
    pub(super) orchestrator_db: PgPool,
    pub(super) participant_dbs: Vec<PgPool>,
    pub(super) api: Api,
}

impl World {
    /// Makes it and waits until every orchestrator is ready and knows the definitions.
    pub(super) async fn start(folder: &Folder, arguments: &Arguments) -> Result<Self> {
        let ports = Ports { first: folder.ports(PORTS)? };
        let steadfast = ground::steadfast(folder)?;
        // The very program that runs, even where a build has replaced its file.
        let xtask = folder.program(Path::new("/proc/self/exe"), "xtask")?;
        let path = folder.path().to_owned();
        start_servers(path.clone(), ports).await?;
        let orchestrator_db = make_databases(folder, ports, &steadfast).await?;
        let participant_dbs =
            PARTICIPANTS.map(|name| pool(ports.postgres(), name)).into_iter().collect::<Result<Vec<_>>>()?;
        for db in &participant_dbs {
            sqlx::raw_sql(include_str!("sql/create_ledger.sql")).execute(db).await.context("making a ledger")?;
        }

        let network = Network::new(arguments.seed);
        let mut world = Self {
            ways: ways(&network, ports).await?,
            network,
            orchestrators: Vec::new(),
            participants: (0..3).map(|index| participant(&path, &xtask, ports, index, arguments)).collect(),
            orchestrator_db,
            participant_dbs,
            api: Api::new((0..3).map(|node| local(ports.orchestrator(node))).collect(), secret("users")),
            folder: path,
            ports,
        };
        for node in 0..3 {
            world.orchestrators.push(orchestrator(folder, &steadfast, ports, node)?);
        }
        for process in world.participants.iter_mut().chain(&mut world.orchestrators) {
            process.start()?;
        }
        for index in 0..3 {
            wait_ready(local(ports.participant(index)), "a participant").await?;
        }
        for node in 0..3 {
            wait_ready(local(ports.orchestrator(node)), "an orchestrator").await?;
        }
        for definition in &DEFINITIONS {
            world.api.upload(definition.text).await?;
        }
        Ok(world)
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

    pub(super) async fn kill_etcd(&self, members: Vec<u16>) -> Result<()> {
        let (folder, etcd) = (self.folder.clone(), self.ports.etcd());
        spawn_blocking(move || members.iter().try_for_each(|member| etcd.kill_member(&folder, *member))).await?
    }

    /// Starts whatever of it does not run.
    pub(super) async fn start_etcd(&self) -> Result<()> {
        let (folder, etcd) = (self.folder.clone(), self.ports.etcd());
        spawn_blocking(move || etcd.up(&folder)).await?
    }

    /// Everything as it should be: the network calm, every server and process there and awake.
    pub(super) async fn heal(&mut self) -> Result<()> {
        self.network.set(super::super::proxy::Rates::CALM);
        for ways in &self.ways {
            ways.to_postgres.block(false);
            ways.to_participants.iter().for_each(|way| way.block(false));
        }
        self.start_postgres().await?;
        self.start_etcd().await?;
        for process in self.participants.iter_mut().chain(&mut self.orchestrators) {
            process.signal("CONT")?;
            process.start()?;
        }
        Ok(())
    }

    /// Orchestrators that have ended by themselves since they were last started; they are started again.
    pub(super) fn restart_fallen(&mut self) -> Result<Vec<usize>> {
        let mut fallen = Vec::new();
        for (node, process) in self.orchestrators.iter_mut().enumerate() {
            if !process.is_running()? {
                fallen.push(node);
                process.start()?;
            }
        }
        Ok(fallen)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

async fn start_servers(folder: PathBuf, ports: Ports) -> Result<()> {
    spawn_blocking(move || {
        let servers: [Box<dyn crate::services::Service>; 2] =
            [Box::new(Postgres { port: ports.postgres() }), Box::new(ports.etcd())];
        servers.iter().try_for_each(|server| {
            server.install()?;
            server.up(&folder).with_context(|| format!("{} did not come up", server.name()))
        })
    })
    .await?
}

/// The databases with their tables.
async fn make_databases(folder: &Folder, ports: Ports, steadfast: &Path) -> Result<PgPool> {
    for name in PARTICIPANTS {
        make_database(folder, steadfast, ports.postgres(), name, "barrier").await?;
    }
    make_database(folder, steadfast, ports.postgres(), "orchestrator", "orchestrator").await
}

async fn ways(network: &Network, ports: Ports) -> Result<Vec<Ways>> {
    let mut all = Vec::new();
    for node in 0..3 {
        let from = format!("orchestrator-{}", node + 1);
        let postgres = local(ports.postgres());
        let to_postgres = network.proxy(&from, "postgres", ports.to_postgres(node), postgres).await?;
        let mut to_participants = Vec::new();
        for (index, name) in (0..).zip(PARTICIPANTS) {
            let upstream = local(ports.participant(index));
            to_participants.push(network.proxy(&from, name, ports.to_participant(node, index), upstream).await?);
        }
        all.push(Ways { to_postgres, to_participants });
    }
    Ok(all)
}

fn participant(folder: &Path, xtask: &Path, ports: Ports, index: u16, run: &Arguments) -> Process {
    let name = PARTICIPANTS[usize::from(index)];
    let environment = [
        (participant::LISTEN, local(ports.participant(index)).to_string()),
        (participant::DATABASE, url(ports.postgres(), name)),
        (participant::KEY, secret(name)),
        (participant::SEED, (run.seed ^ u64::from(index)).to_string()),
        (participant::BARRIER, run.weakened.is_none().to_string()),
    ];
    Process::new(Recipe {
        name: name.to_owned(),
        program: xtask.to_owned(),
        arguments: vec!["torture-participant".to_owned(), name.to_owned()],
        environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        folder: folder.to_owned(),
    })
}

fn orchestrator(folder: &Folder, steadfast: &Path, ports: Ports, node: u16) -> Result<Process> {
    let name = format!("orchestrator-{}", node + 1);
    let etcd = ports.etcd().client_port;
    let endpoints = [etcd, etcd + 1, etcd + 2].map(|port| format!("http://127.0.0.1:{port}"));
    let mut config = format!(
        "node = \"{name}\"\nlisten = \"{}\"\n\n[database]\nurl = \"{}\"\n\n[etcd]\nendpoints = {endpoints:?}\n\n\
         [auth]\nissuer = \"torture\"\naudience = \"torture\"\n[[auth.keys]]\nkid = \"users\"\nalgorithm = \"hs256\"\n\
         secret = {{ file = \"{}\" }}\n\n[sealing]\nkid = \"seal\"\nkey = {{ file = \"{}\" }}\n",
        local(ports.orchestrator(node)),
        url(ports.to_postgres(node), "orchestrator"),
        folder.write("users.key", &secret("users"))?.display(),
        folder.write("seal.key", &hex(secret("seal").as_bytes()))?.display(),
    );
    for (index, participant) in (0..).zip(PARTICIPANTS) {
        let file = folder.write(&format!("{participant}.key"), &secret(participant))?;
        let address = local(ports.to_participant(node, index));
        write!(
            config,
            "\n[participants.{participant}]\nbase_urls = [\"http://{address}\"]\nbarrier = true\n\
             key = {{ file = \"{}\" }}\n",
            file.display()
        )?;
    }
    let file = folder.write(&format!("{name}.toml"), &config)?;
    Ok(Process::new(Recipe {
        name,
        program: steadfast.to_owned(),
        arguments: vec!["orchestrator".to_owned(), "--config".to_owned(), file.display().to_string()],
        environment: vec![("RUST_BACKTRACE".to_owned(), "1".to_owned())],
        folder: folder.path().to_owned(),
    }))
}

/// A secret of a run: 32 letters, known to nobody outside it and worth nothing.
fn secret(purpose: &str) -> String {
    hex(&digest(&SHA256, purpose.as_bytes()).as_ref()[..16])
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
