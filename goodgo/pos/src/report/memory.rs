//! How much memory processes hold.

/// Resident memory of these processes in sum, in MiB, from `/proc`; a process that is gone counts nothing, and so does
/// every process where there is no `/proc`.
pub fn rss_mb(pids: &[u32]) -> f64 {
    let kib = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|text| resident(&text));
    pids.iter().filter_map(kib).map(f64::from).sum::<f64>() / 1024.0
}

/// The line `VmRSS:  1234 kB`.
fn resident(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found() {
        assert_eq!(resident("Name:\tx\nVmPeak:\t 9 kB\nVmRSS:\t   2048 kB\n"), Some(2048));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn a_process_that_is_gone_counts_nothing() {
        let own = rss_mb(&[std::process::id()]);
        assert!((0.0..100_000.0).contains(&own));
        // The largest number of a process is far below.
        assert!(rss_mb(&[u32::MAX]) < f64::EPSILON);
    }
}
