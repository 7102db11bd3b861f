//! Ours and its limit in turn, and the line that both make.

use std::time::Duration;

use anyhow::Result;

use super::load::{Run, Work, drive, median};
#[cfg(feature = "postgres")]
use super::meter::{self, Meter};
use super::report::Line;
#[cfg(feature = "postgres")]
use super::store::Scratch;
use super::usage;

/// How long, how often, and how it is told.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Pace {
    /// Rounds of ours and of the limits, alternating; the median of each is quoted.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(super) rounds: u32,
    /// Seconds of each measurement, 0.1 to 600.
    #[arg(long, default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    seconds: Duration,
    /// One JSON object a line.
    #[arg(long)]
    pub(super) json: bool,
}

impl Pace {
    pub(super) const fn length(&self) -> Duration {
        self.seconds
    }

    /// What warms pages, pools and caches before anything counts.
    pub(super) fn warming(&self) -> Duration {
        self.seconds / 4
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it must be a number of seconds, such as 2 or 0.5".to_owned())?;
    if (0.1..=600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("it must be 0.1 to 600".to_owned())
    }
}

/// Ours and the limit in turn, so many times; the median of each.
pub(super) async fn alternate(
    rounds: u32,
    ours: impl AsyncFn() -> Result<Run>,
    limit: impl AsyncFn() -> Result<Run>,
) -> Result<(Run, Run)> {
    let (mut all_ours, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        all_ours.push(ours().await?);
        limits.push(limit().await?);
    }
    Ok((median(all_ours)?, median(limits)?))
}

/// A run with the CPU of this process.
pub(super) async fn timed<W: Work>(workers: Vec<W>, length: Duration) -> Result<Run> {
    let before = usage::cpu_seconds();
    let mut run = drive(workers, length).await?;
    run.cpu_ms_each = (usage::cpu_seconds() - before) * 1e3 / run.count();
    Ok(run)
}

/// A run with the CPU of this process and of the database, its commits and its log.
#[cfg(feature = "postgres")]
pub(super) async fn metered<W: Work>(scratch: &Scratch, workers: Vec<W>, length: Duration) -> Result<Run> {
    let meter = Meter::start(scratch).await?;
    let run = drive(workers, length).await?;
    let cost = meter.stop(run.latencies.len(), run.per_s).await?;
    let Run { cpu_ms_each, commits_each, wal_bytes_each, .. } = cost;
    Ok(Run { cpu_ms_each, commits_each, wal_bytes_each, ..run })
}

/// What both have come to.
pub(super) fn line(work: &'static str, setting: String, ours: &Run, limit: &Run) -> Line {
    let sorted = sorted(ours);
    let measured = Line {
        work,
        setting,
        ours_per_s: ours.per_s,
        p50_ms: Some(sorted.quantile_ms(50)),
        p99_ms: Some(sorted.quantile_ms(99)),
        cpu_s: Some(ours.cpu_ms_each * ours.count() / 1e3),
        ..Line::default()
    };
    told(measured, limit)
}

/// As [`line`], with what each unit has cost the database.
#[cfg(feature = "postgres")]
pub(super) fn sql_line(work: &'static str, setting: String, ours: &Run, limit: &Run) -> Line {
    told(meter::line(work, setting, &sorted(ours), ours.latencies.len()), limit)
}

/// Where a foreign program is the limit, its latencies are not told.
fn told(mut line: Line, limit: &Run) -> Line {
    if !limit.latencies.is_empty() {
        let sorted = sorted(limit);
        line.more.extend([("limit_p50_ms", sorted.quantile_ms(50)), ("limit_p99_ms", sorted.quantile_ms(99))]);
    }
    line.rss_mb = Some(usage::rss_mb());
    line.beside(limit.per_s)
}

/// The same run with its latencies in order.
fn sorted(run: &Run) -> Run {
    let mut latencies = run.latencies.clone();
    latencies.sort_unstable();
    Run { latencies, ..*run }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_number_of_seconds_within_bounds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "601", "NaN", "-1", "2s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn each_has_its_rounds_and_the_median_is_quoted() {
        let next = std::cell::Cell::new(0.0);
        let run = async || {
            next.set(next.get() + 1.0);
            Ok(Run { per_s: next.get(), ..Run::default() })
        };
        let (ours, limit) = alternate(3, run, run).await.unwrap();
        assert_eq!((ours.per_s, limit.per_s, next.get()), (3.0, 4.0, 6.0));
    }

    #[test]
    fn quantiles_are_of_the_sorted_latencies_and_a_foreign_limit_has_none() {
        let latencies = [30, 10, 20].map(Duration::from_millis).to_vec();
        let ours = Run { per_s: 50.0, latencies, cpu_ms_each: 2.0, ..Run::default() };
        let line = line("lock", "x".to_owned(), &ours, &Run { per_s: 100.0, ..Run::default() });
        assert_eq!((line.p50_ms, line.ratio), (Some(20.0), Some(0.5)));
        assert!(line.more.is_empty());
        assert!((line.cpu_s.unwrap() - 0.006).abs() < 1e-9);
    }
}
