//! Redis servers of the run: killed, stopped, made read-only, promoted. A cluster of three masters with a replica each stands
//! behind proxies by which its clients are cut off and its replication lags.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::super::folder::Folder;
use super::super::ground::local;
use super::super::process::{Process, Recipe};
use super::super::proxy::{Network, Proxy};
use crate::services::redis::ask;

pub(super) const NODES: u16 = 6;
pub(super) const SHARDS: usize = 3;
/// How late a replica has what its master has acknowledged. On one machine it would be microseconds, and a failover would
/// lose nothing.
pub(super) const LAG: Duration = Duration::from_millis(10);
const SLOTS: [(u16, u16); SHARDS] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];
const READY_LIMIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    pub(super) process: Process,
}

impl Server {
    /// In a folder of its own, where its data survives it.
    pub(super) fn new(folder: &Path, name: &str, port: u16, options: &[&str]) -> Result<Self> {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let port_text = port.to_string();
        let fixed = ["--bind", "127.0.0.1", "--port", &port_text, "--save", "", "--appendonly", "yes", "--dir", "."];
        let process = Process::new(Recipe {
            name: name.to_owned(),
            program: "redis-server".into(),
            arguments: fixed.iter().chain(options).map(|&option| option.to_owned()).collect(),
            environment: Vec::new(),
            folder,
        });
        Ok(Self { port, process })
    }

    pub(super) async fn ask(&self, command: &str) -> Result<String> {
        let (port, command) = (self.port, command.to_owned());
        spawn_blocking(move || ask(port, &command)).await?
    }

    /// Starts it and waits until it answers.
    pub(super) async fn start(&mut self) -> Result<()> {
        self.process.start()?;
        let begun = Instant::now();
        while self.ask("PING").await.ok().as_deref() != Some("PONG") {
            if begun.elapsed() > READY_LIMIT {
                bail!("Redis on port {} does not answer", self.port);
            }
            sleep(STEP).await;
        }
        Ok(())
    }

    /// What it says of its part in replication.
    async fn says(&self, what: &str) -> bool {
        self.ask("INFO replication").await.is_ok_and(|said| said.contains(what))
    }
}

/// Three masters with a replica each.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Vec<Server>,
    ways: Vec<Proxy>,
    announced: Vec<u16>,
}

impl Cluster {
    /// Node `i` has the ports `first + 3 i`, its bus the next, and its clients come to the one after.
    pub(super) async fn start(folder: &Folder, first: u16, network: &Network) -> Result<Self> {
        let mut cluster = Self { nodes: Vec::new(), ways: Vec::new(), announced: Vec::new() };
        for index in 0..NODES {
            let port = first + 3 * index;
            let (bus, announced) = ((port + 1).to_string(), (port + 2).to_string());
            let options = [
                "--cluster-enabled",
                "yes",
                "--cluster-config-file",
                "nodes.conf",
                "--cluster-node-timeout",
                "1500",
                "--cluster-port",
                &bus,
                "--cluster-announce-ip",
                "127.0.0.1",
                "--cluster-announce-port",
                &announced,
                "--cluster-announce-bus-port",
                &bus,
                "--cluster-allow-replica-migration",
                "no",
                "--repl-diskless-sync-delay",
                "0",
                "--repl-ping-replica-period",
                "1",
                "--min-replicas-max-lag",
                "2",
            ];
            let name = format!("node-{}", index + 1);
            let mut node = Server::new(folder.path(), &name, port, &options)?;
            node.start().await?;
            let way = network.proxy_with_lag("clients", "redis-cluster", port + 2, local(port), LAG);
            cluster.ways.push(way.await?);
            cluster.announced.push(port + 2);
            cluster.nodes.push(node);
        }
        cluster.join().await.context("making the cluster")?;
        Ok(cluster)
    }

    /// Not by `redis-cli --cluster create`, which knows nothing of buses elsewhere.
    async fn join(&self) -> Result<()> {
        let mut ids = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            ids.push(node.ask("CLUSTER MYID").await?);
            node.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)).await?;
            if let Some((from, to)) = SLOTS.get(index) {
                node.ask(&format!("CLUSTER ADDSLOTSRANGE {from} {to}")).await?;
            }
            self.nodes[0].ask(&format!("CLUSTER MEET 127.0.0.1 {} {}", node.port, node.port + 1)).await?;
        }
        self.until("the nodes to meet", async |cluster: &Self| {
            for node in &cluster.nodes {
                let Ok(known) = node.ask("CLUSTER NODES").await else { return false };
                if !ids.iter().all(|id| known.contains(id.as_str())) || known.contains("handshake") {
                    return false;
                }
            }
            true
        })
        .await?;
        for (replica, master) in self.nodes[SHARDS..].iter().zip(&ids) {
            replica.ask(&format!("CLUSTER REPLICATE {master}")).await?;
        }
        self.whole().await
    }

    /// Waits until all slots are served and every master has its replica.
    pub(super) async fn whole(&self) -> Result<()> {
        self.until("a whole cluster", async |cluster: &Self| {
            for node in &cluster.nodes {
                if !node.ask("CLUSTER INFO").await.is_ok_and(|said| said.contains("cluster_state:ok")) {
                    return false;
                }
            }
            for shard in 0..SHARDS {
                if cluster.pair(shard).await.is_none() {
                    return false;
                }
            }
            true
        })
        .await
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !is_so(self).await {
            if begun.elapsed() > READY_LIMIT {
                bail!("waited for {what} in vain");
            }
            sleep(STEP).await;
        }
        Ok(())
    }

    /// Master and replica of a shard, where it has both in good order.
    pub(super) async fn pair(&self, shard: usize) -> Option<(usize, usize)> {
        for (master, replica) in [(shard, shard + SHARDS), (shard + SHARDS, shard)] {
            if self.nodes[master].says("role:master").await
                && self.nodes[master].says("state=online").await
                && self.nodes[replica].says("master_link_status:up").await
            {
                return Some((master, replica));
            }
        }
        None
    }

    pub(super) async fn is_master(&self, node: usize) -> bool {
        self.nodes[node].says("role:master").await
    }

    /// How often somebody was promoted: each time the epoch rises.
    pub(super) async fn epoch(&self) -> Result<u64> {
        let mut highest = 0;
        for node in &self.nodes {
            let said = node.ask("CLUSTER INFO").await?;
            let epoch = said.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
            highest = highest.max(epoch.and_then(|epoch| epoch.trim().parse().ok()).unwrap_or_default());
        }
        Ok(highest)
    }

    /// Dies with what it has sent and what has not arrived.
    pub(super) async fn kill(&mut self, node: usize) -> Result<()> {
        self.ways[node].cut(true);
        self.nodes[node].process.kill().await
    }

    pub(super) async fn revive(&mut self, node: usize) -> Result<()> {
        self.nodes[node].start().await?;
        self.ways[node].cut(false);
        Ok(())
    }

    pub(super) fn signal(&self, node: usize, signal: &str) -> Result<()> {
        self.nodes[node].process.signal(signal)
    }

    /// The replica becomes master without asking anybody, while its master serves.
    pub(super) async fn take_over(&self, replica: usize) -> Result<()> {
        self.nodes[replica].ask("CLUSTER FAILOVER TAKEOVER").await.map(drop)
    }

    /// From now on a master refuses writes that no replica would get; one that is away is told when it is there again.
    pub(super) async fn require_replicas(&self, count: u32) {
        for node in &self.nodes {
            drop(node.ask(&format!("CONFIG SET min-replicas-to-write {count}")).await);
        }
    }

    /// All nodes, as a client names them.
    pub(super) fn urls(&self) -> String {
        let urls: Vec<String> = self.announced.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect();
        urls.join(",")
    }

    /// Everything as it should be.
    pub(super) async fn heal(&mut self) -> Result<()> {
        for node in 0..self.nodes.len() {
            self.signal(node, "CONT")?;
            self.revive(node).await?;
        }
        self.whole().await
    }
}
