//! `cargo xtask platform`: GoodGo as it would be deployed, several processes of each kind on real servers of their own,
//! behind a front door. [`site`] says what it is made of, `up` makes it, [`part`] is one of its processes.

mod part;
pub(crate) mod site;
#[cfg(feature = "torture")]
pub(crate) mod up;

use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::site::{PROGRAMS, Site};
use crate::services::process::{Group, remove};
use crate::services::say;

/// A process that is told to end has this long: what has begun is answered.
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Up,
    Down,
    Status,
}

/// Whether the words ask for what only the program with everything in it can do.
#[cfg(not(feature = "torture"))]
pub(crate) fn is_up(arguments: &[String]) -> bool {
    parse(arguments).is_ok_and(|action| action == Action::Up)
}

/// Carries out `platform ACTION`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let action = parse(arguments)?;
    let folder = root.join("target/platform");
    if action == Action::Down && !folder.exists() {
        say("platform  down (it was already)");
        return Ok(ExitCode::SUCCESS);
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    // Processes are recognised by their working folder, which the kernel tells without symbolic links.
    let folder = folder.canonicalize().with_context(|| format!("resolving {}", folder.display()))?;
    let lock = File::open(&folder).with_context(|| format!("opening {}", folder.display()))?;
    if action != Action::Status && lock.try_lock().is_err() {
        bail!("another `platform up` or `down` is at work in {}: wait for it", folder.display());
    }
    let site = Site::new(root, folder, site::FIRST_PORT);
    match action {
        Action::Up => up(&site),
        Action::Down => down(&site).map(|()| ExitCode::SUCCESS),
        Action::Status => status(&site),
    }
}

#[cfg(feature = "torture")]
fn up(site: &Site) -> Result<ExitCode> {
    up::make(site, &crate::programs()?)?;
    say("platform  up: `cargo xtask platform down` stops it and removes its data");
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "torture"))]
fn up(_: &Site) -> Result<ExitCode> {
    bail!("this build cannot start the platform: say `cargo xtask platform up`")
}

/// Ends everything, of a start that was cut short too, and removes it.
pub(crate) fn down(site: &Site) -> Result<()> {
    stop(site)?;
    for server in site.servers() {
        server.down(&site.folder).with_context(|| format!("{} did not go down", server.name()))?;
        say(&format!("{}  down", server.name()));
    }
    remove(&site.folder)?;
    say("platform  down");
    Ok(())
}

/// Ends the processes; the servers stay.
pub(crate) fn stop(site: &Site) -> Result<()> {
    let all = Group { programs: &PROGRAMS, folder: site.folder.clone() };
    all.stop("TERM", &all.running()?, STOP_LIMIT)
}

fn status(site: &Site) -> Result<ExitCode> {
    let mut all_up = true;
    for server in site.servers() {
        let status = server.status(&site.folder).with_context(|| format!("asking {}", server.name()))?;
        all_up &= status.is_up();
        say(&status.line(server.name()));
    }
    for part in site.parts() {
        let status = part.status(site)?;
        all_up &= status.is_up();
        say(&status.line(&part.name));
    }
    Ok(if all_up { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(arguments: &[String]) -> Result<Action> {
    match arguments {
        [action] => match action.as_str() {
            "up" => Ok(Action::Up),
            "down" => Ok(Action::Down),
            "status" => Ok(Action::Status),
            other => bail!("the platform cannot {other:?}: say up, down or status"),
        },
        [] => bail!("say what to do with the platform: up, down or status"),
        [_, extra, ..] => bail!("the platform knows no {extra:?}: say up, down or status alone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_says_what_to_do() {
        let parsed = |words: &[&str]| parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(parsed(&["status"]).unwrap(), Action::Status);
        for wrong in [&[] as &[_], &["start"], &["up", "--seed"]] {
            assert!(parsed(wrong).unwrap_err().to_string().contains("up, down or status"), "{wrong:?}");
        }
    }
}
