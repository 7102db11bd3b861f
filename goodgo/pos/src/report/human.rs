//! The table for people.

use std::fmt::{Display, Write as _};

use super::Report;
use crate::invoice::Summary;

/// How wide the column of names is.
const NAMES: usize = 28;

struct Table(String);

impl Table {
    fn section(&mut self, title: &str) {
        let _infallible = write!(self.0, "\n{title}\n");
    }

    fn row(&mut self, name: &str, value: impl Display) {
        let _infallible = writeln!(self.0, "  {name:<NAMES$} {value}");
    }
}

/// The report as lines of text.
pub fn human(report: &Report, plan: &Summary) -> String {
    let mut table = Table(format!("Invoices: {plan}.\n"));
    orders(&mut table, report);
    trouble(&mut table, report);
    speed(&mut table, report);
    parked(&mut table, report);
    if let Some(note) = &report.note {
        table.section(&format!("Note: {note}."));
    }
    verdict(&mut table, report);
    table.0
}

fn orders(table: &mut Table, report: &Report) {
    table.section("Orders and returns");
    table.row("orders placed", report.orders);
    table.row("  completed", report.completed);
    table.row("  compensated", report.compensated);
    table.row("  failed (for an operator)", report.failed);
    table.row("  pending", report.pending);
    table.row("returns sent", report.returns);
    table.row("  of an order", report.returns_matched);
    table.row("  standalone", report.returns_standalone);
    table.row("  refused", report.returns_refused);
    table.row("returns skipped", format!("{} (their order did not complete)", report.skipped_returns));
    table.row("products written off", format!("{} ({} refused)", report.write_offs, report.write_offs_refused));
    table.row("account adjustments", report.account_adjustments);
}

fn trouble(table: &mut Table, report: &Report) {
    table.section("Trouble survived");
    table.row("duplicates prevented", report.duplicates_prevented);
    table.row("conflicting edits", format!("{} ({} resolved)", report.conflicts, report.conflicts_resolved));
    table.row("keys used twice, refused", report.key_reuse_refused);
    table.row("hang-ups of tills", report.hang_ups);
    table.row("requests sent again", report.retries);
}

fn speed(table: &mut Table, report: &Report) {
    table.section("Consistency and speed");
    table.row("consistent within 60 s", format!("{} % of {} sagas", report.consistency_rate, report.sagas));
    table.row("mean time to consistency", format!("{} ms", report.mean_time_to_consistency_ms));
    table.row("sagas per second", report.sagas_per_second);
    table.row("events published", report.events_published);
    table.row("wall time", format!("{} s", report.wall_s));
    table.row("memory of all processes", format!("{} MiB", report.rss_mb));
    table.row("seed", report.seed);
}

fn parked(table: &mut Table, report: &Report) {
    if report.parked.is_empty() {
        return;
    }
    table.section("Parked on purpose, for an operator");
    for parked in &report.parked {
        let (refused, left) = (parked.refused.join(", "), parked.left.join(", "));
        table.row(
            &format!("{} {}", parked.definition, parked.number),
            format!("saga {}: refused to compensate {refused}; left: {left}", parked.saga),
        );
    }
}

fn verdict(table: &mut Table, report: &Report) {
    if report.holds() {
        table.section("All invariants hold.");
        return;
    }
    table.section(&format!("{} VIOLATIONS", report.violations.len()));
    for violation in &report.violations {
        let _infallible = writeln!(table.0, "  {violation}");
    }
}
