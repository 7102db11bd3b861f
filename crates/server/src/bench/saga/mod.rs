//! `steadfast bench saga`: sagas a second on the embedded journal, beside the same HTTP calls with no orchestrator, made
//! by the same client. Both alternate; medians are quoted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use comfy_table::{Cell, CellAlignment, Table};
use http::Method;
use serde::Serialize;
use steadfast_core::sealing::Keyring;
use steadfast_core::{Clock, Op, Principal, SagaId, StepKey};
use steadfast_db::Db;
use steadfast_db::sqlite::Options;
use steadfast_host::clock::System;
use steadfast_host::{metrics, serve};
use steadfast_saga::engine::{AsAtStart, Config, Engine, Ports, StartRequest};
use steadfast_saga::journal;
use steadfast_saga::machine::Status;
use steadfast_saga::participant::client::{Outgoing, ParticipantConfig, Participants};
use steadfast_saga::participant::{client, token};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::usage::{cpu_seconds, rss_mb};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Sagas at once, one measurement for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32, 128])]
    at_once: Vec<usize>,
    /// Steps of the saga: each is one HTTP call.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=8))]
    steps: u32,
    /// Rounds of ours and of the limit, alternating; the median of each is quoted.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Line {
    work: &'static str,
    setting: String,
    ours_per_s: f64,
    limit_per_s: f64,
    ratio: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Of all that takes part: orchestrator, client and participants are one process here.
    cpu_ms_each: f64,
    commits_each: f64,
    rss_mb: f64,
}

/// One measurement.
#[derive(Debug)]
struct Run {
    per_s: f64,
    latencies: Vec<Duration>,
    cpu_ms_each: f64,
    commits_each: f64,
}

const DEFINITION: &str = "bench";
const PARTICIPANT: &str = "bench";

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let bench = Bench::open(arguments.steps).await?;
    let length = Duration::from_secs(arguments.seconds);
    // Pages, pools and caches are warm before anything counts.
    bench.ours(32, length / 2).await?;
    bench.limit(32, length / 2).await?;
    let mut lines = Vec::new();
    for &at_once in &arguments.at_once {
        if at_once == 0 || at_once > 4_096 {
            bail!("--at-once {at_once}: it must be 1 to 4096");
        }
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            ours.push(bench.ours(at_once, length).await?);
            limit.push(bench.limit(at_once, length).await?);
        }
        lines.push(line(arguments.steps, at_once, median(ours)?, &median(limit)?));
    }
    bench.close().await;
    print(&lines, arguments.json)
}

fn line(steps: u32, at_once: usize, mut ours: Run, limit: &Run) -> Line {
    ours.latencies.sort_unstable();
    let quantile = |of: usize| {
        let index = ours.latencies.len().saturating_sub(1) * of / 100;
        ours.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    };
    Line {
        work: "saga",
        setting: format!("sqlite, synchronous=full, {steps} steps, {at_once} at once"),
        ours_per_s: ours.per_s,
        limit_per_s: limit.per_s,
        ratio: ours.per_s / limit.per_s,
        p50_ms: quantile(50),
        p99_ms: quantile(99),
        cpu_ms_each: ours.cpu_ms_each,
        commits_each: ours.commits_each,
        rss_mb: rss_mb(),
    }
}

/// The run whose rate is the median.
fn median(mut runs: Vec<Run>) -> Result<Run> {
    runs.sort_by(|one, two| one.per_s.total_cmp(&two.per_s));
    let middle = runs.len() / 2;
    runs.into_iter().nth(middle).context("at least one round")
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(lines: &[Line], json: bool) -> Result<()> {
    if json {
        for line in lines {
            println!("{}", serde_json::to_string(line)?);
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([
        "setting",
        "sagas/s",
        "bare calls/s",
        "ratio",
        "p50 ms",
        "p99 ms",
        "CPU ms",
        "commits",
        "RSS MiB",
    ]);
    for line in lines {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(&line.setting),
            right(format!("{:.0}", line.ours_per_s)),
            right(format!("{:.0}", line.limit_per_s)),
            right(format!("{:.2}", line.ratio)),
            right(format!("{:.2}", line.p50_ms)),
            right(format!("{:.2}", line.p99_ms)),
            right(format!("{:.3}", line.cpu_ms_each)),
            right(format!("{:.3}", line.commits_each)),
            right(format!("{:.0}", line.rss_mb)),
        ]);
    }
    println!("{table}");
    Ok(())
}

struct Bench {
    engine: Engine,
    participants: Arc<Participants>,
    exporter: metrics::Exporter,
    steps: u32,
    stop: CancellationToken,
    tasks: TaskTracker,
    // Holds the database until the end.
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn open(steps: u32) -> Result<Self> {
        let exporter = metrics::install()?;
        let folder = tempfile::tempdir().context("a temporary folder for the journal")?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let listener = serve::bind("127.0.0.1:0", "bench").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/step", post(answer)).route("/undo", post(answer));
        let serving = serve::serve(listener, router, serve::Limits::default(), stop.clone());
        tasks.spawn(async move { serving.await.map_err(|error| tracing::error!(%error, "the participant")) });

        let key = token::Key::new(&[7; 32])?;
        let config = ParticipantConfig {
            concurrency: 4_096,
            ..ParticipantConfig::new(PARTICIPANT, format!("http://{address}"), key)
        };
        let participants = Arc::new(Participants::new(vec![config])?);
        let db = Db::open(&folder.path().join("journal.sqlite"), Options::default()).await?;
        let clock: Arc<dyn Clock> = Arc::new(System);
        let ports = Ports {
            journal: Arc::new(journal::Sqlite::open(db.clone(), None).await?),
            participants: Arc::clone(&participants),
            permissions: Arc::new(AsAtStart),
            clock,
            keyring: Arc::new(Keyring::new("bench", [7; 32])),
        };
        let engine = Engine::open(Config::default(), ports).await?;
        engine.upload(&definition(steps), BTreeMap::new(), "bench").await?;
        let checkpoints = stop.clone();
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(2));
            while checkpoints.run_until_cancelled(ticks.tick()).await.is_some() {
                db.checkpoint().await.ok();
            }
        });
        Ok(Self { engine, participants, exporter, steps, stop, tasks, _folder: folder })
    }

    async fn close(self) {
        self.engine.drain().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn commits(&self) -> f64 {
        let text = self.exporter.render();
        let line = text.lines().find_map(|line| line.strip_prefix("saga_journal_commits_total "));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
    }

    async fn ours(&self, at_once: usize, length: Duration) -> Result<Run> {
        let principal = Principal::new("bench", ["bench"]);
        let before = self.commits();
        let mut run = measure(at_once, length, |_| {
            let (engine, principal) = (self.engine.clone(), principal.clone());
            async move {
                let accepted = engine
                    .start(StartRequest {
                        definition: DEFINITION.to_owned(),
                        version: None,
                        principal,
                        key: None,
                        input: serde_json::json!({"order": 4711, "amount": 1200}),
                        traceparent: None,
                    })
                    .await?;
                match engine.wait(accepted.id, Duration::from_secs(30)).await? {
                    Some(Status::Completed) => Ok(()),
                    other => bail!("a saga ended as {other:?}"),
                }
            }
        })
        .await?;
        run.commits_each = (self.commits() - before) / count(&run);
        Ok(run)
    }

    async fn limit(&self, at_once: usize, length: Duration) -> Result<Run> {
        let saga = SagaId::derive("bench", "bench", "limit");
        measure(at_once, length, |_| {
            let participants = Arc::clone(&self.participants);
            let steps = self.steps;
            async move {
                let participant = participants.get(PARTICIPANT).context("the participant")?;
                for step in 0..steps {
                    let key = StepKey { saga, step: format!("step_{step}"), op: Op::Action };
                    let raw = participant.send(bare_call(&key)).await;
                    if !matches!(&raw, client::Raw::Replied(replied) if replied.status.is_success()) {
                        bail!("a bare call failed: {raw:?}");
                    }
                }
                Ok(())
            }
        })
        .await
    }
}

fn bare_call(key: &StepKey) -> Outgoing<'_> {
    Outgoing {
        method: Method::POST,
        path: "/step",
        body: Some(Bytes::from_static(br#"{"amount":1200,"order":4711}"#)),
        key,
        attempt: 1,
        started: System.now(),
        epoch: 1,
        knowledge: None,
        user: "bench",
        scope: "bench",
        traceparent: None,
        timeout: Duration::from_secs(30),
        probe: false,
        now: System.now(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn count(run: &Run) -> f64 {
    run.latencies.len().max(1) as f64
}

/// Runs `work` from so many tasks for so long.
async fn measure<F, W>(at_once: usize, length: Duration, work: F) -> Result<Run>
where
    F: Fn(usize) -> W,
    W: Future<Output = Result<()>> + Send + 'static,
{
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut workers = JoinSet::new();
    let mut latencies = Vec::new();
    let timed = |work: W| async move {
        let begun = Instant::now();
        work.await.map(|()| begun.elapsed())
    };
    for worker in 0..at_once {
        workers.spawn(timed(work(worker)));
    }
    while let Some(done) = workers.join_next().await {
        latencies.push(done??);
        if start.elapsed() < length {
            workers.spawn(timed(work(0)));
        }
    }
    let mut run = Run { per_s: 0.0, latencies, cpu_ms_each: 0.0, commits_each: 0.0 };
    run.per_s = count(&run) / start.elapsed().as_secs_f64();
    run.cpu_ms_each = (cpu_seconds() - cpu) * 1e3 / count(&run);
    Ok(run)
}

/// A participant that does nothing, at once, and says so.
async fn answer() -> &'static str {
    r#"{"id":1}"#
}

fn definition(steps: u32) -> String {
    use std::fmt::Write;
    let mut text = format!("saga: {DEFINITION}\nversion: 1\npermissions: [bench]\nsteps:\n");
    for step in 0..steps {
        let after = if step == 0 { String::new() } else { format!("after: [step_{}], ", step - 1) };
        // Writing to a string cannot fail.
        let _ok = writeln!(
            text,
            "  step_{step}: {{ participant: {PARTICIPANT}, {after}action: {{ post: /step, body: {{ order: \"${{input.order}}\", amount: \"${{input.amount}}\" }} }}, compensate: {{ post: /undo, body: {{ order: \"${{input.order}}\" }} }}, output: {{ id: body.id }} }}"
        );
    }
    text
}
