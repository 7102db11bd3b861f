//! Everything that takes part: PostgreSQL, a Redis, a Redis Cluster, two services over each store, and a proxy on each way
//! from a service to its store.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::AssertSqlSafe;
use tokio::task::spawn_blocking;

use super::super::arguments::{Arguments, Weakening};
use super::super::folder::Folder;
use super::super::ground::{local, pool, url, wait_ready};
use super::super::process::{Process, Recipe};
use super::super::proxy::{Network, Proxy};
use super::arm::{Arm, MEMBERS};
use super::load::{Api, now};
use super::redis::{Cluster, NODES, Server};
use crate::services::Service as _;
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;

const PORTS: u16 = 40;
/// Names another build of the service, such as an unoptimised one.
const PROGRAM: &str = "XTASK_CHARGES";
/// How long a claim outlives its process, in milliseconds.
const LEASE: &str = "2000";
/// How long a charge takes, in milliseconds: long enough to be hit in the middle.
const TAKES: &str = "12";
/// Where it is to be hit there by all means.
const TAKES_LONG: &str = "300";
/// A process that is told to end has this long before it is killed: while its store is away it has ends to report.
const TERM_LIMIT: Duration = Duration::from_secs(3);
/// So long after it was started or woken a service is not blamed for being slow.
const RECOVERY: u64 = 1_500;

/// Where everybody is, counted from the first port of the run.
#[derive(Clone, Copy, Debug)]
struct Ports {
    first: u16,
}

impl Ports {
    fn postgres(self) -> u16 {
        self.first
    }

    fn redis(self) -> u16 {
        self.first + 1
    }

    /// The first of the cluster's; each node has three.
    fn cluster(self) -> u16 {
        self.first + 2
    }

    fn service(self, arm: Arm, member: u16) -> u16 {
        self.cluster() + 3 * NODES + 2 * arm.index() + member
    }

    fn way(self, arm: Arm, member: u16) -> u16 {
        self.service(arm, member) + 10
    }
}

/// A process of the service.
#[derive(Debug)]
pub(super) struct Charges {
    pub(super) arm: Arm,
    pub(super) member: usize,
    pub(super) name: String,
    port: u16,
    process: Process,
    /// Since when a fault has it.
    struck: Option<u64>,
    /// When it could not be expected to answer in time.
    pub(super) disturbed: Vec<(u64, u64)>,
    /// It was told to end, and had to be killed.
    pub(super) stayed: u64,
}

impl Charges {
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.struck = Some(now());
        self.process.kill().await
    }

    pub(super) fn pause(&mut self) -> Result<()> {
        self.struck = Some(now());
        self.process.signal("STOP")
    }

    pub(super) async fn terminate(&mut self) -> Result<()> {
        self.struck = Some(now());
        self.stayed += u64::from(!self.process.terminate(TERM_LIMIT).await?);
        Ok(())
    }

    /// Wakes it, or starts it again.
    pub(super) fn recover(&mut self) -> Result<()> {
        if let Some(since) = self.struck.take() {
            self.disturbed.push((since, now() + RECOVERY));
        }
        self.process.signal("CONT")?;
        self.process.start()
    }
}

/// A master whose replica took its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failover {
    pub(super) at: u64,
    /// What `min-replicas-to-write` was.
    pub(super) required: u32,
    /// Whether anybody was promoted.
    pub(super) promoted: bool,
}

#[derive(Debug)]
pub(super) struct World {
    folder: PathBuf,
    ports: Ports,
    pub(super) services: Vec<Charges>,
    pub(super) redis: Server,
    pub(super) cluster: Cluster,
    pub(super) network: Network,
    pub(super) failovers: Vec<Failover>,
    /// The node that a fault has, and the one that may take its place.
    pub(super) struck_node: Option<(usize, usize)>,
    required: u32,
    _ways: Vec<Proxy>,
}

impl World {
    /// Makes it and waits until every service is ready.
    pub(super) async fn start(folder: &Folder, arguments: &Arguments) -> Result<Self> {
        let ports = Ports { first: folder.ports(PORTS)? };
        let path = folder.path().to_owned();
        spawn_blocking(move || start_servers(&path, ports)).await??;
        let mut redis = Server::new(folder.path(), "redis", ports.redis(), &["--appendfsync", "always"])?;
        redis.start().await?;
        let network = Network::new(arguments.seed);
        let cluster = Cluster::start(folder, ports.cluster(), &network).await?;
        let program = program(folder)?;
        let (mut services, mut ways) = (Vec::new(), Vec::new());
        for arm in Arm::ALL {
            let create = sqlx::query(AssertSqlSafe(format!("create database \"{}\"", arm.name())));
            create.execute(&pool(ports.postgres(), "postgres")?).await.context("creating a database")?;
            for member in 0..u16::try_from(MEMBERS)? {
                if arm.has_way() {
                    let upstream = local(if arm == Arm::Redis { ports.redis() } else { ports.postgres() });
                    let from = format!("{}-{member}", arm.name());
                    let way = network.proxy(&from, arm.name(), ports.way(arm, member), upstream);
                    ways.push(way.await?);
                }
                services.push(service(folder, &program, ports, arm, member, &cluster.urls(), arguments.weakened));
            }
        }
        let mut world = Self {
            folder: folder.path().to_owned(),
            ports,
            services,
            redis,
            cluster,
            network,
            failovers: Vec::new(),
            struck_node: None,
            required: 0,
            _ways: ways,
        };
        for service in &mut world.services {
            service.process.start()?;
        }
        world.ready().await?;
        Ok(world)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn api(&self) -> Api {
        let addresses = |arm| {
            let port = |member| local(self.ports.service(arm, member));
            (arm, [port(0), port(1)])
        };
        Api(Arm::ALL.map(addresses).to_vec())
    }

    /// The ledger of an arm, looked at directly.
    pub(super) fn ledger(&self, arm: Arm) -> Result<sqlx::PgPool> {
        pool(self.ports.postgres(), arm.name())
    }

    pub(super) fn service(&mut self, arm: Arm, member: usize) -> Result<&mut Charges> {
        let found = self.services.iter_mut().find(|service| service.arm == arm && service.member == member);
        found.with_context(|| format!("there is no service {member} of {}", arm.name()))
    }

    pub(super) async fn ready(&self) -> Result<()> {
        for service in &self.services {
            wait_ready(local(service.port), &service.name).await?;
        }
        Ok(())
    }

    /// A failing run of the statement is a server that is down already.
    pub(super) async fn end_backends(&self) {
        if let Ok(pool) = pool(self.ports.postgres(), "postgres") {
            drop(sqlx::query(include_str!("sql/end_backends.sql")).execute(&pool).await);
        }
    }

    pub(super) async fn stop_postgres(&self) -> Result<()> {
        let folder = self.folder.clone();
        spawn_blocking(move || Postgres::halt(&folder)).await?
    }

    pub(super) async fn start_postgres(&self) -> Result<()> {
        let (folder, port) = (self.folder.clone(), self.ports.postgres());
        spawn_blocking(move || Postgres { port }.up(&folder)).await?
    }

    /// Master and replica of a shard, for a fault that begins now; `None` where they are not in good order.
    pub(super) async fn strike(&mut self, shard: usize) -> Option<(usize, usize)> {
        let pair = self.cluster.pair(shard).await?;
        self.struck_node = Some(pair);
        self.failovers.push(Failover { at: now(), required: self.required, promoted: false });
        Some(pair)
    }

    /// The fault has ended: the next meets masters that ask for the other number of replicas.
    pub(super) async fn struck(&mut self, replica: usize) {
        let promoted = self.cluster.is_master(replica).await;
        if let Some(last) = self.failovers.last_mut() {
            last.promoted = promoted;
        }
        self.required = 1 - self.required;
        self.cluster.require_replicas(self.required).await;
    }

    /// Everything as it should be; the timeline has ended its faults.
    pub(super) async fn heal(&mut self) -> Result<()> {
        self.redis.ask("REPLICAOF NO ONE").await?;
        self.cluster.heal().await?;
        self.cluster.require_replicas(0).await;
        self.services.iter_mut().try_for_each(Charges::recover)
    }

    /// Starts those again that have ended by themselves, as whatever watches processes in production does.
    pub(super) fn restart_fallen(&mut self) -> Result<usize> {
        let mut fallen = 0;
        for service in &mut self.services {
            if service.struck.is_none() && !service.process.is_running()? {
                fallen += 1;
                service.disturbed.push((now().saturating_sub(RECOVERY), now() + RECOVERY));
                service.process.start()?;
            }
        }
        Ok(fallen)
    }
}

fn start_servers(folder: &Path, ports: Ports) -> Result<()> {
    // Only to have the programs: what is killed is started one by one.
    Redis { cluster_port: ports.cluster(), single_port: ports.redis(), announced: None }.install()?;
    let postgres = Postgres { port: ports.postgres() };
    postgres.install()?;
    postgres.up(folder).context("PostgreSQL did not come up")
}

/// The run's copy of the service.
fn program(folder: &Folder) -> Result<PathBuf> {
    let built = match env::var_os(PROGRAM) {
        Some(path) => PathBuf::from(path),
        // The run's folder is `target/torture/NAME`.
        None => folder.path().ancestors().nth(2).context("the folder of builds")?.join("release/examples/charges"),
    };
    folder.program(&built, "charges")
}

fn service(
    folder: &Folder,
    program: &Path,
    ports: Ports,
    arm: Arm,
    member: u16,
    cluster: &str,
    weakened: Option<Weakening>,
) -> Charges {
    let name = format!("{}-{}", arm.name(), member + 1);
    let (port, way) = (ports.service(arm, member), ports.way(arm, member));
    let ledger = url(if arm.is_redis() { ports.postgres() } else { way }, arm.name());
    let keys = match arm {
        _ if weakened == Some(Weakening::Store) => "nowhere",
        Arm::Redis if weakened == Some(Weakening::Compare) => "overwriting",
        Arm::Transactional => "transactional",
        Arm::Leased => "postgres",
        Arm::Redis | Arm::Cluster | Arm::ClusterWait => "redis",
    };
    let redis = if arm == Arm::Redis { format!("redis://127.0.0.1:{way}") } else { cluster.to_owned() };
    let listen = local(port).to_string();
    let takes = if weakened == Some(Weakening::Compare) { TAKES_LONG } else { TAKES };
    let mut arguments =
        vec!["--listen", &listen, "--ledger", &ledger, "--keys", keys, "--lease", LEASE, "--takes", takes];
    if arm.is_redis() {
        arguments.extend(["--redis", &redis]);
    }
    if !arm.holds() {
        arguments.push("--retry");
    }
    if arm == Arm::ClusterWait {
        arguments.extend(["--wait", "1"]);
    }
    let process = Process::new(Recipe {
        name: name.clone(),
        program: program.to_owned(),
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        environment: vec![("RUST_BACKTRACE".to_owned(), "1".to_owned())],
        folder: folder.path().to_owned(),
    });
    let member = usize::from(member);
    Charges { arm, member, name, port, process, struck: None, disturbed: Vec::new(), stayed: 0 }
}
