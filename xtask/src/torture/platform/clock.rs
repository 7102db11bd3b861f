//! Clocks of processes that step: an hour forward or back, and right again. Each process reads its own from a file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::world::World;
use crate::platform::site::Site;

const SHARED_MEMORY: &str = "/dev/shm";
/// What the library leaves there of a process that was killed, with the process's number behind it.
const LEFT: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];

/// All clocks are right, before their processes start.
pub(super) fn set_right(site: &Site) -> Result<()> {
    site.parts().iter().filter(|part| part.is_asked()).try_for_each(|part| set(site, &part.name, 0))
}

/// From within a second on the process's clock is off by so many hours.
pub(super) fn set(site: &Site, process: &str, hours: i32) -> Result<()> {
    let (path, text) = (site.clock(process), format!("{:+}\n", hours * 3_600));
    // Whole or not at all: half a number is another time.
    let half = path.with_extension("half");
    fs::write(&half, text).with_context(|| format!("writing {}", half.display()))?;
    fs::rename(&half, &path).with_context(|| format!("naming {}", path.display()))
}

/// Removes what the library has left behind of processes that are gone.
pub(super) fn sweep() -> Result<()> {
    for entry in fs::read_dir(SHARED_MEMORY).with_context(|| format!("reading {SHARED_MEMORY}"))? {
        let path = entry.context("reading shared memory")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let pid = LEFT.iter().find_map(|left| name.strip_prefix(left));
        // One that has ended and waits for its parent, which we are, runs no program.
        if pid.is_some_and(|pid| fs::read_link(Path::new("/proc").join(pid).join("exe")).is_err()) {
            crate::services::process::remove_file(&path)?;
        }
    }
    Ok(())
}

impl World {
    pub(super) fn step_clock(&self, process: &str, hours: i32) -> Result<()> {
        set(&self.site, process, hours)
    }
}
