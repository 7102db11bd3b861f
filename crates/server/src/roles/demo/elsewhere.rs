//! One run against a platform that runs already: stock, replay through its front door, rest, check, report.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use goodgo_inventory::{OpeningStock, stock_up};
use goodgo_pos::check::{Run, check, served};
use goodgo_pos::replay::{Replay, Settings, client_share};
use goodgo_pos::report::Report;
use steadfast_core::Clock;
use steadfast_host::clock::System;
use steadfast_host::shutdown;
use tokio::time::Instant;

use super::super::front::Front;
use super::run::TILL;
use super::screen::{plan, print, progress_bar, show};
use super::services::opening;
use super::{Arguments, rest};
use crate::fault::Fault;

/// How long events may be on their way after the last order, and a server away. That sagas are settled in time is checked.
const REST_LIMIT: Duration = Duration::from_mins(3);
/// The pause after a server did not answer the check.
const AWAY: Duration = Duration::from_secs(1);

pub(super) async fn run(arguments: &Arguments, file: &Path) -> Result<ExitCode> {
    if let Some((flag, why)) = arguments.not_elsewhere() {
        return Ok(Fault::Usage(format!("{flag} cannot be had with --config: {why}; leave one of them out")).end());
    }
    let started = Instant::now();
    let plan = Arc::new(plan(arguments)?);
    let (front, opened) = Front::open(file).await.with_context(|| format!("--config {}", file.display()))?;
    let stores = front.stores(&opened)?;
    let before = served(&stores).await?;
    if !before.is_nothing() {
        bail!(
            "this platform has served somebody already ({before}), and the check compares all that it holds: start a new one with `cargo xtask platform down` and `cargo xtask platform up`"
        );
    }
    // There is no route to list a catalogue: a shop's is loaded into the service's database, before it opens.
    let stock: Vec<OpeningStock> = plan.products.iter().map(opening).collect();
    stock_up(&opened.inventory, System.now(), &stock).await.context("stocking up")?;

    let settings = Settings {
        concurrency: usize::from(arguments.concurrency),
        seed: arguments.seed,
        failure_rate: arguments.failure_rate,
        stop: shutdown::on_signal()?,
        ..Settings::new(front.addresses(), front.mint(&TILL)?)
    };
    let bar = progress_bar(&plan);
    let showing = bar.clone();
    let outcome = Replay::new(Arc::clone(&plan), settings).run(move |progress| show(&showing, progress)).await;
    bar.finish_and_clear();
    let faults_ended = System.now();
    let memory = front.memory().await;
    if !rest::wait(&stores, REST_LIMIT).await? {
        tracing::warn!("the platform did not come to rest within {REST_LIMIT:?}: the check will say what is left");
    }
    let run = Run { plan: &plan, outcome: &outcome, refused: &[], faults_ended };
    let checked = rest::patiently(REST_LIMIT, AWAY, async || check(&stores, &run).await).await?;
    let mut report = Report::new(arguments.seed, &outcome, checked, started.elapsed(), memory.values().copied().sum());
    report.note = Some(note(arguments.failure_rate, memory.len()));
    print(&report, &plan, arguments.json);
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was not done, so that nobody takes it for done.
fn note(failure_rate: f64, processes: usize) -> String {
    let share = client_share(failure_rate) * 100.0;
    format!(
        "a platform of {processes} processes (their memory alone is counted): {share:.1} % of the orders met a fault of their till's making; none was injected between orchestrator and services"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_says_how_many_faults_there_were_and_which_were_not() {
        let text = note(0.05, 15);
        assert!(
            text.contains("15 processes") && text.contains("3.3 %") && text.contains("none was injected"),
            "{text}"
        );
    }
}
