//! The platform of a run: as `cargo xtask platform up` makes it, in the run's folder and on ports of the run's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::PgPool;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::super::arguments::{Arguments, Weakening};
use super::super::folder::Folder;
use super::super::ground::local;
use super::super::proxy::{Network, Proxy};
use super::clock;
use super::faults::Kind;
use super::network::Ways;
use crate::platform::site::{FIRST_PORT, PORTS, Site, Way, role};
use crate::platform::{stop, up};
use crate::services::faketime;
use crate::services::postgres::Postgres;
use crate::services::process::{is_free, send};
use crate::services::redis::Redis;

/// A client's view of the platform on its usual ports.
const PRODUCTION: &str = include_str!("../../../../goodgo/production.toml");
/// The Redis Cluster takes ports 10,000 above too, and there the kernel's own for clients begin.
const LAST_PORT: u16 = 22_000;
const FREE_LIMIT: Duration = Duration::from_secs(3);
const FREE_STEP: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct World {
    pub(super) site: Site,
    programs: PathBuf,
    first: u16,
    pub(super) ways: Ways,
    /// Leads to whichever PostgreSQL is the primary, calmly.
    pub(super) hub: Proxy,
    calm: Network,
    strangers: TaskTracker,
}

impl World {
    /// All processes, by name.
    pub(super) fn names() -> Vec<String> {
        let site = Site::new(Path::new(""), PathBuf::new(), FIRST_PORT);
        site.parts().into_iter().map(|part| part.name).collect()
    }

    /// All ways between them and their servers, by name.
    pub(super) fn names_of_ways() -> Vec<String> {
        let site = Site::new(Path::new(""), PathBuf::new(), FIRST_PORT).behind_ways();
        site.ways().iter().map(Way::name).collect()
    }

    pub(super) async fn start(folder: &Folder, arguments: &Arguments) -> Result<Self> {
        let seed = arguments.seed;
        let is_synchronous = arguments.weakened != Some(Weakening::Synchrony);
        let built = crate::programs()?;
        for name in ["steadfast", "goodgo-order", "goodgo-payment", "goodgo-inventory"] {
            folder.program(&built.join(name), name)?;
        }
        let first = folder.ports_up_to(PORTS, LAST_PORT)?;
        let site = Site::new(crate::root()?, folder.path().to_owned(), first).behind_ways();
        let site = site.with_standby(is_synchronous).with_clocks(spawn_blocking(faketime).await??);
        clock::set_right(&site)?;
        let ways = Ways::start(&site, seed).await?;
        let calm = Network::new(seed);
        let hub = calm.proxy("anybody", "postgres", site.postgres(), local(site.postgres())).await?;
        let world = Self { site, programs: folder.file("bin"), first, ways, hub, calm, strangers: TaskTracker::new() };
        world.start_postgres().await?;
        world.blocking(up::make).await?;
        Ok(world)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The order service's database.
    pub(super) fn orders(&self) -> Result<PgPool> {
        up::pool(&self.site.url("postgres", "order"))
    }

    /// What the tills are told.
    pub(super) fn production(&self) -> String {
        let port = |first: u16| format!("127.0.0.1:{}", first / 100);
        PRODUCTION
            .replace(&port(FIRST_PORT), &port(self.first))
            .replace("target/platform/keys", &self.site.folder.join("keys").display().to_string())
    }

    pub(super) fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let part = self.site.parts().into_iter().find(|part| part.name == name).context("a process's name")?;
        send(signal, &part.running(&self.site)?)
    }

    /// Starts a process that does not run; one that was told to end is given its time.
    pub(super) async fn begin(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |site, programs| {
            let part = site.parts().into_iter().find(|part| part.name == name).context("a process's name")?;
            part.end(site)?;
            up::begin(site, &part, programs)
        })
        .await
    }

    /// Ends what all processes of a kind have open in the databases, whatever it is doing. A server that cannot be asked has
    /// nothing to end.
    pub(super) async fn end_backends(&self, name: &str) -> Result<()> {
        let sql = include_str!("sql/end_backends.sql");
        drop(sqlx::query(sql).bind(role(name)).execute(&self.orders()?).await);
        Ok(())
    }

    /// A stranger's transaction stands in a database for so long. It may fail, as strangers' do while the server is down.
    pub(super) fn let_stranger_stand(&self, database: &str, lasts: Duration) -> Result<()> {
        let stand = sqlx::query(include_str!("sql/stand.sql")).bind(lasts.as_secs_f64());
        let db = up::pool(&self.site.url("postgres", database))?;
        self.strangers.spawn(async move { stand.execute(&db).await });
        Ok(())
    }

    pub(super) async fn kill_broker(&self, number: u16) -> Result<()> {
        self.blocking(move |site, _| site.kafka().kill_broker(&site.folder, number)).await
    }

    /// Begins to start it; a virtual machine takes its time.
    pub(super) async fn revive_broker(&self, number: u16) -> Result<()> {
        self.wait_for_ports(&self.site.kafka().ports(number)).await;
        self.blocking(move |site, _| site.kafka().revive_broker(&site.folder, number)).await
    }

    pub(super) async fn kill_etcd(&self, members: Vec<u16>) -> Result<()> {
        let kill = move |site: &Site, _: &Path| {
            members.iter().try_for_each(|member| site.etcd().kill_member(&site.folder, *member))
        };
        self.blocking(kill).await
    }

    pub(super) async fn kill_redis(&self, number: u16) -> Result<()> {
        self.blocking(move |site, _| site.redis().kill_master(&site.folder, number)).await
    }

    /// Does not wait for the cluster: its members reach one another over ways, and one of those may be cut.
    pub(super) async fn revive_redis(&self) -> Result<()> {
        self.blocking(|site, _| site.redis().revive(&site.folder)).await
    }

    pub(super) async fn pause_redis(&self, number: u16) -> Result<()> {
        self.blocking(move |site, _| site.redis().pause_master(&site.folder, number)).await
    }

    pub(super) async fn wake_redis(&self) -> Result<()> {
        self.blocking(|site, _| Redis::wake(&site.folder)).await
    }

    pub(super) async fn take_redis_over(&self, number: u16) -> Result<()> {
        self.blocking(move |site, _| {
            site.redis().take_over(number);
            Ok(())
        })
        .await
    }

    /// Starts whatever of a server does not run.
    pub(super) async fn start_server(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |site, _| {
            let server = site.servers().into_iter().find(|server| server.name() == name).context("a server's name")?;
            server.up(&site.folder).with_context(|| format!("{name} did not come up"))
        })
        .await
    }

    /// A broker that was killed is gone before its sockets are.
    async fn wait_for_ports(&self, ports: &[u16]) {
        let begun = Instant::now();
        while !ports.iter().copied().all(is_free) && begun.elapsed() < FREE_LIMIT {
            sleep(FREE_STEP).await;
        }
    }

    /// Processes that ended by themselves are started again, as whatever watches them would; who they were. Those that a fault
    /// holds `down` are left alone.
    pub(super) async fn restart_fallen(&self, down: &BTreeSet<String>) -> Result<Vec<String>> {
        let held = down.clone();
        let restart = move |site: &Site, programs: &Path| {
            let mut fallen = Vec::new();
            for part in site.parts() {
                if !held.contains(&part.name) && part.running(site)?.is_empty() {
                    up::begin(site, &part, programs)?;
                    fallen.push(part.name);
                }
            }
            Ok(fallen)
        };
        self.blocking(restart).await
    }

    /// Everything as it should be: every server and process there and awake.
    pub(super) async fn heal(&self) -> Result<()> {
        self.ways.heal();
        clock::set_right(&self.site)?;
        self.empty_disk().await?;
        self.wake_redis().await?;
        for server in self.site.servers() {
            self.start_server(server.name()).await?;
        }
        self.blocking(|site, programs| {
            for part in site.parts() {
                send("CONT", &part.running(site)?)?;
                up::begin(site, &part, programs)?;
            }
            Ok(())
        })
        .await
    }

    /// Ends the processes; their servers are the folder's to end.
    pub(super) async fn stop(&self) -> Result<()> {
        self.blocking(|site, _| stop(site)).await?;
        self.strangers.close();
        self.strangers.wait().await;
        self.ways.close().await;
        self.calm.close().await;
        clock::sweep()?;
        Ok(())
    }

    /// Whether the fault can be made here; its name counts as left out otherwise.
    pub(super) fn can(&self, kind: Kind) -> Result<bool> {
        Ok(kind != Kind::DiskFilled || Postgres::has_disk(&self.site.folder)?)
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Site, &Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (site, programs) = (self.site.clone(), self.programs.clone());
        spawn_blocking(move || act(&site, &programs)).await?
    }
}
