//! One PostgreSQL: `postgres://postgres@127.0.0.1:55432/postgres`, no password.

mod home;
#[cfg(feature = "torture")]
mod pair;

use std::path::Path;

use anyhow::Result;

use self::home::{Account, Home, Lock, program};
#[cfg(feature = "torture")]
pub(crate) use self::pair::Pair;
use super::install::install;
use super::process::require_free;
use super::{Service, Status};

const PACKAGES: [&str; 1] = ["postgresql"];
/// The folders of a server, and of the other of a pair.
const NAMES: [&str; 2] = ["postgres", "postgres-2"];

/// No socket in the file system: the usual folder belongs to the distribution's own cluster, and the name of one below a
/// deep workspace would be too long. Old log segments are kept so that a measurement can read them back.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 400
max_prepared_transactions = 50
wal_keep_size = '1GB'
";

/// One server; each on a port of its own may have the same workspace.
pub(crate) struct Postgres {
    pub(crate) port: u16,
}

impl Postgres {
    pub(super) const DEVELOPMENT: Self = Self { port: 55432 };

    /// Stops the server as a crash would: its sessions end at once, and the next start recovers from the log.
    #[cfg(feature = "torture")]
    pub(crate) fn halt(target: &Path) -> Result<()> {
        NAMES.iter().try_for_each(|name| Home::existing(target, name)?.stop())
    }

    /// Data on a disk of its own is brought to where it would lie without one. Of stopped servers.
    #[cfg(feature = "torture")]
    pub(crate) fn keep_without_disk(target: &Path) -> Result<()> {
        NAMES.iter().try_for_each(|name| Home::existing(target, name)?.keep_without_disk())
    }

    /// Whether data that lies in this folder lies on a disk of its own.
    #[cfg(feature = "torture")]
    pub(crate) fn has_disk(target: &Path) -> Result<bool> {
        NAMES.iter().try_fold(false, |has, name| Ok(has || Home::existing(target, name)?.has_disk()))
    }
}

impl Service for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn install(&self) -> Result<()> {
        install_missing(&["initdb", "postgres"])
    }

    fn up(&self, target: &Path) -> Result<()> {
        let account = Account::choose()?;
        let mut home = Home::existing(target, NAMES[0])?;
        // Half of a start, or the orphans of a server that was killed.
        home.stop()?;
        require_free(self.port)?;
        if !home.complete().exists() {
            home.clear(&account)?;
            home = Home::create(target, NAMES[0], &account)?;
            home.initialise(&account, self.port, "")?;
        }
        let outcome = home.start(&account);
        if outcome.is_err() {
            home.stop()?;
        }
        outcome
    }

    fn down(&self, target: &Path) -> Result<()> {
        NAMES.iter().try_for_each(|name| Home::remove(target, name))
    }

    fn status(&self, target: &Path) -> Result<Status> {
        let home = Home::existing(target, NAMES[0])?;
        let postmaster = home.postmaster()?;
        let fault = match postmaster {
            None => Some("not running"),
            Some(Lock { is_ready: false, .. }) => Some("not ready"),
            Some(_) => None,
        };
        Ok(Status {
            fault: fault.map(str::to_owned),
            address: format!("127.0.0.1:{}", self.port),
            pids: postmaster.iter().map(|lock| lock.pid).collect(),
            folder: home.folder.display().to_string(),
        })
    }
}

fn install_missing(programs: &[&'static str]) -> Result<()> {
    let missing: Vec<&str> = programs.iter().copied().filter(|name| program(name).is_none()).collect();
    if missing.is_empty() { Ok(()) } else { install(&PACKAGES, &missing) }
}
