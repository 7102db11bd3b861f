//! What a run has shown.

use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

use crate::bench::load::Run;
use crate::bench::usage::rss_mb;

/// One line of the result.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    work: &'static str,
    setting: String,
    ours_per_s: f64,
    /// The same calls with no orchestrator.
    limit_per_s: f64,
    ratio: f64,
    /// The same hops with no journal.
    relay_per_s: f64,
    relay_ratio: f64,
    p50_ms: f64,
    p99_ms: f64,
    limit_p50_ms: f64,
    relay_p50_ms: f64,
    cpu_ms_each: f64,
    commits_each: f64,
    wal_bytes_each: f64,
    rss_mb: f64,
}

pub(super) fn line(setting: String, mut ours: Run, calls: &Run, relay: &Run) -> Line {
    ours.latencies.sort_unstable();
    let middle = |run: &Run| {
        let mut latencies = run.latencies.clone();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    };
    Line {
        work: "saga",
        setting,
        ours_per_s: ours.per_s,
        limit_per_s: calls.per_s,
        ratio: ours.per_s / calls.per_s,
        relay_per_s: relay.per_s,
        relay_ratio: ours.per_s / relay.per_s,
        p50_ms: ours.quantile_ms(50),
        p99_ms: ours.quantile_ms(99),
        limit_p50_ms: middle(calls),
        relay_p50_ms: middle(relay),
        cpu_ms_each: ours.cpu_ms_each,
        commits_each: ours.commits_each,
        wal_bytes_each: ours.wal_bytes_each,
        rss_mb: rss_mb(),
    }
}

const HEADER: [&str; 12] = [
    "setting",
    "sagas/s",
    "bare calls/s",
    "ratio",
    "relay/s",
    "ratio",
    "p50 ms",
    "p99 ms",
    "CPU ms",
    "commits",
    "WAL bytes",
    "RSS MiB",
];

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(super) fn print(lines: &[Line], json: bool) -> Result<()> {
    if json {
        for line in lines {
            println!("{}", serde_json::to_string(line)?);
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(HEADER);
    for line in lines {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(&line.setting),
            right(format!("{:.0}", line.ours_per_s)),
            right(format!("{:.0}", line.limit_per_s)),
            right(format!("{:.2}", line.ratio)),
            right(format!("{:.0}", line.relay_per_s)),
            right(format!("{:.2}", line.relay_ratio)),
            right(format!("{:.2}", line.p50_ms)),
            right(format!("{:.2}", line.p99_ms)),
            right(format!("{:.3}", line.cpu_ms_each)),
            right(format!("{:.3}", line.commits_each)),
            right(format!("{:.0}", line.wal_bytes_each)),
            right(format!("{:.0}", line.rss_mb)),
        ]);
    }
    println!("{table}");
    Ok(())
}
