//! The Redis server that was named, and the prefix under which a measurement keeps to itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use redis::aio::MultiplexedConnection;
use redis::{Client, IntoConnectionInfo};
use steadfast_host::clock::System;
use steadfast_idempotency::redis::{Options, Redis};

#[derive(Debug)]
pub(super) struct Server {
    url: String,
    client: Client,
    /// What every key of the run begins with.
    pub(super) prefix: String,
    pub(super) store: Arc<Redis>,
}

impl Server {
    pub(super) async fn open(url: &str) -> Result<Self> {
        // The library's own words might repeat the URL, password included.
        let client =
            Client::open(url).map_err(|_| anyhow!("--redis: not a URL such as redis://user:password@host:6379/0"))?;
        let prefix = format!("steadfast-bench:{}:{:016x}:", std::process::id(), fastrand::u64(..));
        // As patient as is allowed: what is slow shall be measured.
        let options = Options { timeout: Duration::from_secs(1), prefix: prefix.clone(), ..Options::default() };
        let store = Redis::open(&url.into(), Arc::new(System), options).await.context("--redis")?;
        Ok(Self { url: url.to_owned(), client, prefix, store: Arc::new(store) })
    }

    pub(super) async fn connect(&self) -> Result<MultiplexedConnection> {
        self.client.get_multiplexed_async_connection().await.context("--redis")
    }

    /// Host and port, if that is all that there is to say.
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
        let mut connection = self.connect().await?;
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}*", self.prefix)).arg("COUNT").arg(10_000);
            let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut connection).await.context("--redis")?;
            if !keys.is_empty() {
                redis::cmd("UNLINK").arg(keys).exec_async(&mut connection).await.context("--redis")?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}
