//! One run: replay, rest, check, report.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use goodgo_pos::check::{self, Run, check};
use goodgo_pos::faults::{self, Faults};
use goodgo_pos::invoice::Plan;
use goodgo_pos::replay::{self, Mint, Outcome, Replay, participant_share};
use goodgo_pos::report::{Report, rss_mb};
use steadfast_core::{Clock, Timestamp};
use steadfast_db::DataFolder;
use steadfast_host::clock::System;
use steadfast_host::shutdown;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Arguments;
use super::platform::{Platform, Where};
use super::rest;
use super::screen::{plan, print, progress_bar, show};

/// Every saga has to be settled within this time of the last fault.
const SETTLE_LIMIT: Duration = Duration::from_mins(1);
/// What a till may do.
pub(super) const TILL: [&str; 6] =
    ["order.place", "order.return", "payment.process", "stock.adjust", "payment.adjust", "product.edit"];
/// What the token that `--serve` prints may do: look after sagas, and place and return an order.
const OPERATOR: [&str; 6] =
    ["saga.read", "saga.operate", "saga.define", "order.place", "order.return", "payment.process"];
/// How often the progress is looked at for the next kill.
const GLANCE: Duration = Duration::from_millis(2);

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    if let Some(file) = &arguments.config {
        return elsewhere(&arguments, file).await;
    }
    let started = Instant::now();
    let plan = Arc::new(plan(&arguments)?);
    let temporary = if arguments.data.is_none() {
        Some(tempfile::tempdir().context("a temporary data folder; --data DIR names another")?)
    } else {
        None
    };
    let folder = match (&arguments.data, &temporary) {
        (Some(data), _) => data.clone(),
        (None, Some(temporary)) => temporary.path().join("data"),
        (None, None) => anyhow::bail!("no data folder"),
    };
    let held = DataFolder::take(&folder)?;
    if !held.is_fresh() {
        anyhow::bail!(
            "data folder {} holds an earlier run; nothing was changed: choose another with --data, or remove it",
            folder.display()
        );
    }
    let faults = Faults::new(faults::Settings {
        seed: arguments.seed,
        rate: participant_share(arguments.failure_rate),
        refusal_rate: arguments.refusal_rate,
    });
    let around = |router: axum::Router| router.layer(faults.layer());
    let mut platform =
        Platform::start(held.path(), arguments.port, arguments.crash > 0, &plan.products, &around).await?;
    let signal = shutdown::on_signal()?;
    let (outcome, faults_ended) = replay(&arguments, &plan, &mut platform, &faults, signal.clone()).await?;
    let memory = rss_mb(&platform.pids());
    let at_rest = rest::wait(&check_stores(&platform), SETTLE_LIMIT).await?;
    if !at_rest {
        tracing::warn!("the platform did not come to rest within {SETTLE_LIMIT:?}: the check will say what is left");
    }
    let checked = checked(&platform, &plan, &outcome, &faults, faults_ended).await?;
    let report = Report::new(arguments.seed, &outcome, checked, started.elapsed(), memory);
    print(&report, &plan, arguments.json);
    if arguments.serve {
        announce(&platform);
        signal.cancelled().await;
    }
    platform.drain().await?;
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(feature = "kafka")]
async fn elsewhere(arguments: &Arguments, file: &Path) -> Result<ExitCode> {
    super::elsewhere::run(arguments, file).await
}

#[cfg(not(feature = "kafka"))]
#[expect(clippy::unused_async, reason = "as where it is built in")]
async fn elsewhere(_: &Arguments, _: &Path) -> Result<ExitCode> {
    anyhow::bail!("--config needs PostgreSQL and Kafka, which this build lacks: build it with `--features kafka`")
}

/// What tills of this platform need to know.
pub(super) fn settings(platform: &Platform) -> replay::Settings {
    let base = |address: std::net::SocketAddr| format!("http://{address}");
    let addresses = replay::Addresses {
        order: base(platform.addresses.order),
        payment: base(platform.addresses.payment),
        inventory: base(platform.addresses.inventory),
    };
    let keys = platform.keys.clone();
    let mint: Mint = Arc::new(move |user| {
        // A till without a token is answered 401, which the report then shows.
        keys.mint(Arc::new(System), user, &TILL).unwrap_or_default()
    });
    replay::Settings::new(addresses, mint)
}

/// Replays, and kills the node as often as was asked for, evenly spread over the run. Answers when the last fault was.
async fn replay(
    arguments: &Arguments,
    plan: &Arc<Plan>,
    platform: &mut Platform,
    faults: &Faults,
    stop: CancellationToken,
) -> Result<(Outcome, Timestamp)> {
    let settings = replay::Settings {
        concurrency: usize::from(arguments.concurrency),
        seed: arguments.seed,
        failure_rate: arguments.failure_rate,
        stop,
        ..settings(platform)
    };
    let bar = progress_bar(plan);
    let done = Arc::new(AtomicUsize::new(0));
    let total = Arc::new(AtomicUsize::new(usize::MAX));
    let replay = Replay::new(Arc::clone(plan), settings);
    let running = replay.run({
        let (bar, done, total) = (bar.clone(), Arc::clone(&done), Arc::clone(&total));
        move |progress| {
            show(&bar, progress);
            total.store(progress.total, Ordering::Relaxed);
            done.store(progress.done, Ordering::Relaxed);
        }
    });
    tokio::pin!(running);
    let mut kills = 0;
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome,
            () = tokio::time::sleep(GLANCE), if kills < arguments.crash => {
                let (done, total) = (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
                // Evenly: the k-th of N kills at k / (N + 1) of the way.
                if total != usize::MAX && done * (usize::from(arguments.crash) + 1) >= total * (usize::from(kills) + 1) {
                    kills += 1;
                    if let Where::Child(process) = &mut platform.node {
                        bar.set_message(format!("killed {kills} of {}", arguments.crash));
                        // The tills go on meanwhile: both are polled.
                        let killing = process.kill_and_restart();
                        tokio::pin!(killing);
                        let ended = tokio::select! {
                            outcome = &mut running => Some(outcome),
                            killed = &mut killing => { killed?; None }
                        };
                        if let Some(outcome) = ended {
                            killing.await?;
                            break outcome;
                        }
                    }
                }
            }
        }
    };
    faults.stop();
    bar.finish_and_clear();
    Ok((outcome, System.now()))
}

pub(super) fn check_stores(platform: &Platform) -> check::Stores {
    let stores = &platform.stores;
    check::Stores {
        order: (&stores.order).into(),
        payment: (&stores.payment).into(),
        inventory: (&stores.inventory).into(),
        orchestrator: (&stores.orchestrator).into(),
        log: check::EventLog::Sqlite(stores.log.clone()),
        read_model: (&stores.read_model).into(),
    }
}

pub(super) async fn checked(
    platform: &Platform,
    plan: &Plan,
    outcome: &Outcome,
    faults: &Faults,
    faults_ended: Timestamp,
) -> Result<check::Checked> {
    let stores = check_stores(platform);
    let refused = faults.refused();
    Ok(check(&stores, &Run { plan, outcome, refused: &refused, faults_ended }).await?)
}

#[expect(clippy::print_stderr, reason = "talk goes to stderr: with --json the report is the last line of stdout")]
fn announce(platform: &Platform) {
    let addresses = platform.addresses;
    eprintln!("order         http://{}/v1/orders", addresses.order);
    eprintln!("payment       http://{}/v1/payments", addresses.payment);
    eprintln!("inventory     http://{}/v1/products", addresses.inventory);
    eprintln!("orchestrator  http://{}/v1/sagas", addresses.orchestrator);
    eprintln!("metrics       http://{}/metrics", addresses.orchestrator);
    match platform.keys.mint(Arc::new(System), "operator", &OPERATOR) {
        Ok(token) => eprintln!("token         {token}"),
        Err(error) => tracing::error!(%error, "no token for an operator"),
    }
    eprintln!("Ctrl-C drains and ends.");
}
