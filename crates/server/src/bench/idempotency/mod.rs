//! `steadfast bench idempotency`: checks through Redis beside a plain SET, the layer on an echo beside the echo, the
//! transactional form beside the bare transaction. Ours and the limit alternate; medians are quoted.

#[cfg(feature = "redis")]
mod checks;
mod layer;
#[cfg(feature = "redis")]
mod plain_set;
#[cfg(feature = "redis")]
mod server;
#[cfg(feature = "postgres")]
mod transaction;

use anyhow::{Result, bail};
use steadfast_host::metrics;

use super::beside::Pace;
use super::report;

const WORK: &str = "idempotency";

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Checks and the layer through this Redis, such as `redis://127.0.0.1:16399`, or through a cluster by several of its
    /// nodes with commas between them, under a prefix of their own that is removed at the end; without it they are left out.
    #[arg(long, env = "STEADFAST_BENCH_REDIS", hide_env_values = true, value_name = "URL", value_delimiter = ',')]
    redis: Vec<String>,
    /// The transactional form, in a database made for the run on this server, such as
    /// `postgres://postgres@127.0.0.1:55432`; without it, it is left out.
    #[arg(long, env = "STEADFAST_BENCH_POSTGRES", hide_env_values = true, value_name = "URL")]
    postgres: Option<String>,
    /// Requests and transactions at once, one measurement for each. Checks through Redis are always 50 at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32], value_parser = at_once)]
    at_once: Vec<usize>,
    #[command(flatten)]
    pace: Pace,
}

fn at_once(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|it| (1..=4_096).contains(it)).ok_or_else(|| "it must be 1 to 4096".to_owned())
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    if !cfg!(feature = "redis") && !arguments.redis.is_empty() {
        bail!("--redis: this build lacks Redis; build it with `--features redis`");
    }
    if !cfg!(feature = "postgres") && arguments.postgres.is_some() {
        bail!("--postgres: this build lacks PostgreSQL; build it with `--features postgres`");
    }
    // Counting is part of what a service pays.
    metrics::install()?;
    let mut lines = Vec::new();
    #[cfg(feature = "redis")]
    if !arguments.redis.is_empty() {
        let server = server::Server::open(&arguments.redis).await?;
        let outcome = through_redis(&server, &arguments).await;
        server.clear().await?;
        lines.extend(outcome?);
    }
    lines.extend(layer::over_memory(&arguments).await?);
    #[cfg(feature = "postgres")]
    if let Some(url) = &arguments.postgres {
        lines.extend(transaction::measure(url, &arguments).await?);
    }
    report::print(&lines, arguments.pace.json)
}

#[cfg(feature = "redis")]
async fn through_redis(server: &server::Server, arguments: &Arguments) -> Result<Vec<report::Line>> {
    let mut lines = checks::measure(server, &arguments.pace).await?;
    lines.extend(layer::over_redis(server, arguments).await?);
    Ok(lines)
}
