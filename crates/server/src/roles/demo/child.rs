//! Orchestrator, relay and projector in a process of their own, which may be killed at any moment and started again on
//! the same files.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use steadfast_core::Clock;
use steadfast_host::clock::System;
use steadfast_host::{serve, shutdown};
use steadfast_outbox::Hint;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::embedded::{Addresses, Keys, Node, NodeOptions, Stores};
use super::NodeArguments;
use crate::checkpoint;

/// A node takes up everything unsettled before it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The process `demo-node`, as its parent sees it.
#[derive(Debug)]
pub(super) struct NodeProcess {
    folder: std::path::PathBuf,
    addresses: Addresses,
    child: Child,
}

impl NodeProcess {
    pub(super) async fn start(folder: &Path, addresses: Addresses) -> Result<Self> {
        let child = spawn(folder, addresses)?;
        let mut process = Self { folder: folder.to_owned(), addresses, child };
        process.wait_until_up().await?;
        Ok(process)
    }

    /// SIGKILL, and again on the same files.
    pub(super) async fn kill_and_restart(&mut self) -> Result<()> {
        self.child.kill().await.context("killing the node")?;
        self.child = spawn(&self.folder, self.addresses)?;
        self.wait_until_up().await
    }

    async fn wait_until_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.addresses.orchestrator).await.is_err() {
            if let Some(status) = self.child.try_wait().context("watching the node")? {
                bail!("the node ended at its start with {status}: its log is above");
            }
            if Instant::now() > deadline {
                bail!("the node did not listen within {START_LIMIT:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Lets it drain: it ends when its standard input does.
    pub(super) async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        match tokio::time::timeout(START_LIMIT, self.child.wait()).await {
            Ok(status) => {
                status.context("waiting for the node")?;
                Ok(())
            }
            Err(_) => self.child.kill().await.context("killing a node that did not drain"),
        }
    }
}

fn spawn(folder: &Path, addresses: Addresses) -> Result<Child> {
    let program = std::env::current_exe().context("finding this program")?;
    Command::new(program)
        .arg("demo-node")
        .arg("--data")
        .arg(folder)
        .arg(format!("--order={}", addresses.order))
        .arg(format!("--payment={}", addresses.payment))
        .arg(format!("--inventory={}", addresses.inventory))
        .arg(format!("--orchestrator={}", addresses.orchestrator))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // A terminal's Ctrl-C is for the whole group: the parent drains first, and ends the node when nobody needs it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("starting the node")
}

/// The child's side.
pub(crate) async fn run_node(arguments: NodeArguments) -> Result<()> {
    let addresses = arguments.addresses();
    let listener = serve::bind(&addresses.orchestrator.to_string(), "--port").await?;
    let clock: Arc<dyn Clock> = Arc::new(System);
    let stores = Stores::open(&arguments.data).await?;
    let stop = CancellationToken::new();
    let checkpoints = tokio_util::task::TaskTracker::new();
    checkpoints.spawn(checkpoint::keep(stores.all(), stop.clone()));
    let options = NodeOptions {
        keys: Keys::of(&arguments.data)?,
        stores,
        addresses,
        listener,
        clock,
        hints: [Hint::new(), Hint::new(), Hint::new()],
    };
    let node = Node::start(options).await?;
    let signal = shutdown::on_signal()?;
    tokio::select! {
        () = parent_gone() => {}
        () = signal.cancelled() => {}
        () = node.engine.lost() => bail!("the lane is owned by another process"),
    }
    node.drain().await;
    stop.cancel();
    checkpoints.close();
    checkpoints.wait().await;
    Ok(())
}

/// Standard input ends when the parent closes it or dies.
async fn parent_gone() {
    let read = tokio::task::spawn_blocking(|| {
        let mut buffer = [0; 64];
        let mut input = std::io::stdin();
        while matches!(input.read(&mut buffer), Ok(read) if read > 0) {}
    });
    // A reader that panicked has no more to say than one that ended.
    read.await.ok();
}
