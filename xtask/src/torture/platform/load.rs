//! The tills: `steadfast demo --config`, in a process of its own, and what it says in the end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::super::arguments::Arguments;
use super::super::folder::Folder;
use super::super::report::Report;
use super::world::World;
use crate::services::process::send;

/// Tills at once: few, so that orders keep coming for as long as faults do.
const TILLS: u16 = 4;
/// The share of orders with whom something is wrong at the till, such as one that hangs up or sends twice.
const FAILURE_RATE: &str = "0.15";
/// Invoices of a month.
const SAMPLE: &str = "goodgo/pos/data/online-retail-2010-12.csv.gz";
/// How many seconds tills are busy with them at least.
const SAMPLE_LASTS: u64 = 80;
/// What sets the numbers of one repetition of the sample apart from those of the next: more than it has.
const REPEAT_STEP: u64 = 10_000;
/// So many orders a second must have been placed at least: less proves nothing.
const LEAST: u64 = 1;
const BEGIN_LIMIT: Duration = Duration::from_mins(3);
const STEP: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Load {
    child: Child,
    output: PathBuf,
}

impl Load {
    pub(super) async fn start(world: &World, folder: &Folder, arguments: &Arguments) -> Result<Self> {
        let config = folder.write("production.toml", &world.production())?;
        let sample = unpacked(&crate::root()?.join(SAMPLE)).await?;
        let invoices =
            folder.write("invoices.csv", &repeated(&sample, arguments.length.as_secs() / SAMPLE_LASTS + 1))?;
        let output = folder.file("demo.json");
        let said = File::create(&output).with_context(|| format!("creating {}", output.display()))?;
        let log = folder.file("demo.log");
        let log = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut demo = Command::new(world.program("steadfast"));
        demo.env_clear().env("STEADFAST_LOG", "warn").env("RUST_BACKTRACE", "1").current_dir(folder.path());
        demo.args(["demo", "--json", "--config"]).arg(config).arg("--invoices").arg(invoices);
        demo.args([
            "--concurrency",
            &TILLS.to_string(),
            "--seed",
            &arguments.seed.to_string(),
            "--failure-rate",
            FAILURE_RATE,
        ]);
        demo.stdin(Stdio::null()).stdout(said).stderr(log).process_group(0).kill_on_drop(true);
        Ok(Self { child: demo.spawn().context("starting the demo")?, output })
    }

    /// Waits until tills place orders. What comes before, such as filling the shelves, is no till's and is not tried again.
    pub(super) async fn wait_for_orders(&mut self, world: &World) -> Result<()> {
        let orders = world.orders()?;
        let begun = Instant::now();
        while !self.has_ended()? {
            let count: i64 = sqlx::query_scalar("select count(*) from orders").fetch_one(&orders).await?;
            if count > 0 {
                return Ok(());
            }
            if begun.elapsed() > BEGIN_LIMIT {
                bail!("no till has placed an order after {BEGIN_LIMIT:?}: demo.log tells why");
            }
            sleep(STEP).await;
        }
        Ok(())
    }

    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("looking for the demo")?.is_some())
    }

    /// No till begins anything more; what has begun is ended, and checked.
    pub(super) fn close(&self) -> Result<()> {
        self.child.id().map_or(Ok(()), |pid| send("TERM", &[pid]))
    }

    /// What the demo found becomes this run's violations.
    pub(super) fn judge(&mut self, arguments: &Arguments, report: &mut Report) -> Result<()> {
        let status = self.child.try_wait().context("looking for the demo")?;
        let text = fs::read_to_string(&self.output).with_context(|| format!("reading {}", self.output.display()))?;
        judge(status, &text, LEAST * arguments.length.as_secs(), report);
        Ok(())
    }
}

async fn unpacked(path: &Path) -> Result<String> {
    let output = Command::new("gzip").arg("-dc").arg(path).output().await.context("starting gzip")?;
    if !output.status.success() {
        bail!("gzip -dc {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).context("the sample of invoices")
}

/// The invoices so many times, each time under numbers of their own.
fn repeated(invoices: &str, times: u64) -> String {
    let (head, lines) = invoices.split_once('\n').unwrap_or((invoices, ""));
    let mut all = head.to_owned() + "\n";
    for time in 0..times {
        for line in lines.lines() {
            // A letter before the number tells a return or an adjustment.
            let (letter, rest) = line.split_at(line.len() - line.trim_start_matches(char::is_alphabetic).len());
            let Some((digits, rest)) = rest.split_once(',') else { continue };
            let Ok(first) = digits.parse::<u64>() else { continue };
            all.extend([letter, &(first + time * REPEAT_STEP).to_string(), ",", rest, "\n"]);
        }
    }
    all
}

fn judge(status: Option<ExitStatus>, output: &str, least: u64, report: &mut Report) {
    let said = output.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    let Some(said) = said else {
        let ended = status.map_or_else(|| "it still runs".to_owned(), |status| status.to_string());
        report.violation("load", format_args!("the demo has made no report ({ended}): demo.log tells why"));
        return;
    };
    for name in
        ["orders", "completed", "compensated", "failed", "pending", "returns", "duplicates_prevented", "retries"]
    {
        report.fact(name, said[name].clone());
    }
    let violations = said["violations"].as_array().cloned().unwrap_or_default();
    for violation in &violations {
        report.violation("check", violation);
    }
    if violations.is_empty() && !status.is_some_and(|status| status.success()) {
        report.violation("load", "the demo has failed without a violation: demo.log tells why");
    }
    if said["orders"].as_u64().unwrap_or_default() < least {
        report.violation("idle", format_args!("{} orders: expected {least} at least", said["orders"]));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn found(code: i32, output: &str) -> usize {
        let mut report = Report::default();
        judge(Some(ExitStatus::from_raw(code << 8)), output, 200, &mut report);
        report.violations().len()
    }

    #[test]
    fn invoices_are_repeated_under_other_numbers() {
        let once = "invoice_no,rest\n536365,a,1\nC536379,b,-1\n";
        assert_eq!(repeated(once, 1), once);
        let twice = "invoice_no,rest\n536365,a,1\nC536379,b,-1\n546365,a,1\nC546379,b,-1\n";
        assert_eq!(repeated(once, 2), twice);
    }

    #[test]
    fn what_the_demo_finds_or_does_not_say_is_a_violation() {
        assert_eq!(found(0, "{\"orders\": 500, \"violations\": []}\n"), 0);
        assert_eq!(found(1, "{\"orders\": 500, \"violations\": [\"money\", \"stock\"]}\n"), 2);
        assert_eq!(found(1, "{\"orders\": 500, \"violations\": []}\n"), 1);
        assert_eq!(found(0, "{\"orders\": 3, \"violations\": []}\n"), 1);
        assert_eq!(found(1, ""), 1);
    }
}
