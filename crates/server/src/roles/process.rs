//! What every role is as a process: it listens at once, shows health and metrics, and at a signal says that it is ending.

use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use steadfast_host::health::Health;
use steadfast_host::serve::Limits;
use steadfast_host::{metrics, serve, shutdown};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A role that listens.
#[derive(Debug)]
pub(crate) struct Process {
    /// Cancelled by SIGTERM or SIGINT: what has begun is finished, nothing new is taken.
    pub(crate) signal: CancellationToken,
    /// Cancelled when that is done: everything beside it ends.
    pub(crate) stop: CancellationToken,
    /// What runs beside it.
    pub(crate) tasks: TaskTracker,
    served: JoinHandle<Result<(), steadfast_host::Error>>,
}

impl Process {
    /// Answers at `address`, the configuration's `listen`: what `routes` makes of the routes of health and metrics.
    pub(crate) async fn listen(
        name: &str,
        address: &str,
        limits: Limits,
        health: Health,
        stop: CancellationToken,
        routes: impl FnOnce(Router) -> Router,
    ) -> Result<Self> {
        let exporter = metrics::install()?;
        let listener = serve::bind(address, "listen").await?;
        let address = listener.local_addr().context("reading the address")?;
        let signal = shutdown::on_signal()?;
        let tasks = TaskTracker::new();
        let answers = routes(health.router().merge(exporter.router()));
        let served = tasks.spawn(serve::serve(listener, answers, limits, stop.clone()));
        tasks.spawn(exporter.run(stop.clone()));
        tasks.spawn({
            let (signal, stop) = (signal.clone(), stop.clone());
            async move {
                if stop.run_until_cancelled(signal.cancelled()).await.is_some() {
                    health.drain();
                }
            }
        });
        tracing::info!(%address, "the {name} listens");
        Ok(Self { signal, stop, tasks, served })
    }

    /// Ends what runs beside the role's work, which has ended.
    pub(crate) async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.served.await.context("the listener's task")?.context("serving")
    }
}

/// What has been answered when the work has ended is answered within two seconds.
pub(crate) fn limits() -> Limits {
    Limits { drain_time: Duration::from_secs(2), ..Limits::default() }
}
