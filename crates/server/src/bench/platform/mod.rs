//! `steadfast bench platform`: orders a second through the front door of a platform that runs already, and how long one takes
//! to be accepted, to be completed and to be visible in the read model; then the six figures that were asked for, each
//! measured by this run or by the bench that its command names.
//!
//! Orders a second are measured with so many tills at once, each waiting for its order's end. Latencies are measured
//! afterwards at a steady half of that rate: at the peak they would only tell how many tills there are. Accepted is what the
//! client sees; completed and visible are moments of the journal and of the read model, so the clocks of the machines must
//! agree.

mod moments;
mod orders;
mod overload;
mod required;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use goodgo_pos::check::Stores;

use self::moments::Moments;
use self::orders::Shop;
use self::required::{Row, Saga};
use super::load::{Run, drive};
use super::per_second;
use super::report::{self, Line};
use crate::roles::demo::at_rest;
use crate::roles::front::Front;

const WORK: &str = "platform";
/// Where nothing is said: seconds at the peak, and of an overload.
const PEAK_SECONDS: u32 = 10;
const OVERLOAD_SECONDS: u32 = 60;
/// How long everything that was begun may take to its end.
const REST: Duration = Duration::from_mins(2);

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the platform is, such as the `goodgo/production.toml` of `cargo xtask platform up`.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Tills at once, each waiting for its order's end.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    at_once: u32,
    /// Seconds at the peak, and again at the steady rate, 10 without it; of an overload, 60 without it.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
    /// Orders a second while latencies are measured. Without it: half of what was reached at the peak.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// A Redis server of its own for the row of idempotency; without it that row is not measured.
    #[arg(long, env = "STEADFAST_BENCH_REDIS", hide_env_values = true, value_name = "URL")]
    redis: Option<String>,
    /// Leaves the six rows out.
    #[arg(long)]
    orders_only: bool,
    /// Offers ten times the peak instead, and fails where the platform does not bear it as it must.
    #[arg(long, conflicts_with_all = ["rate", "redis", "orders_only"])]
    overload: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let place = || format!("--config {}", arguments.config.display());
    let (front, opened) = Front::open(&arguments.config).await.with_context(place)?;
    let stores = front.stores(&opened)?;
    let shop = Shop::open(&front, &opened).await?;
    rest(&stores).await?;
    let asked = arguments.seconds.filter(|_| !arguments.overload);
    let length = Duration::from_secs(asked.unwrap_or(PEAK_SECONDS).into());

    drive(shop.tills(arguments.at_once), length / 4).await.context("warming up")?;
    shop.turned_away();
    let mut peak = drive(shop.tills(arguments.at_once), length).await.context("at the peak")?;
    peak.latencies.sort_unstable();
    let turned_away = shop.turned_away();
    let memory = front.memory().await;
    rest(&stores).await?;

    if arguments.overload {
        let seconds = arguments.seconds.unwrap_or(OVERLOAD_SECONDS);
        let length = Duration::from_secs(seconds.into());
        let figures = overload::measure(&front, &opened, &stores, &shop, peak.per_s, length).await?;
        return overload::print(&figures, arguments.json);
    }
    let rate = arguments.rate.unwrap_or_else(|| half(peak.per_s));
    let sent = shop.steady(rate, length).await?;
    rest(&stores).await?;
    let moments = Moments::read(&opened, &shop.run, &sent).await?;
    ensure!(!moments.completed.is_empty(), "no order completed: see `steadfast saga list`");

    let mut at_once = line(format!("completed, {} at once", arguments.at_once), &peak);
    at_once.rss_mb = Some(memory.values().sum());
    at_once.more.insert("turned_away", amount(turned_away));
    let mut lines = vec![at_once];
    for (what, latencies) in [
        ("accepted", &moments.accepted),
        ("completed", &moments.completed),
        ("visible in the read model", &moments.visible),
        ("compensated", &moments.compensated),
    ] {
        let per_s = per_second(latencies.len(), length);
        let run = Run { per_s, latencies: latencies.clone(), ..Run::default() };
        lines.push(line(format!("{what}, {rate} orders/s sent"), &run));
    }
    lines[1].more.insert("turned_away", amount(shop.turned_away()));
    report::print(&lines, arguments.json)?;
    if !arguments.orders_only {
        let saga = Saga { orders: &lines[0], completed: &lines[2], compensated: &lines[4] };
        let mut rows = required::of_this_run(&saga, &command(&arguments));
        rows.extend(required::measured_apart(&front, arguments.redis.as_deref()).await?);
        required::print(&Row::in_order(rows), arguments.json)?;
    }
    Ok(())
}

async fn rest(stores: &Stores) -> Result<()> {
    ensure!(
        at_rest(stores, REST).await?,
        "the platform does not come to rest within {REST:?}: is somebody else using it?"
    );
    Ok(())
}

/// What this run was asked for.
fn command(arguments: &Arguments) -> String {
    let Arguments { config, at_once, .. } = arguments;
    let seconds = arguments.seconds.unwrap_or(PEAK_SECONDS);
    format!("steadfast bench platform --config {} --at-once {at_once} --seconds {seconds}", config.display())
}

fn line(setting: String, run: &Run) -> Line {
    let quantile = |of| (!run.latencies.is_empty()).then(|| run.quantile_ms(of));
    Line { work: WORK, setting, ours_per_s: run.per_s, p50_ms: quantile(50), p99_ms: quantile(99), ..Line::default() }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
const fn amount(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of some thousands")]
fn half(per_s: f64) -> u32 {
    (per_s / 2.0).clamp(1.0, 10_000.0) as u32
}
