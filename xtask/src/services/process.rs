//! Server processes: started in the background, found again by what they run and where, stopped within a bound.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const STEP: Duration = Duration::from_millis(50);
/// Generous: a JVM on a machine that is also compiling. A server that gives up ends the wait at once.
const READY_LIMIT: Duration = Duration::from_mins(2);
const KILL_LIMIT: Duration = Duration::from_secs(5);
const LOG_LINES: usize = 20;

/// The processes of one server: those that run one of `programs` and work in `folder` or below it.
///
/// A number in a file may be stale and belong to a stranger by now; the kernel's word on program and folder cannot.
pub(crate) struct Group {
    /// The names that the kernel may know the program by: where one is a link, it tells the file behind it.
    pub(crate) programs: &'static [&'static str],
    pub(crate) folder: PathBuf,
}

impl Group {
    /// A process that has ended and waits for its parent runs no program, so it is not among them.
    pub(crate) fn running(&self) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc").context("processes are found through Linux's /proc")? {
            let entry = entry.context("reading /proc")?;
            let Some(pid) = entry.file_name().to_str().and_then(parse_pid) else { continue };
            // A process may end while it is looked at.
            let (Ok(program), Ok(folder)) =
                (fs::read_link(entry.path().join("exe")), entry.path().join("cwd").read_link())
            else {
                continue;
            };
            if self.programs.iter().any(|name| is_program(&program, name)) && folder.starts_with(&self.folder) {
                pids.push(pid);
            }
        }
        pids.sort_unstable();
        Ok(pids)
    }

    /// Sends `signal` to `pids` and returns when nobody of the group is left; who stays longer than `patience` is killed.
    pub(crate) fn stop(&self, signal: &str, pids: &[u32], patience: Duration) -> Result<()> {
        send(signal, pids)?;
        // One that was paused would not hear of it.
        send("CONT", pids)?;
        if wait_until(patience, || Ok(self.running()?.is_empty()))? {
            return Ok(());
        }
        send("KILL", &self.running()?)?;
        if !wait_until(KILL_LIMIT, || Ok(self.running()?.is_empty()))? {
            bail!("{} outlived KILL: processes {:?}", self.programs.join(", "), self.running()?);
        }
        Ok(())
    }
}

/// Starts a server in the background, its output appended to `log`. It outlives this program and its terminal's ^C.
pub(crate) fn start(command: &mut Command, log: &Path) -> Result<()> {
    let output = File::options().create(true).append(true).open(log);
    let output = output.with_context(|| format!("opening {}", log.display()))?;
    let errors = output.try_clone().context("sharing the log between output and errors")?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    command.spawn().with_context(|| format!("starting {command:?}"))?;
    Ok(())
}

/// Runs a command to its end; its output is shown only when it fails.
pub(super) fn finish(command: &mut Command) -> Result<()> {
    read(command).map(drop)
}

/// Runs a command to its end; what it wrote.
pub(super) fn read(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&said).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for a started server. `is_alive` cuts the wait short when the server has given up.
pub(crate) fn wait_ready(
    logs: &[PathBuf],
    is_alive: impl Fn() -> Result<bool>,
    is_ready: impl Fn() -> Result<bool>,
) -> Result<()> {
    let mut alive = true;
    let mut ready = false;
    wait_until(READY_LIMIT, || {
        ready = is_ready()?;
        alive = is_alive()?;
        Ok(ready || !alive)
    })?;
    if ready {
        return Ok(());
    }
    let what = if alive { format!("not ready after {READY_LIMIT:?}") } else { "it ended while it started".to_owned() };
    let share = LOG_LINES / logs.len().max(1);
    let logs: Vec<String> = logs.iter().map(|log| format!("{}:\n{}", log.display(), tail(log, share))).collect();
    bail!("{what}\n\nthe last lines of {}", logs.join("\n"));
}

/// Refuses a port that somebody else listens on.
pub(crate) fn require_free(port: u16) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!(
                "port {port} on 127.0.0.1 is in use by a process of somebody else (perhaps the services of another \
                 checkout); stop it, `ss -ltnp 'sport = {port}'` shows which it is"
            )
        }
        Err(error) => Err(error).with_context(|| format!("trying port {port} on 127.0.0.1")),
    }
}

/// Whether nobody listens on a port.
#[cfg(feature = "torture")]
pub(crate) fn is_free(port: u16) -> bool {
    require_free(port).is_ok()
}

/// Removes a folder with everything in it; none is fine.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a file; none is fine.
pub(crate) fn remove_file(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// A process's number as a file or the kernel writes it.
pub(super) fn parse_pid(text: &str) -> Option<u32> {
    // Zero and negative numbers would name whole process groups to `kill`.
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Whether `path`, as /proc tells it, is that program; one that an upgrade has replaced carries a mark.
fn is_program(path: &Path, name: &str) -> bool {
    let file = path.file_name().and_then(|file| file.to_str());
    file.is_some_and(|file| file.strip_suffix(" (deleted)").unwrap_or(file) == name)
}

/// Sends a signal by name; one who has ended meanwhile is no error.
pub(crate) fn send(signal: &str, pids: &[u32]) -> Result<()> {
    if pids.is_empty() {
        return Ok(());
    }
    // The shell's own `kill`: small systems have no other.
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill \"$@\"", "kill", &format!("-{signal}")]).args(pids.iter().map(u32::to_string));
    kill.stderr(Stdio::null()).status().context("running kill")?;
    Ok(())
}

/// Whether `done` came true within the limit.
#[expect(clippy::disallowed_methods, reason = "no runtime here, and other programs' state can only be asked again")]
pub(super) fn wait_until(limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<bool> {
    let begun = Instant::now();
    loop {
        if done()? {
            return Ok(true);
        }
        if begun.elapsed() >= limit {
            return Ok(false);
        }
        thread::sleep(STEP);
    }
}

fn tail(log: &Path, count: usize) -> String {
    match fs::read(log) {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes), count),
        Err(error) => format!("  ({error})"),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let kept = &lines[lines.len().saturating_sub(count)..];
    kept.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_number_of_one_process_is_a_pid() {
        assert_eq!(parse_pid("4711\n"), Some(4711));
        for text in ["", "0", "-1", "self", "12 13", "99999999999"] {
            assert_eq!(parse_pid(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_program_is_known_by_its_whole_name() {
        assert!(is_program(Path::new("/usr/bin/etcd"), "etcd"));
        assert!(is_program(Path::new("/usr/bin/etcd (deleted)"), "etcd"));
        assert!(!is_program(Path::new("/usr/bin/etcdctl"), "etcd"));
        assert!(!is_program(Path::new("/etcd/bash"), "etcd"));
    }

    #[test]
    fn the_last_lines_are_kept() {
        let text = (1..=30).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        let kept = last_lines(&text, 20);
        assert_eq!(kept.lines().count(), 20);
        assert!(kept.starts_with("  line 11\n") && kept.ends_with("  line 30"));
        assert_eq!(last_lines("", 20), "");
    }

    #[test]
    fn a_port_in_use_is_told() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        assert!(require_free(port).unwrap_err().to_string().contains(&format!("port {port} ")));
        drop(held);
        require_free(port).unwrap();
    }
}
