//! The platform of one run: services, and the node in this process or in a child.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use goodgo_pos::invoice::Product;
use steadfast_core::Clock;
use steadfast_host::clock::System;
use steadfast_host::metrics;
use steadfast_outbox::Hint;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::embedded::{Addresses, Keys, Node, NodeOptions, Stores};
use super::child::NodeProcess;
use super::services::{Around, Listeners, Made, Services};
use crate::checkpoint;

/// The node, wherever it runs.
#[derive(Debug)]
pub(super) enum Where {
    Here(Box<Node>),
    Child(Box<NodeProcess>),
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Platform {
    pub(super) stores: Stores,
    pub(super) keys: Keys,
    pub(super) addresses: Addresses,
    pub(super) node: Where,
    services: Services,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Platform {
    /// Opens the databases, the stock and the listeners, then everything else.
    pub(super) async fn start(
        folder: &Path,
        port: u16,
        crashes: bool,
        products: &[Product],
        around: Around<'_>,
    ) -> Result<Self> {
        let exporter = metrics::install()?;
        let listeners = Listeners::bind(port).await?;
        let addresses = listeners.addresses()?;
        let keys = Keys::of(folder)?;
        let clock: Arc<dyn Clock> = Arc::new(System);
        let stores = Stores::open(folder).await?;
        let hints = [Hint::new(), Hint::new(), Hint::new()];
        let made = Made { stores: &stores, keys: &keys, addresses, clock: &clock, hints: &hints };
        let services = Services::open(&made).await?;
        services.stock_up(products).await?;
        services.serve(listeners.order, listeners.payment, listeners.inventory, around, exporter.router());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(checkpoint::keep(stores.all(), stop.clone()));
        let node = if crashes {
            // The child listens at the address that was reserved until now.
            drop(listeners.orchestrator);
            Where::Child(Box::new(NodeProcess::start(folder, addresses).await?))
        } else {
            let options = NodeOptions {
                stores: stores.clone(),
                keys: keys.clone(),
                addresses,
                listener: listeners.orchestrator,
                clock,
                hints,
            };
            Where::Here(Box::new(Node::start(options).await?))
        };
        Ok(Self { stores, keys, addresses, node, services, stop, tasks })
    }

    /// All processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        let child = match &self.node {
            Where::Here(_) => None,
            Where::Child(process) => process.pid(),
        };
        [Some(std::process::id()), child].into_iter().flatten().collect()
    }

    /// Lets what has begun end, then stops.
    pub(super) async fn drain(self) -> Result<()> {
        match self.node {
            Where::Here(node) => node.drain().await,
            Where::Child(process) => process.stop().await?,
        }
        self.services.drain().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        Ok(())
    }
}
