//! The processes of a run: started, killed, paused and started again by name.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::services::process::send;

/// How a process is started, each time alike.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    /// Where it works; by it the run's processes are told from others.
    pub(super) folder: PathBuf,
}

/// One process, running or not.
#[derive(Debug)]
pub(super) struct Process {
    recipe: Recipe,
    child: Option<Child>,
}

impl Process {
    pub(super) fn new(recipe: Recipe) -> Self {
        Self { recipe, child: None }
    }

    /// Starts it, unless it runs. Its output is appended to `NAME.log` in its folder.
    pub(super) fn start(&mut self) -> Result<()> {
        if self.is_running()? {
            return Ok(());
        }
        let Recipe { name, program, arguments, environment, folder } = &self.recipe;
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("opening {}", log.display()))?;
        let errors = output.try_clone().context("sharing the log between output and errors")?;
        let mut command = Command::new(program);
        // Nothing of the environment of whoever runs this may change what is tested.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(environment.iter().cloned()).args(arguments).current_dir(folder);
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0).kill_on_drop(true);
        self.child = Some(command.spawn().with_context(|| format!("starting {name}"))?);
        Ok(())
    }

    pub(super) fn is_running(&mut self) -> Result<bool> {
        let Some(child) = &mut self.child else { return Ok(false) };
        Ok(child.try_wait().with_context(|| format!("looking for {}", self.recipe.name))?.is_none())
    }

    /// kill -9, at once.
    pub(super) async fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().await.with_context(|| format!("killing {}", self.recipe.name))
    }

    /// Tells it to end and waits; who stays longer than `patience` is killed. Whether it went by itself.
    pub(super) async fn terminate(&mut self, patience: Duration) -> Result<bool> {
        self.signal("TERM")?;
        let Some(child) = &mut self.child else { return Ok(true) };
        let went = timeout(patience, child.wait()).await.is_ok();
        self.kill().await?;
        Ok(went)
    }

    /// STOP and CONT, for instance.
    pub(super) fn signal(&self, name: &str) -> Result<()> {
        match self.child.as_ref().and_then(Child::id) {
            Some(pid) => send(name, &[pid]),
            None => Ok(()),
        }
    }

    /// The most memory that it has had since it was started, in MiB.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        let pid = self.child.as_ref().and_then(Child::id)?;
        peak_of(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }
}

/// The peak of resident memory in `/proc/PID/status`, in MiB: `VmHWM:     4711 kB`.
fn peak_of(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    kib.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(name: &str) -> Process {
        Process::new(Recipe {
            name: format!("xtask-{name}-{}", std::process::id()),
            program: PathBuf::from("sleep"),
            arguments: vec!["60".to_owned()],
            environment: Vec::new(),
            folder: std::env::temp_dir(),
        })
    }

    #[test]
    fn the_peak_of_memory_is_in_the_kernels_words() {
        assert_eq!(peak_of("VmPeak:\t   90000 kB\nVmHWM:\t   20480 kB\nVmRSS:\t    1024 kB\n"), Some(20));
        assert_eq!(peak_of("Name:\tx\n"), None);
    }

    #[tokio::test]
    async fn a_process_is_killed_started_again_and_told_to_end() {
        let mut process = sleeper("sleeper");
        assert!(!process.is_running().unwrap());
        process.start().unwrap();
        let first = process.child.as_ref().and_then(Child::id);
        process.start().unwrap();
        assert_eq!(process.child.as_ref().and_then(Child::id), first, "one that runs is left alone");
        process.kill().await.unwrap();
        assert!(!process.is_running().unwrap());
        process.start().unwrap();
        assert_ne!(process.child.as_ref().and_then(Child::id), first);
        assert!(process.terminate(Duration::from_secs(10)).await.unwrap(), "sleep ends at TERM");
        std::fs::remove_file(std::env::temp_dir().join(format!("{}.log", process.recipe.name))).unwrap();
    }
}
