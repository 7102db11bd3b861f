//! The ways between the processes and servers of a platform, each with a proxy on it: rough all the time, and held, deaf or cut
//! for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::ground::local;
use super::super::proxy::{Flow, Network, Proxy, Rates};
use crate::platform::site::Site;

/// In 10,000 pieces of what passes. An order is some hundred pieces: most go through, and every minute brings each mishap.
const ROUGH: Rates = Rates { cut: 4, delay: 40, stall: 1 };
/// How late a replica of Redis has what its master has acknowledged.
const LAG: Duration = Duration::from_millis(10);

/// All ways, by their names.
#[derive(Debug)]
pub(super) struct Ways {
    network: Network,
    proxies: BTreeMap<String, Proxy>,
}

impl Ways {
    /// Stands on every way of the site, calmly.
    pub(super) async fn start(site: &Site, seed: u64) -> Result<Self> {
        let (network, mut proxies) = (Network::new(seed), BTreeMap::new());
        for way in site.ways() {
            // Replicas of Redis come by the ways of the clients.
            let lag = if way.to.starts_with("redis") { LAG } else { Duration::ZERO };
            let proxy = network.proxy_with_lag(&way.from, &way.to, way.port, local(way.upstream), lag).await?;
            proxies.insert(way.name(), proxy);
        }
        Ok(Self { network, proxies })
    }

    pub(super) fn roughen(&self) {
        self.network.set(ROUGH);
    }

    pub(super) fn flow(&self, name: &str, flow: Flow) -> Result<()> {
        self.proxy(name)?.flow(flow);
        Ok(())
    }

    pub(super) fn cut(&self, name: &str, cut: bool) -> Result<()> {
        self.proxy(name)?.cut(cut);
        Ok(())
    }

    fn proxy(&self, name: &str) -> Result<&Proxy> {
        self.proxies.get(name).with_context(|| format!("there is no way {name}"))
    }

    /// Everything passes.
    pub(super) fn heal(&self) {
        self.network.set(Rates::CALM);
        for proxy in self.proxies.values() {
            proxy.flow(Flow::Open);
            proxy.cut(false);
        }
    }

    /// What was done to connections, by the kind of whom they led to.
    pub(super) fn done(&self) -> Value {
        let mut kinds: BTreeMap<String, BTreeMap<&str, u64>> = BTreeMap::new();
        for (to, done) in self.network.done() {
            // Without the number of one of several alike.
            let kind = to.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit()).to_owned();
            let counts = kinds.entry(kind).or_default();
            for (what, count) in done {
                *counts.entry(what).or_default() += count;
            }
        }
        json!(kinds)
    }

    pub(super) async fn close(&self) {
        self.network.close().await;
    }
}
