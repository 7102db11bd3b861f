//! What a process has used, from `/proc`.

use std::fs;

/// Clock ticks a second, on every platform that we build for (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// CPU time of this process so far, in seconds; 0 where the system does not tell.
pub(super) fn cpu_seconds() -> f64 {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return 0.0 };
    // The fields behind the command's name, which may hold blanks: the 12th and 13th are user and system time.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum::<u32>();
    f64::from(ticks) / TICKS
}

/// Resident memory of this process, in MiB.
pub(super) fn rss_mb() -> f64 {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return 0.0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u32>().ok());
    f64::from(kib.unwrap_or(0)) / 1024.0
}
