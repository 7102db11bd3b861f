//! `steadfast bench saga`: sagas a second through the API, beside the same HTTP calls with no orchestrator and beside a
//! relay that makes them for its caller without a journal, all by the same client. They alternate; medians are quoted.

mod participants;
mod report;
mod scene;

use std::time::Duration;

use anyhow::{Result, bail};

use self::scene::Scene;
use super::load::median;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Sagas at once, one measurement for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32, 128])]
    at_once: Vec<usize>,
    /// Steps of the saga: each is one HTTP call.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=8))]
    steps: u32,
    /// Rounds of ours and of the limits, alternating; the median of each is quoted.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The journal in PostgreSQL, in a database made for the run on this server, such as
    /// `postgres://postgres@127.0.0.1:55432`; without it, in SQLite.
    #[arg(long, env = "STEADFAST_BENCH_POSTGRES", hide_env_values = true, value_name = "URL")]
    postgres: Option<String>,
    /// Of a hundred sagas, how many are refused at their last step and compensated.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    failing: u32,
    /// Participants keep a barrier and an effect in a database and commit both, for ours and for the limits.
    #[arg(long)]
    barrier: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    if let Some(wrong) = arguments.at_once.iter().find(|at_once| !(1..=4_096).contains(*at_once)) {
        bail!("--at-once {wrong}: it must be 1 to 4096");
    }
    let scene = Scene::open(&arguments).await?;
    let outcome = measure(&scene, &arguments).await;
    scene.close().await?;
    report::print(&outcome?, arguments.json)
}

async fn measure(scene: &Scene, arguments: &Arguments) -> Result<Vec<report::Line>> {
    let length = Duration::from_secs(arguments.seconds);
    // Pages, pools and caches are warm before anything counts.
    scene.ours(32, length).await?;
    scene.relay(32, length / 2).await?;
    scene.calls(32, length / 2).await?;
    let mut lines = Vec::new();
    for &at_once in &arguments.at_once {
        let (mut ours, mut calls, mut relay) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            ours.push(scene.ours(at_once, length).await?);
            calls.push(scene.calls(at_once, length).await?);
            relay.push(scene.relay(at_once, length).await?);
        }
        let setting = format!("{}, {at_once} at once", scene.setting());
        lines.push(report::line(setting, median(ours)?, &median(calls)?, &median(relay)?));
    }
    Ok(lines)
}
