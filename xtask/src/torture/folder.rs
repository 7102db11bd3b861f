//! Where a run lives: `target/torture/CAMPAIGN-SEED`. Its servers, logs, configurations, and copies of the programs it
//! runs, so that a build beside it changes nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::services::Service as _;
use crate::services::etcd::Etcd;
use crate::services::kafka::Kafka;
use crate::services::postgres::Postgres;
use crate::services::process::{Group, is_free, remove};

const FIRST_PORT: u16 = 20_000;
/// Below the ports that the kernel gives to clients.
const LAST_PORT: u16 = 32_000;
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Programs that a run starts itself; Debian's `redis-server` is a link to one of its siblings.
const PROGRAMS: [&str; 10] = [
    "steadfast",
    "xtask",
    "charges",
    "redis-server",
    "redis-check-rdb",
    "redis-check-aof",
    "goodgo-order",
    "goodgo-payment",
    "goodgo-inventory",
    "haproxy",
];

/// The folder of one run; nobody else has it until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    seed: u64,
    _lock: File,
}

impl Folder {
    /// Takes it, and ends whatever a run that was killed has left in it.
    pub(super) fn take(root: &Path, campaign: &str, seed: u64) -> Result<Self> {
        let path = root.join("target/torture").join(format!("{campaign}-{seed}"));
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        // Processes are recognised by their working folder, which the kernel tells without symbolic links.
        let path = path.canonicalize().with_context(|| format!("resolving {}", path.display()))?;
        let above = path.parent().context("the folder of all runs")?;
        let lock_path = above.join(format!(".{campaign}-{seed}.lock"));
        let lock = File::create(&lock_path).with_context(|| format!("creating {}", lock_path.display()))?;
        if lock.try_lock().is_err() {
            bail!("a run with seed {seed} is going on: wait for it, or take another seed");
        }
        let folder = Self { path, seed, _lock: lock };
        folder.stop_all()?;
        folder.remove_data()?;
        folder.sweep()?;
        fs::create_dir_all(folder.path.join("bin")).context("creating the folder of programs")?;
        Ok(folder)
    }

    /// Ends what other runs that were killed have left on disks of their own, and takes these from them.
    fn sweep(&self) -> Result<()> {
        let above = self.path.parent().context("the folder of all runs")?;
        for entry in fs::read_dir(above).with_context(|| format!("reading {}", above.display()))? {
            let path = entry.context("reading the folder of all runs")?.path();
            if path == self.path || !path.is_dir() || !Postgres::has_disk(&path)? {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let lock = File::create(above.join(format!(".{name}.lock"))).context("looking whether a run goes on")?;
            if lock.try_lock().is_ok() {
                let left = Self { path: path.clone(), seed: 0, _lock: lock };
                left.stop_all()?;
                left.keep()?;
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file of the run.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.file(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// A copy of a program, under its own name.
    pub(super) fn program(&self, source: &Path, name: &str) -> Result<PathBuf> {
        let copy = self.path.join("bin").join(name);
        fs::copy(source, &copy).with_context(|| format!("copying {}", source.display()))?;
        Ok(copy)
    }

    /// A block of `count` ports that nobody listens on now.
    pub(super) fn ports(&self, count: u16) -> Result<u16> {
        self.ports_up_to(count, LAST_PORT)
    }

    /// The same, below a port.
    pub(super) fn ports_up_to(&self, count: u16, last: u16) -> Result<u16> {
        let blocks = (last - FIRST_PORT) / count;
        let from = u16::try_from(self.seed % u64::from(blocks))?;
        (0..blocks)
            .map(|step| FIRST_PORT + (from + step) % blocks * count)
            .find(|first| (*first..*first + count).all(is_free))
            .with_context(|| format!("no {count} ports in a row are free from {FIRST_PORT} to {last}"))
    }

    /// Ends every process of the run.
    pub(super) fn stop_all(&self) -> Result<()> {
        let ours = Group { programs: &PROGRAMS, folder: self.path.clone() };
        ours.stop("KILL", &ours.running()?, STOP_LIMIT)?;
        Postgres::halt(&self.path)?;
        Kafka::halt(&self.path)?;
        Etcd::halt(&self.path)
    }

    /// Leaves what a failed run has, and nothing of the machine's that is not a file.
    pub(super) fn keep(&self) -> Result<()> {
        Postgres::keep_without_disk(&self.path)
    }

    /// Removes everything, the servers' data included.
    pub(super) fn remove(&self) -> Result<()> {
        self.remove_data()?;
        remove(&self.path)?;
        // Fails, as it should, while another run has its folder here.
        if let Some(above) = self.path.parent() {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            drop(fs::remove_file(above.join(format!(".{name}.lock"))));
            drop(fs::remove_dir(above));
        }
        Ok(())
    }

    fn remove_data(&self) -> Result<()> {
        // The ports do not matter for what is not running.
        Postgres { port: 0 }.down(&self.path)?;
        Etcd { client_port: 0, peer_port: 0 }.down(&self.path)?;
        Kafka { brokers: None, port: 0, behind: None }.down(&self.path)?;
        for entry in fs::read_dir(&self.path).with_context(|| format!("reading {}", self.path.display()))? {
            let path = entry.context("reading the run's folder")?.path();
            if path.is_dir() { remove(&path)? } else { crate::services::process::remove_file(&path)? }
        }
        Ok(())
    }
}
