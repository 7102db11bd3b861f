//! The folder of one server: made, started, stopped, removed; and the small disk that its data may lie on.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::SETTINGS;
use crate::services::install::{find, id, is_root};
use crate::services::process::{Group, finish, parse_pid, remove, remove_file, start, wait_ready};
use crate::services::say;

const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Whom the server runs as. PostgreSQL refuses root.
pub(super) struct Account {
    other: Option<(u32, u32)>,
}

impl Account {
    pub(super) fn choose() -> Result<Self> {
        if !is_root()? {
            return Ok(Self { other: None });
        }
        let ids = id(&["-u", "postgres"]).and_then(|user| Ok((user, id(&["-g", "postgres"])?)));
        Ok(Self { other: Some(ids.context("PostgreSQL does not run as root, and its user postgres is not there")?) })
    }

    pub(super) fn command(&self, program: impl AsRef<Path>, folder: &Path) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(folder);
        if let Some((user, group)) = self.other {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes a new folder and gives it to the account; whether the account can get there.
    fn make(&self, folder: &Path) -> Result<bool> {
        // Not `create_dir_all`: what stands there already is not ours, and may be a link to somewhere else.
        fs::create_dir(folder).with_context(|| format!("creating {}", folder.display()))?;
        let Some((user, group)) = self.other else { return Ok(true) };
        chown(folder, Some(user), Some(group)).with_context(|| format!("giving {} away", folder.display()))?;
        let mut probe = self.command("test", Path::new("/"));
        Ok(probe.arg("-w").arg(folder).status().context("running test")?.success())
    }
}

/// The folder of one server.
pub(super) struct Home {
    pub(super) folder: PathBuf,
}

impl Home {
    fn usual(target: &Path, name: &str) -> Self {
        Self { folder: target.join("services").join(name) }
    }

    /// For a workspace that the server's user may not enter.
    fn elsewhere(target: &Path, name: &str) -> Result<Self> {
        let temporary = Path::new("/var/tmp").canonicalize().context("resolving /var/tmp")?;
        Ok(Self { folder: temporary.join(format!("steadfast-{name}{}", flat_name(&target.display().to_string()))) })
    }

    pub(super) fn existing(target: &Path, name: &str) -> Result<Self> {
        let elsewhere = Self::elsewhere(target, name)?;
        Ok(if elsewhere.folder.exists() { elsewhere } else { Self::usual(target, name) })
    }

    pub(super) fn create(target: &Path, name: &str, account: &Account) -> Result<Self> {
        let services = target.join("services");
        fs::create_dir_all(&services).with_context(|| format!("creating {}", services.display()))?;
        let usual = Self::usual(target, name);
        remove(&usual.folder)?;
        if account.make(&usual.folder)? {
            return Ok(usual);
        }
        remove(&usual.folder)?;
        let elsewhere = Self::elsewhere(target, name)?;
        let place = elsewhere.folder.display();
        say(&format!("the user postgres may not enter {}; the data goes to {place}", usual.folder.display()));
        if account.make(&elsewhere.folder)? {
            return Ok(elsewhere);
        }
        remove(&elsewhere.folder)?;
        anyhow::bail!("the user postgres may not enter {place} either")
    }

    /// Stops whatever runs in either place, and removes it.
    pub(super) fn remove(target: &Path, name: &str) -> Result<()> {
        for home in [Self::usual(target, name), Self::elsewhere(target, name)?] {
            home.stop()?;
            if home.folder.exists() {
                home.clear(&Account::choose()?)?;
            }
        }
        Ok(())
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The file that tells a finished installation from the rest of one that was cut short.
    pub(super) fn complete(&self) -> PathBuf {
        self.folder.join("complete")
    }

    /// The lock file of a server that was killed and has not been started again since. On the same disk, to be renamed.
    fn killed(&self) -> PathBuf {
        self.data().join("killed.pid")
    }

    fn group(&self) -> Group {
        Group { programs: &["postgres"], folder: self.folder.clone() }
    }

    fn lock_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// The server's first process, if it runs. The file outlives a crash, so the process must be one of this folder.
    pub(super) fn postmaster(&self) -> Result<Option<Lock>> {
        let lock = fs::read_to_string(self.lock_file()).ok().and_then(|text| Lock::parse(&text));
        let running = self.group().running()?;
        Ok(lock.filter(|lock| running.contains(&lock.pid)))
    }

    /// Makes a new database, to be served on `port`; `more` are settings of its own.
    pub(super) fn initialise(&self, account: &Account, port: u16, more: &str) -> Result<()> {
        let mut initdb = account.command(required("initdb")?, &self.folder);
        initdb.arg("-D").arg(self.data());
        finish(initdb.args(["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C"]))?;
        let path = self.data().join("postgresql.conf");
        let read = fs::read_to_string(&path);
        let mut settings = read.with_context(|| format!("reading {}", path.display()))?;
        writeln!(settings, "{SETTINGS}{more}port = {port}").context("adding the settings")?;
        fs::write(&path, settings).with_context(|| format!("writing {}", path.display()))
    }

    pub(super) fn start(&self, account: &Account) -> Result<()> {
        self.forget_lock()?;
        let mut server = account.command(required("postgres")?, &self.folder);
        start(server.arg("-D").arg(self.data()), &self.log())?;
        let is_alive = || Ok(!self.group().running()?.is_empty());
        let is_ready = || Ok(self.postmaster()?.is_some_and(|lock| lock.is_ready));
        wait_ready(&[self.log()], is_alive, is_ready)?;
        // It has taken back what a killed one before it left.
        remove_file(&self.killed())?;
        fs::write(self.complete(), "").with_context(|| format!("writing {}", self.complete().display()))
    }

    pub(super) fn stop(&self) -> Result<()> {
        match self.postmaster()? {
            // QUIT ends the sessions, for which TERM would wait, and leaves out the checkpoint: whatever is stopped here
            // is removed, or recovers from its log.
            Some(lock) => self.group().stop("QUIT", &[lock.pid], STOP_LIMIT),
            None => self.group().stop("TERM", &self.group().running()?, STOP_LIMIT),
        }
    }

    /// Sets the lock file aside that a killed server has left. Only after `stop`, which has seen that
    /// nobody runs here: PostgreSQL itself asks whether the number is in use, and a stranger's or that of a dead process
    /// whose parent has not noticed yet would keep it from starting.
    fn forget_lock(&self) -> Result<()> {
        match fs::rename(self.lock_file(), self.killed()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("renaming {}", self.lock_file().display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the folder of a stopped server.
    pub(super) fn clear(&self, account: &Account) -> Result<()> {
        self.forget_lock()?;
        if let Some(postgres) = program("postgres").filter(|_| self.killed().exists()) {
            // A killed server has left shared memory, which is not in the folder; the next start gives it back. With
            // settings of our own: those of the folder may be why it does not run.
            let settings = self.folder.join("single.conf");
            fs::write(&settings, SETTINGS).with_context(|| format!("writing {}", settings.display()))?;
            let mut single = account.command(postgres, &self.folder);
            single.arg("--single").arg("-D").arg(self.data()).arg("-c");
            single.arg(format!("config_file={}", settings.display())).arg("postgres");
            if let Err(error) = finish(&mut single) {
                say(&format!("shared memory of the killed server may be left (`ipcs -m` shows it): {error:#}"));
            }
        }
        self.give_disk_back()?;
        remove(&self.folder)
    }
}

/// The data on a disk of its own.
impl Home {
    /// Gives the data of a new folder a disk of so many MiB; whether that could be done: only root may.
    #[cfg(feature = "torture")]
    pub(super) fn take_disk(&self, account: &Account, mib: u32) -> Result<bool> {
        let Some((user, group)) = account.other else { return Ok(false) };
        let data = self.data();
        fs::create_dir(&data).with_context(|| format!("creating {}", data.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700,uid={user},gid={group}"), "steadfast"]);
        let mounted = finish(mount.arg(&data));
        if let Err(error) = &mounted {
            say(&format!("no disk of its own for {}: {error:#}", data.display()));
            fs::remove_dir(&data).with_context(|| format!("removing {}", data.display()))?;
        }
        Ok(mounted.is_ok())
    }

    /// Whether the data lies on a disk of its own.
    pub(super) fn has_disk(&self) -> bool {
        let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
        device(&self.data()).is_some_and(|own| Some(own) != device(&self.folder))
    }

    /// The disk goes, and with it what is on it. Of a stopped server.
    fn give_disk_back(&self) -> Result<()> {
        if self.has_disk() { finish(Command::new("umount").arg(self.data())) } else { Ok(()) }
    }

    /// The disk goes, and what was on it stays. Of a stopped server.
    #[cfg(feature = "torture")]
    pub(super) fn keep_without_disk(&self) -> Result<()> {
        if !self.has_disk() {
            return Ok(());
        }
        let kept = self.folder.join("kept");
        finish(Command::new("cp").arg("-a").arg(self.data()).arg(&kept))?;
        self.give_disk_back()?;
        remove(&self.data())?;
        fs::rename(&kept, self.data()).with_context(|| format!("naming {}", self.data().display()))
    }
}

/// What the server writes about itself into `postmaster.pid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) pid: u32,
    pub(super) is_ready: bool,
}

impl Lock {
    /// The first line is the process, the eighth the state; a server that has just begun has written only some of them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = parse_pid(lines.next()?)?;
        Some(Self { pid, is_ready: lines.nth(6).is_some_and(|state| state.trim() == "ready") })
    }
}

/// Debian keeps the server's programs off PATH, in a folder for each version; the newest wins.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<u32> = versions.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|left, right| right.cmp(left));
    let folders: Vec<PathBuf> =
        versions.into_iter().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))).collect();
    find(name, &folders)
}

pub(super) fn required(name: &str) -> Result<PathBuf> {
    program(name).with_context(|| format!("{name} is neither below /usr/lib/postgresql nor on PATH"))
}

/// A path as one file name, different for different paths.
fn flat_name(path: &str) -> String {
    path.replace('%', "%25").replace('-', "%2d").replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_process_and_state() {
        let text = "4711\n/t/data\n1790000000\n55432\n\n127.0.0.1\n 55432001 65540\nready   \n";
        assert_eq!(Lock::parse(text), Some(Lock { pid: 4711, is_ready: true }));
        let starting = text.replace("ready   ", "starting");
        assert_eq!(Lock::parse(&starting), Some(Lock { pid: 4711, is_ready: false }));
        assert_eq!(Lock::parse("4711\n/t/data\n"), Some(Lock { pid: 4711, is_ready: false }));
    }

    #[test]
    fn a_lock_file_cut_short_or_of_one_user_mode_names_no_server() {
        for text in ["", "\n", "-4711\n/t/data\n", "rubbish\n"] {
            assert_eq!(Lock::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn different_paths_have_different_flat_names() {
        assert_eq!(flat_name("/home/me/steadfast/target"), "-home-me-steadfast-target");
        assert_ne!(flat_name("/a-b/c"), flat_name("/a/b-c"));
        assert_ne!(flat_name("/a%2db"), flat_name("/a-b"));
    }
}
