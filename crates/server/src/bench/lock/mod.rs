//! `steadfast bench lock`: an edit that names its version beside the same statement sent by hand and by pgbench; one hot
//! product, whose reservations by the lane stand beside what is done without one. All alternate; medians are quoted.

mod hot;
mod lane;
mod pgbench;
mod replace;
mod reservation;
mod sides;

use anyhow::Result;
use steadfast_host::metrics;

use super::beside::Pace;
use super::report::{self, Line};
use super::store::Scratch;

const WORK: &str = "lock";
/// Connections of the pool of a measurement's database.
const CONNECTIONS: usize = 32;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server on which a database is made for the run, such as `postgres://postgres@127.0.0.1:55432`.
    #[arg(long, env = "STEADFAST_BENCH_POSTGRES", hide_env_values = true, value_name = "URL")]
    postgres: String,
    /// Clients that edit rows of their own, each over a connection: one measurement for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32], value_parser = at_once)]
    at_once: Vec<usize>,
    /// Clients that want the one hot product; they share 32 connections, on every side.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    clients: u32,
    #[command(flatten)]
    pace: Pace,
}

fn at_once(text: &str) -> Result<usize, String> {
    let within = text.parse().ok().filter(|it| (1..=CONNECTIONS).contains(it));
    within.ok_or_else(|| format!("it must be 1 to {CONNECTIONS}"))
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    // Counting is part of what a service pays.
    metrics::install()?;
    let scratch = Scratch::create(&arguments.postgres).await?;
    let outcome = measure(&scratch, &arguments).await;
    scratch.drop().await?;
    report::print(&outcome?, arguments.pace.json)
}

async fn measure(scratch: &Scratch, arguments: &Arguments) -> Result<Vec<Line>> {
    let mut lines = replace::measure(scratch, arguments).await?;
    lines.extend(hot::measure(scratch, arguments).await?);
    Ok(lines)
}
