//! The platform of a run: as `cargo xtask platform up` makes it, in the run's folder and on ports of the run's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::PgPool;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::super::folder::Folder;
use crate::platform::site::{FIRST_PORT, PORTS, Site};
use crate::platform::{stop, up};
use crate::services::kafka::Kafka;
use crate::services::postgres::Postgres;
use crate::services::process::{is_free, send};

/// A client's view of the platform on its usual ports.
const PRODUCTION: &str = include_str!("../../../../goodgo/production.toml");
/// The Redis Cluster takes ports 10,000 above too, and there the kernel's own for clients begin.
const LAST_PORT: u16 = 22_000;
const FREE_LIMIT: Duration = Duration::from_secs(3);
const FREE_STEP: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct World {
    site: Site,
    programs: PathBuf,
    first: u16,
}

impl World {
    /// All processes, by name.
    pub(super) fn names() -> Vec<String> {
        let site = Site::new(Path::new(""), PathBuf::new(), FIRST_PORT);
        site.parts().into_iter().map(|part| part.name).collect()
    }

    pub(super) async fn start(folder: &Folder) -> Result<Self> {
        let built = crate::programs()?;
        for name in ["steadfast", "goodgo-order", "goodgo-payment", "goodgo-inventory"] {
            folder.program(&built.join(name), name)?;
        }
        let first = folder.ports_up_to(PORTS, LAST_PORT)?;
        let site = Site::new(crate::root()?, folder.path().to_owned(), first);
        let world = Self { site, programs: folder.file("bin"), first };
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

    /// As a crash would stop it.
    pub(super) async fn stop_postgres(&self) -> Result<()> {
        self.blocking(|site, _| Postgres::halt(&site.folder)).await
    }

    pub(super) async fn kill_broker(&self) -> Result<()> {
        self.blocking(|site, _| Kafka::halt(&site.folder)).await
    }

    pub(super) async fn kill_etcd(&self, number: u16) -> Result<()> {
        self.blocking(move |site, _| site.etcd().kill_member(&site.folder, number)).await
    }

    pub(super) async fn kill_redis(&self, number: u16) -> Result<()> {
        self.blocking(move |site, _| site.redis().kill_master(&site.folder, number)).await
    }

    /// Starts whatever of a server does not run.
    pub(super) async fn start_server(&self, name: &str) -> Result<()> {
        if name == "kafka" {
            self.wait_for_its_ports(self.site.kafka()).await;
        }
        let name = name.to_owned();
        self.blocking(move |site, _| {
            let server = site.servers().into_iter().find(|server| server.name() == name).context("a server's name")?;
            server.up(&site.folder).with_context(|| format!("{name} did not come up"))
        })
        .await
    }

    /// A broker that was killed is gone before its sockets are. One that runs keeps them, and nobody waits for it for long.
    async fn wait_for_its_ports(&self, first: u16) {
        let begun = Instant::now();
        while ![first, first + 1].into_iter().all(is_free) && begun.elapsed() < FREE_LIMIT {
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
        self.blocking(|site, _| stop(site)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Site, &Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (site, programs) = (self.site.clone(), self.programs.clone());
        spawn_blocking(move || act(&site, &programs)).await?
    }
}
