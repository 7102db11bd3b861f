//! What a program that serves is as a process: it listens at once, shows health and metrics, waits for what it needs, and at
//! a signal says that it is ending.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use steadfast_core::{Classified, problem};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::health::Health;
use crate::patience::patiently;
use crate::serve::{self, Limits};
use crate::slot::Slot;
use crate::{metrics, shutdown};

/// A process that listens.
#[derive(Debug)]
pub struct Process {
    /// Cancelled by SIGTERM or SIGINT: what has begun is finished, nothing new is taken.
    pub signal: CancellationToken,
    /// Cancelled when that is done: everything beside it ends.
    pub stop: CancellationToken,
    /// What runs beside it.
    pub tasks: TaskTracker,
    served: JoinHandle<Result<(), Error>>,
}

impl Process {
    /// Answers at `address`, the configuration's `listen`: what `routes` makes of the routes of health and metrics.
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::Bind`], [`Error::Signal`], or [`Error::Installed`] where the process has such a
    /// thing already.
    pub async fn listen(
        name: &str,
        address: &str,
        limits: Limits,
        health: Health,
        stop: CancellationToken,
        routes: impl FnOnce(Router) -> Router,
    ) -> Result<Self, Error> {
        let exporter = metrics::install()?;
        let listener = serve::bind(address, "listen").await?;
        let address = listener.local_addr().map_err(Error::Listen)?;
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

    /// Ends what runs beside the process's work, which has ended.
    ///
    /// # Errors
    /// Why the listener broke off.
    pub async fn end(self) -> Result<(), Error> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.served.await.map_err(|_| Error::Broken("the listener's task"))?
    }
}

/// For what answers only about itself: whatever is being answered when the work has ended is answered within two seconds.
pub fn limits() -> Limits {
    Limits { drain_time: Duration::from_secs(2), ..Limits::default() }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a service is once it has everything that it needs.
pub struct Running {
    router: Router,
    work: Vec<Work>,
    at_end: Work,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("work", &self.work.len()).finish_non_exhaustive()
    }
}

impl Running {
    /// Answers by these routes.
    pub fn new(router: Router) -> Self {
        Self { router, work: Vec::new(), at_end: Box::pin(std::future::ready(())) }
    }

    /// Works at this, too, until it is told to end.
    #[must_use]
    pub fn beside(mut self, work: impl Future<Output = ()> + Send + 'static) -> Self {
        self.work.push(Box::pin(work));
        self
    }

    /// Waits for this when nothing is served any more.
    #[must_use]
    pub fn at_end(mut self, last: impl Future<Output = ()> + Send + 'static) -> Self {
        self.at_end = Box::pin(last);
        self
    }
}

/// Serves what `open` makes, from the first moment to the last. Until it has made it requests are answered 503, and so is
/// `/readyz`; an `open` that fails for what passes by itself is called again. Its argument is cancelled by the signal to end.
///
/// # Errors
/// What is wrong with the address, or why `open` failed for good.
pub async fn run<E>(
    name: &'static str,
    address: &str,
    health: Health,
    open: impl AsyncFn(&CancellationToken) -> Result<Running, E>,
) -> Result<(), Error>
where
    E: Classified + std::error::Error + Send + Sync + 'static,
{
    let slot = Slot::default();
    health.check(name, Duration::from_secs(1), {
        let slot = slot.clone();
        move || {
            let why = "it waits for what it needs: the log says for what";
            let ready = if slot.is_filled() { Ok(()) } else { Err(why.to_owned()) };
            async move { ready }
        }
    });
    let not_yet = problem::UNAVAILABLE
        .with("the service waits for what it needs: ask again, with the same Idempotency-Key if the request has one")
        .retry_after(1);
    let routes = |own| slot.behind(own, not_yet);
    // A request may wait for the orchestrator.
    let limits = Limits { request_time: Duration::from_mins(1), ..Limits::default() };
    let process = Process::listen(name, address, limits, health, CancellationToken::new(), routes).await?;

    let opened = patiently("the service cannot work yet", async || open(&process.signal).await);
    let ended = match process.signal.run_until_cancelled(opened).await {
        None => process.end().await,
        Some(Err(error)) => {
            process.end().await?;
            return Err(Error::Open { name, source: Box::new(error) });
        }
        Some(Ok(Running { router, work, at_end })) => {
            slot.fill(router);
            for work in work {
                process.tasks.spawn(work);
            }
            process.signal.cancelled().await;
            let ended = process.end().await;
            at_end.await;
            ended
        }
    };
    tracing::info!("the {name} has ended");
    ended
}

/// Does something from time to time until `stop`; a failure is told and waits for the next time.
pub async fn every<F, E>(period: Duration, what: &'static str, stop: CancellationToken, act: impl Fn() -> F)
where
    F: Future<Output = Result<(), E>>,
    E: fmt::Display,
{
    let mut ticks = tokio::time::interval(period);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = act().await {
            tracing::warn!(%error, "{what} failed: tried again later");
        }
    }
}
