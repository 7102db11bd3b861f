//! What a run costs: CPU of this process and of the database's server, commits and bytes of the server's log. The last two
//! are the whole server's, so nobody else should write to it meanwhile.

use anyhow::Result;

use super::load::Run;
use super::report::Line;
use super::store::Scratch;
use super::usage;

/// Counters as they stood at the start.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    scratch: &'a Scratch,
    postmaster: Option<u32>,
    cpu: f64,
    commits: f64,
    wal: f64,
}

impl<'a> Meter<'a> {
    pub(super) async fn start(scratch: &'a Scratch) -> Result<Self> {
        let postmaster = scratch.postmaster().await;
        let (commits, wal) = (scratch.writes().await?, scratch.wal().await?);
        Ok(Self { scratch, postmaster, cpu: cpu(postmaster), commits, wal })
    }

    /// A run of so many units that has just ended.
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    pub(super) async fn stop(self, units: usize, per_s: f64) -> Result<Run> {
        let units = units.max(1) as f64;
        let cpu = cpu(self.postmaster) - self.cpu;
        Ok(Run {
            per_s,
            cpu_ms_each: cpu * 1e3 / units,
            commits_each: (self.scratch.writes().await? - self.commits) / units,
            wal_bytes_each: (self.scratch.wal().await? - self.wal) / units,
            ..Run::default()
        })
    }
}

fn cpu(postmaster: Option<u32>) -> f64 {
    usage::cpu_seconds() + postmaster.map_or(0.0, usage::cpu_seconds_of_family)
}

/// A run's line, without its limit. The run's latencies must be sorted.
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
pub(super) fn line(work: &'static str, setting: String, run: &Run, units: usize) -> Line {
    let quantile = |of| (!run.latencies.is_empty()).then(|| run.quantile_ms(of));
    Line {
        work,
        setting,
        ours_per_s: run.per_s,
        p50_ms: quantile(50),
        p99_ms: quantile(99),
        cpu_s: Some(run.cpu_ms_each * units as f64 / 1e3),
        commits: Some(run.commits_each),
        wal_bytes: Some(run.wal_bytes_each),
        ..Line::default()
    }
}
