//! The lines of a measurement: a table for people, or one JSON object each.

use std::collections::BTreeMap;
use std::fmt::Display;

use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

/// One line: ours, the limit beside it, and what ours has cost.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line {
    pub(super) work: &'static str,
    pub(super) setting: String,
    pub(super) ours_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p99_ms: Option<f64>,
    /// CPU of our run, the database's included where it is on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rss_mb: Option<f64>,
    /// Commits per unit of work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commits: Option<f64>,
    /// Bytes of the database's log per unit of work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wal_bytes: Option<f64>,
    /// What this work alone tells, such as the limits of which the lower one counts.
    #[serde(flatten)]
    pub(super) more: BTreeMap<&'static str, f64>,
}

impl Line {
    /// With the limit, and what part of it ours reaches.
    pub(super) fn beside(mut self, limit_per_s: f64) -> Self {
        self.limit_per_s = Some(limit_per_s);
        self.ratio = Some(self.ours_per_s / limit_per_s);
        self
    }

    /// A column's value, and the digits that matter of it.
    fn value(&self, column: &str) -> Option<(f64, usize)> {
        match column {
            "ours_per_s" => Some((self.ours_per_s, 0)),
            "limit_per_s" => self.limit_per_s.map(|it| (it, 0)),
            "ratio" => self.ratio.map(|it| (it, 2)),
            "p50_ms" => self.p50_ms.map(|it| (it, 2)),
            "p99_ms" => self.p99_ms.map(|it| (it, 2)),
            "cpu_s" => self.cpu_s.map(|it| (it, 2)),
            "rss_mb" => self.rss_mb.map(|it| (it, 0)),
            "commits" => self.commits.map(|it| (it, 4)),
            "wal_bytes" => self.wal_bytes.map(|it| (it, 0)),
            other => self.more.get(other).map(|it| (*it, if other.ends_with("_per_s") { 0 } else { 2 })),
        }
    }
}

const COLUMNS: [&str; 9] =
    ["ours_per_s", "limit_per_s", "ratio", "p50_ms", "p99_ms", "cpu_s", "rss_mb", "commits", "wal_bytes"];

/// The columns for which any line has a value, headed as in the JSON.
fn table(lines: &[Line]) -> Table {
    let mut columns = COLUMNS.to_vec();
    for name in lines.iter().flat_map(|line| line.more.keys()) {
        if !columns.contains(name) {
            columns.push(name);
        }
    }
    columns.retain(|column| lines.iter().any(|line| line.value(column).is_some()));
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([&["setting"], columns.as_slice()].concat());
    for line in lines {
        let cells = columns.iter().map(|column| {
            let text = line.value(column).map_or_else(String::new, |(value, digits)| format!("{value:.digits$}"));
            Cell::new(text).set_alignment(CellAlignment::Right)
        });
        table.add_row([Cell::new(&line.setting)].into_iter().chain(cells));
    }
    table
}

pub(super) fn print(lines: &[Line], json: bool) -> Result<()> {
    show(lines, json, table)
}

/// One JSON object a line, or all as a table.
#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(super) fn show<T: Serialize, D: Display>(rows: &[T], json: bool, table: impl FnOnce(&[T]) -> D) -> Result<()> {
    if json {
        for row in rows {
            println!("{}", serde_json::to_string(row)?);
        }
    } else {
        println!("{}", table(rows));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_columns_that_have_values_and_json_the_same_names() {
        let line = Line { work: "outbox", setting: "plain".to_owned(), ours_per_s: 400.0, ..Line::default() };
        let line = Line { more: BTreeMap::from([("mark_per_s", 900.0)]), ..line.beside(800.0) };
        assert_eq!(
            serde_json::to_value(&line).unwrap(),
            serde_json::json!({"work": "outbox", "setting": "plain", "ours_per_s": 400.0, "limit_per_s": 800.0,
                               "ratio": 0.5, "mark_per_s": 900.0})
        );
        let other = Line { setting: "latency".to_owned(), p99_ms: Some(1.5), ..Line::default() };
        let text = table(&[line, other]).to_string();
        let words = |row: usize| {
            let row: Vec<_> = text.lines().nth(row).unwrap().split('|').map(str::trim).map(str::to_owned).collect();
            row[1..row.len() - 1].to_vec()
        };
        assert_eq!(words(0), ["setting", "ours_per_s", "limit_per_s", "ratio", "p99_ms", "mark_per_s"]);
        assert_eq!(words(2), ["plain", "400", "800", "0.50", "", "900"]);
        assert_eq!(words(3), ["latency", "0", "", "", "1.50", ""]);
    }
}
