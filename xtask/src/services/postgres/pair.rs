//! Two PostgreSQL servers, of which one is the primary and the other its standby, until they change places. The data of each
//! lies on a small disk of its own where one may be mounted, so that it can be filled.
//!
//! Which is which stands in their folders: a standby has a file that says so, and a former primary is no complete server any
//! more. Clients are told where the primary is by whoever uses this ([`Pair::primary`]).

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::home::{Account, Home, required};
use super::{NAMES, install_missing};
use crate::services::process::{finish, read, remove_file, require_free, wait_until};
use crate::services::{Service, Status};

/// Of each disk, in MiB: several times of what a run writes.
const DISK: u32 = 1536;
const SLOT: &str = "standby";
/// What may be kept of the log is bounded by the disk.
const SETTINGS: &str = "
wal_keep_size = '64MB'
max_wal_size = '256MB'
max_slot_wal_keep_size = '512MB'
wal_retrieve_retry_interval = '200ms'
";
const PIECES: [usize; 2] = [1 << 20, 1 << 12];
const STREAM_LIMIT: Duration = Duration::from_secs(30);

/// A primary and its standby.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) ports: [u16; 2],
    /// Whether a commit is answered only once both have it.
    pub(crate) is_synchronous: bool,
}

impl Pair {
    /// The port of the primary.
    pub(crate) fn primary(self, target: &Path) -> Result<u16> {
        Ok(self.members(target)?.0.port)
    }

    /// Stops the primary as a crash would.
    pub(crate) fn crash_primary(self, target: &Path) -> Result<()> {
        self.members(target)?.0.home.stop()
    }

    /// Stops the standby as a crash would.
    pub(crate) fn crash_standby(self, target: &Path) -> Result<()> {
        self.members(target)?.1.home.stop()
    }

    /// Waits until the standby keeps up, and commits wait for it where they shall.
    pub(crate) fn wait_in_step(self, target: &Path) -> Result<()> {
        let (primary, _) = self.members(target)?;
        let states = if self.is_synchronous { "'sync', 'quorum'" } else { "'async'" };
        let sql =
            &format!("select count(*) from pg_stat_replication where state = 'streaming' and sync_state in ({states})");
        if !wait_until(STREAM_LIMIT, || Ok(primary.sql(&[sql]).is_ok_and(|count| count == "1")))? {
            bail!("the standby does not keep up with its primary after {STREAM_LIMIT:?}");
        }
        Ok(())
    }

    /// The standby receives nothing more: from now on it falls behind.
    pub(crate) fn let_fall_behind(self, target: &Path) -> Result<()> {
        let (_, standby) = self.members(target)?;
        standby.sql(&["alter system set primary_conninfo = ''", "select pg_reload_conf()"])?;
        Ok(())
    }

    /// Stops the primary as a crash would and makes the standby the primary, without a standby of its own for now.
    pub(crate) fn promote(self, target: &Path) -> Result<()> {
        let (former, standby) = self.members(target)?;
        former.home.stop()?;
        standby.sql(&["select pg_promote(true, 60)"])?;
        // Never again to be started as it is.
        remove_file(&former.home.complete())
    }

    /// Makes a standby where there is none: anew, from the primary.
    pub(crate) fn renew_standby(self, target: &Path) -> Result<()> {
        let account = Account::choose()?;
        let (primary, other) = self.members(target)?;
        if other.home.is_standby() {
            return Ok(());
        }
        other.home.stop()?;
        other.home.clear(&account)?;
        other.create(target, &account, |home| {
            let mut copy = account.command(required("pg_basebackup")?, &home.folder);
            copy.args(["-h", "127.0.0.1", "-p", &primary.port.to_string(), "-U", "postgres", "--checkpoint=fast"]);
            copy.args(["-X", "stream", "--create-slot", "--slot", SLOT, "--write-recovery-conf", "-D"]);
            finish(copy.arg(home.data()))?;
            // As a primary it waits for nobody, until it has a standby.
            let own = format!("synchronous_standby_names = ''\nport = {}\n", other.port);
            let mut settings = File::options().append(true).open(home.data().join("postgresql.auto.conf"))?;
            settings.write_all(own.as_bytes()).context("adding the standby's settings")
        })?;
        self.follow(target)
    }

    /// Fills the disk of the primary to the last byte, if it has one of its own.
    pub(crate) fn fill_disk(self, target: &Path) -> Result<()> {
        let (primary, _) = self.members(target)?;
        if !primary.home.has_disk() {
            return Ok(());
        }
        let path = primary.home.data().join("ballast");
        let mut ballast = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        for size in PIECES {
            let piece = vec![0; size];
            loop {
                match ballast.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).with_context(|| format!("filling {}", path.display())),
                }
            }
        }
        Ok(())
    }

    /// Gives the space back.
    pub(crate) fn empty_disk(target: &Path) -> Result<()> {
        NAMES.iter().try_for_each(|name| remove_file(&Home::existing(target, name)?.data().join("ballast")))
    }

    /// The primary, and the other.
    fn members(self, target: &Path) -> Result<(Member, Member)> {
        let [first, second] = [0, 1].map(|index| Member::new(target, NAMES[index], self.ports[index]));
        let (first, second) = (first?, second?);
        Ok(if !first.home.is_primary() && second.home.is_primary() { (second, first) } else { (first, second) })
    }

    /// Commits wait for the standby from now on, where they shall.
    fn follow(self, target: &Path) -> Result<()> {
        let (primary, _) = self.members(target)?;
        if self.is_synchronous {
            primary.sql(&["alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"])?;
        }
        self.wait_in_step(target)
    }
}

impl Service for Pair {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn install(&self) -> Result<()> {
        install_missing(&["initdb", "postgres", "pg_basebackup", "psql"])
    }

    /// Starts whichever does not run; one that has never been there is made.
    fn up(&self, target: &Path) -> Result<()> {
        let account = Account::choose()?;
        let (primary, other) = self.members(target)?;
        if primary.home.complete().exists() {
            primary.start(&account)?;
        } else {
            primary.home.clear(&account)?;
            let port = primary.port;
            primary.create(target, &account, |home| home.initialise(&account, port, SETTINGS))?;
        }
        if other.home.is_standby() { other.start(&account) } else { self.renew_standby(target) }
    }

    fn down(&self, target: &Path) -> Result<()> {
        NAMES.iter().try_for_each(|name| Home::remove(target, name))
    }

    fn status(&self, target: &Path) -> Result<Status> {
        let (primary, other) = self.members(target)?;
        let (mut faults, mut pids) = (Vec::new(), Vec::new());
        for (what, member) in [("primary", &primary), ("standby", &other)] {
            let lock = member.home.postmaster()?;
            pids.extend(lock.map(|lock| lock.pid));
            if !lock.is_some_and(|lock| lock.is_ready) {
                faults.push(format!("no {what}"));
            }
        }
        let fault = (!faults.is_empty()).then(|| faults.join(", "));
        let address = format!("127.0.0.1:{},127.0.0.1:{}", primary.port, other.port);
        Ok(Status::new(fault, address, pids, primary.home.folder.display().to_string()))
    }
}

struct Member {
    home: Home,
    name: &'static str,
    port: u16,
}

impl Member {
    fn new(target: &Path, name: &'static str, port: u16) -> Result<Self> {
        Ok(Self { home: Home::existing(target, name)?, name, port })
    }

    /// Starts it, unless it runs. One that is just coming back by itself is given the time.
    fn start(&self, account: &Account) -> Result<()> {
        let is_back = || Ok(self.home.postmaster()?.is_none_or(|lock| lock.is_ready));
        if wait_until(STREAM_LIMIT, is_back)? && self.home.postmaster()?.is_some() {
            return Ok(());
        }
        self.home.stop()?;
        self.home.start(account)
    }

    /// Makes its folder, on a disk of its own where that is allowed, lets `fill` make the data, and starts it.
    fn create(&self, target: &Path, account: &Account, fill: impl FnOnce(&Home) -> Result<()>) -> Result<()> {
        require_free(self.port)?;
        let home = Home::create(target, self.name, account)?;
        home.take_disk(account, DISK)?;
        fill(&home)?;
        home.start(account)
    }

    /// Carries out statements, each a transaction of its own; what the last answers.
    fn sql(&self, statements: &[&str]) -> Result<String> {
        let mut psql = Command::new(required("psql")?);
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "postgres",
        ]);
        psql.env("PGCONNECT_TIMEOUT", "5").args(["-p", &self.port.to_string()]);
        for statement in statements {
            psql.args(["-c", statement]);
        }
        let said = read(&mut psql)?;
        Ok(said.lines().last().unwrap_or_default().trim().to_owned())
    }
}

impl Home {
    fn is_standby(&self) -> bool {
        self.data().join("standby.signal").exists()
    }

    fn is_primary(&self) -> bool {
        self.complete().exists() && !self.is_standby()
    }
}
