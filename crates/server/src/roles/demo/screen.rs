//! What a run reads and shows: invoices, progress, report. The same for a platform of its own and for one elsewhere.

use anyhow::{Context, Result};
use goodgo_pos::invoice::{self, Plan};
use goodgo_pos::replay::Progress;
use goodgo_pos::report::Report;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Arguments;

/// Reads the invoices; what is wrong with them is said, and what was done with it.
pub(super) fn plan(arguments: &Arguments) -> Result<Plan> {
    let read = match &arguments.invoices {
        Some(path) => invoice::open(path, &invoice::Limits::default())
            .with_context(|| format!("--invoices {}", path.display()))?,
        None => invoice::sample()?,
    };
    tell_faults(&read.report);
    Ok(Plan::new(&read.invoices, &invoice::Settings { orders: arguments.orders, seed: arguments.seed }))
}

#[expect(clippy::print_stderr, reason = "talk about the input goes to stderr")]
fn tell_faults(report: &invoice::Report) {
    for fault in &report.faults {
        eprintln!("invoices: {fault}");
    }
    if report.fault_count > report.faults.len() as u64 {
        eprintln!("invoices: {} faults in all", report.fault_count);
    }
    if !matches!(report.end, invoice::End::Complete) {
        eprintln!("invoices: {}", report.end);
    }
}

pub(super) fn progress_bar(plan: &Plan) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(plan.steps.len() as u64), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

pub(super) fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total as u64);
    bar.set_position(progress.done as u64);
    bar.set_message(format!(
        "{} orders: {} completed, {} compensated",
        progress.orders, progress.completed, progress.compensated
    ));
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(super) fn print(report: &Report, plan: &Plan, json: bool) {
    if json {
        println!("{}", report.json());
    } else {
        print!("{}", report.human(&plan.summary));
    }
}
