//! What processes have used, from `/proc`.

use std::fs;

/// Clock ticks a second, on every platform that we build for (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// CPU time of this process so far, in seconds; 0 where the system does not tell.
pub(super) fn cpu_seconds() -> f64 {
    stat("self").map_or(0.0, |stat| stat.own)
}

/// CPU time so far of a process and of all its children, those that have ended included.
#[cfg(feature = "postgres")]
pub(super) fn cpu_seconds_of_family(parent: u32) -> f64 {
    let Some(head) = stat(&parent.to_string()) else { return 0.0 };
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let children = names.filter(|name| name.bytes().all(|it| it.is_ascii_digit())).filter_map(|pid| stat(&pid));
    head.own + head.ended_children + children.filter(|it| it.parent == parent).map(|it| it.own).sum::<f64>()
}

/// The parent of a process, if both are of this name.
#[cfg(feature = "postgres")]
pub(super) fn parent(pid: u32, name: &str) -> Option<u32> {
    let child = stat(&pid.to_string()).filter(|it| it.name == name)?;
    stat(&child.parent.to_string()).filter(|it| it.name == name).map(|_| child.parent)
}

#[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a server's processes are not looked at"))]
struct Stat {
    name: String,
    parent: u32,
    /// User and system time, in seconds.
    own: f64,
    /// Of the children that have ended and been waited for.
    ended_children: f64,
}

/// `proc_pid_stat(5)`.
fn stat(pid: &str) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses.
    let (head, rest) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let seconds = |first: usize| {
        let ticks = fields.iter().skip(first).take(2).filter_map(|field| field.parse::<u32>().ok()).sum::<u32>();
        f64::from(ticks) / TICKS
    };
    Some(Stat { name, parent: fields.get(1)?.parse().ok()?, own: seconds(11), ended_children: seconds(13) })
}

/// Resident memory of this process, in MiB.
pub(super) fn rss_mb() -> f64 {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return 0.0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u32>().ok());
    f64::from(kib.unwrap_or(0)) / 1024.0
}
