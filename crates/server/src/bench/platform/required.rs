//! The six figures that were asked for: what is required, what was measured, how the one stands to the other, and by which
//! command. Sagas and compensation are this run's; the rest is measured by the benches of the patterns, each in a process of
//! its own on the platform's servers while the platform has nothing to do.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use comfy_table::{Cell, CellAlignment, Table};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;

use crate::bench::report::{self, Line};
use crate::roles::front::Front;

/// One row.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Row {
    work: &'static str,
    figure: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_per_s: Option<f64>,
    /// The longest that it may take.
    required_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<f64>,
    /// Measured beside required: of the rate, where one is required, else of the time, where shorter counts as more.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    command: String,
}

/// What is required of each: so many a second, within so many milliseconds. Of a range the harder end counts.
const REQUIRED: [(&str, Option<f64>, f64); 6] = [
    ("saga execution", Some(500.0), 2_000.0),
    ("outbox processing", Some(10_000.0), 100.0),
    ("idempotency check", Some(50_000.0), 10.0),
    ("optimistic-lock update", Some(5_000.0), 50.0),
    ("projection", Some(1_000.0), 1_000.0),
    ("compensation", None, 1_000.0),
];

/// What this run has measured.
pub(super) struct Saga<'a> {
    pub(super) orders: &'a Line,
    pub(super) completed: &'a Line,
    pub(super) compensated: &'a Line,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    per_s: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Row {
    fn new(figure: &'static str, measured: Measured, command: String) -> Self {
        let required = REQUIRED.iter().find(|(name, _, _)| *name == figure);
        let (required_per_s, required_ms) = required.map_or((None, 0.0), |(_, per_s, ms)| (*per_s, *ms));
        let Measured { per_s: measured_per_s, p50_ms, p99_ms } = measured;
        let of_rate = measured_per_s.zip(required_per_s).map(|(measured, required)| measured / required);
        let of_time = || p99_ms.filter(|ms| *ms > 0.0).map(|ms| required_ms / ms);
        let ratio = if required_per_s.is_some() { of_rate } else { of_time() };
        Self { work: "required", figure, required_per_s, required_ms, measured_per_s, p50_ms, p99_ms, ratio, command }
    }

    /// In the order in which they were asked for.
    pub(super) fn in_order(mut rows: Vec<Self>) -> Vec<Self> {
        rows.sort_by_key(|row| REQUIRED.iter().position(|(name, _, _)| *name == row.figure));
        rows
    }
}

/// The rows that a run with orders measures.
pub(super) fn of_this_run(saga: &Saga<'_>, command: &str) -> Vec<Row> {
    let Saga { orders, completed, compensated } = saga;
    let sagas = Measured { per_s: Some(orders.ours_per_s), p50_ms: completed.p50_ms, p99_ms: completed.p99_ms };
    let back = Measured { per_s: None, p50_ms: compensated.p50_ms, p99_ms: compensated.p99_ms };
    vec![Row::new("saga execution", sagas, command.to_owned()), Row::new("compensation", back, command.to_owned())]
}

/// The rows of the patterns' own benches.
pub(super) async fn measured_apart(front: &Front, redis: Option<&str>) -> Result<Vec<Row>> {
    let (postgres, kafka) = (front.postgres(), front.brokers());
    let on_both = ["--postgres", &postgres, "--kafka", &kafka, "--rounds", "1"];
    let mut rows = Vec::new();
    let outbox = ["outbox", "--only", "plain,latency"];
    rows.push(
        apart(front, "outbox processing", &[&outbox, &on_both[..]].concat(), "drain of", "commit to consumer").await?,
    );
    rows.push(match redis {
        Some(redis) => {
            let bench = ["idempotency", "--at-once", "32", "--redis", redis];
            apart(front, "idempotency check", &bench, "Redis, new keys", "Redis, new keys").await?
        }
        None => Row::new(
            "idempotency check",
            Measured::default(),
            "not measured: --redis names no server (steadfast bench idempotency --redis URL)".to_owned(),
        ),
    });
    let lock = ["lock", "--at-once", "32", "--postgres", &postgres, "--rounds", "1"];
    rows.push(apart(front, "optimistic-lock update", &lock, "versioned update", "versioned update").await?);
    let projection = ["projection", "--rate", "1000"];
    let fold = [&projection, &on_both[..]].concat();
    rows.push(apart(front, "projection", &fold, "100000 events", "commit to readable").await?);
    Ok(rows)
}

/// Runs a bench in a process of its own; the rate is that of the first line whose setting begins with `rate`, the latency
/// that of the first one with `latency`.
async fn apart(front: &Front, figure: &'static str, bench: &[&str], rate: &str, latency: &str) -> Result<Row> {
    let command = format!("steadfast bench {}", bench.join(" "));
    let program = std::env::current_exe().context("finding this program")?;
    let mut child = Command::new(program);
    child.arg("bench").args(bench).arg("--json").stdin(Stdio::null()).kill_on_drop(true);
    if let Some(password) = front.password() {
        child.env("PGPASSWORD", password.expose_secret());
    }
    let ran = child.output().await.with_context(|| command.clone())?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        bail!("`{command}` ended with {}: {}", ran.status, said.lines().last().unwrap_or_default());
    }
    let lines: Vec<Value> =
        String::from_utf8_lossy(&ran.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let measured = pick(&lines, rate, latency).with_context(|| format!("`{command}` measured something else"))?;
    Ok(Row::new(figure, measured, command))
}

fn pick(lines: &[Value], rate: &str, latency: &str) -> Option<Measured> {
    let first =
        |begin: &str| lines.iter().find(|line| line["setting"].as_str().is_some_and(|it| it.starts_with(begin)));
    let (rate, latency) = (first(rate)?, first(latency)?);
    Some(Measured {
        per_s: Some(rate["ours_per_s"].as_f64()?),
        p50_ms: Some(latency["p50_ms"].as_f64()?),
        p99_ms: Some(latency["p99_ms"].as_f64()?),
    })
}

pub(super) fn print(rows: &[Row], json: bool) -> Result<()> {
    report::show(rows, json, |rows| format!("\n{}", table(rows)))
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["figure", "required", "measured", "ratio", "command"]);
    for row in rows {
        let per_s = |per_s: Option<f64>| per_s.map(|it| format!("{it:.0}/s"));
        let quantile = |name: &str, ms: Option<f64>| ms.map(|it| format!("{name} {it:.2} ms"));
        let join = |parts: Vec<Option<String>>| parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let required = join(vec![per_s(row.required_per_s), Some(format!("{:.0} ms", row.required_ms))]);
        let measured = join(vec![per_s(row.measured_per_s), quantile("p50", row.p50_ms), quantile("p99", row.p99_ms)]);
        let ratio = row.ratio.map_or_else(String::new, |it| format!("{it:.2}"));
        table.add_row([
            Cell::new(row.figure),
            Cell::new(required),
            Cell::new(measured),
            Cell::new(ratio).set_alignment(CellAlignment::Right),
            Cell::new(&row.command),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rate_is_beside_the_rate_and_a_time_beside_the_time() {
        let measured = Measured { per_s: Some(1_500.0), p50_ms: Some(8.0), p99_ms: Some(20.0) };
        let row = Row::new("saga execution", measured, "a".to_owned());
        assert_eq!((row.required_per_s, row.required_ms, row.ratio), (Some(500.0), 2_000.0, Some(3.0)));
        let row = Row::new("compensation", Measured { per_s: None, ..measured }, "a".to_owned());
        assert_eq!((row.required_per_s, row.ratio), (None, Some(50.0)));
        assert_eq!(Row::new("idempotency check", Measured::default(), "none".to_owned()).ratio, None);
    }

    #[test]
    fn a_benchs_lines_are_found_by_their_settings() {
        let lines = [
            json!({"setting": "commit to consumer, 1 a commit", "ours_per_s": 2_000.0, "p50_ms": 4.0, "p99_ms": 9.0}),
            json!({"setting": "drain of 9 events, nothing held", "ours_per_s": 60_000.0}),
        ];
        let found = pick(&lines, "drain of", "commit to consumer").unwrap();
        assert_eq!((found.per_s, found.p50_ms, found.p99_ms), (Some(60_000.0), Some(4.0), Some(9.0)));
        assert!(pick(&lines, "drain of", "drain of").is_none(), "a line without latencies");
    }

    #[test]
    fn the_table_has_all_six_in_order_with_their_commands() {
        let saga = Line { ours_per_s: 800.0, ..Line::default() };
        let timed = Line { p50_ms: Some(10.0), p99_ms: Some(40.0), ..Line::default() };
        let mut rows = of_this_run(&Saga { orders: &saga, completed: &timed, compensated: &timed }, "this one");
        for (name, _, _) in &REQUIRED[1..5] {
            rows.push(Row::new(name, Measured { per_s: Some(9.0), ..Measured::default() }, format!("bench {name}")));
        }
        let text = table(&Row::in_order(rows)).to_string();
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows.len(), 6);
        for (row, (name, _, _)) in rows.iter().zip(REQUIRED) {
            assert!(row.contains(name), "{name} in {row}");
        }
        assert!(rows[0].contains("500/s, 2000 ms") && rows[0].contains("800/s, p50 10.00 ms, p99 40.00 ms"), "{text}");
        assert!(rows[5].contains("25.00") && rows[5].contains("this one"), "{text}");
    }
}
