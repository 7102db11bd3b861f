//! The Redis server or cluster that was named, and the prefix under which a measurement keeps to itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Client, Cmd, FromRedisValue as _, IntoConnectionInfo, RedisResult, Value};
use secrecy::SecretString;
use steadfast_host::clock::System;
use steadfast_idempotency::redis::{Options, Redis};

#[derive(Debug)]
pub(super) struct Server {
    /// The first that was named.
    url: String,
    way: Way,
    /// What every key of the run begins with.
    pub(super) prefix: String,
    pub(super) store: Arc<Redis>,
}

#[derive(Debug)]
enum Way {
    Single(Box<Client>),
    Cluster(Box<ClusterNodes>),
}

/// The library's client says its URLs where it is printed.
struct ClusterNodes(ClusterClient);

impl std::fmt::Debug for ClusterNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterNodes")
    }
}

/// A connection of one client.
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn exec(&mut self, command: &Cmd) -> RedisResult<()> {
        match self {
            Self::Single(connection) => command.exec_async(connection).await,
            Self::Cluster(connection) => command.exec_async(connection).await,
        }
    }
}

impl Server {
    /// A single server, or a cluster by the URLs of several of its nodes.
    pub(super) async fn open(urls: &[String]) -> Result<Self> {
        // The library's own words might repeat the URL, password included.
        let wrong = |_| anyhow!("--redis: not a URL such as redis://user:password@host:6379/0");
        let prefix = format!("steadfast-bench:{}:{:016x}:", std::process::id(), fastrand::u64(..));
        // As patient as is allowed: what is slow shall be measured.
        let options = Options { timeout: Duration::from_secs(1), prefix: prefix.clone(), ..Options::default() };
        let secrets: Vec<SecretString> = urls.iter().map(|url| url.as_str().into()).collect();
        let (store, way) = if let ([url], [secret]) = (urls, secrets.as_slice()) {
            let client = Client::open(url.as_str()).map_err(wrong)?;
            (Redis::open(secret, Arc::new(System), options).await, Way::Single(Box::new(client)))
        } else {
            let client = ClusterClient::new(urls.to_vec()).map_err(wrong)?;
            let way = Way::Cluster(Box::new(ClusterNodes(client)));
            (Redis::open_cluster(&secrets, Arc::new(System), options).await, way)
        };
        let url = urls.first().cloned().unwrap_or_default();
        Ok(Self { url, way, prefix, store: Arc::new(store.context("--redis")?) })
    }

    pub(super) const fn name(&self) -> &'static str {
        if self.is_cluster() { "Redis Cluster" } else { "Redis" }
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.way, Way::Cluster(_))
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        let connection = match &self.way {
            Way::Single(client) => client.get_multiplexed_async_connection().await.map(Connection::Single),
            Way::Cluster(nodes) => nodes.0.get_async_connection().await.map(Connection::Cluster),
        };
        connection.context("--redis")
    }

    /// Host and port of the first that was named, if that is all that there is to say.
    pub(super) fn plain_address(&self) -> Option<(String, u16)> {
        let info = self.url.as_str().into_connection_info().ok()?;
        let settings = info.redis_settings();
        if settings.password().is_some() || settings.username().is_some() || settings.db() != 0 {
            return None;
        }
        match info.addr() {
            redis::ConnectionAddr::Tcp(host, port) => Some((host.clone(), *port)),
            _ => None,
        }
    }

    /// Removes every key of the run.
    pub(super) async fn clear(&self) -> Result<()> {
        match self.connect().await? {
            Connection::Single(mut connection) => {
                let mut cursor = b"0".to_vec();
                loop {
                    let (next, keys) = self.scan(&cursor).query_async(&mut connection).await.context("--redis")?;
                    unlink(keys).exec_async(&mut connection).await.context("--redis")?;
                    if next == b"0" {
                        return Ok(());
                    }
                    cursor = next;
                }
            }
            Connection::Cluster(connection) => self.clear_masters(connection).await.context("--redis"),
        }
    }

    async fn clear_masters(&self, mut cluster: ClusterConnection) -> RedisResult<()> {
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let Value::Map(masters) = cluster.route_command(self.scan(b"0"), everywhere).await? else { return Ok(()) };
        for (node, mut reply) in masters {
            let node = String::from_redis_value(node)?;
            let (host, port) = node.rsplit_once(':').unwrap_or((&node, "6379"));
            let port = port.parse().unwrap_or(6379);
            loop {
                let (cursor, keys) = <(Vec<u8>, Vec<Vec<u8>>)>::from_redis_value(reply.extract_error()?)?;
                unlink(keys).exec_async(&mut cluster).await?;
                if cursor == b"0" {
                    break;
                }
                let there = SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port };
                reply = cluster.route_command(self.scan(&cursor), RoutingInfo::SingleNode(there)).await?;
            }
        }
        Ok(())
    }

    fn scan(&self, cursor: &[u8]) -> Cmd {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{}*", self.prefix)).arg("COUNT").arg(10_000);
        scan
    }
}

/// Of a cluster the library brings each key to its server.
fn unlink(keys: Vec<Vec<u8>>) -> Cmd {
    if keys.is_empty() {
        return redis::cmd("PING");
    }
    let mut unlink = redis::cmd("UNLINK");
    unlink.arg(keys);
    unlink
}
