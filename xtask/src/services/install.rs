//! Missing programs, from the packages of Debian and Ubuntu.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use super::say;

/// The path of a program: in one of `folders`, else where the shell would find it.
pub(crate) fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    folders
        .iter()
        .cloned()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether this process may do everything.
pub(super) fn is_root() -> Result<bool> {
    Ok(id(&["-u"])? == 0)
}

/// What `id` answers: a number of a user or a group.
pub(super) fn id(arguments: &[&str]) -> Result<u32> {
    let output = Command::new("id").args(arguments).output().context("running id")?;
    if !output.status.success() {
        bail!("id {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("id {} answered {text:?}", arguments.join(" ")))
}

/// Installs packages by apt-get and says so; on other systems names them.
pub(super) fn install(packages: &[&str], missing: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    let missing = missing.join(", ");
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian(&system) || find("apt-get", &[]).is_none() {
        bail!(
            "not found: {missing}. Only Debian and Ubuntu are installed on by themselves: install what these packages \
             of theirs hold, and put it on PATH: {names}"
        );
    }
    let is_root = is_root()?;
    if !is_root && find("sudo", &[]).is_none() {
        bail!("not found: {missing}. Install it as root: apt-get install --no-install-recommends {names}");
    }
    say(&format!("not found: {missing}; installing {names}"));
    apt(is_root, &["update", "-q"])?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    apt(is_root, &[install.as_slice(), packages].concat())
}

/// What compiles the C and the protocol descriptions inside our dependencies, for all features.
pub(crate) fn build_tools() -> Result<()> {
    let mut packages = Vec::new();
    let mut missing = Vec::new();
    for (program, package) in [("protoc", "protobuf-compiler"), ("make", "make"), ("gcc", "gcc"), ("g++", "g++")] {
        if find(program, &[]).is_none() {
            missing.push(program);
            packages.push(package);
        }
    }
    if find("protoc", &[]).is_none() && !Path::new("/usr/include/google/protobuf/descriptor.proto").exists() {
        missing.push("google/protobuf/descriptor.proto");
        packages.push("libprotobuf-dev");
    }
    if missing.is_empty() { Ok(()) } else { install(&packages, &missing) }
}

/// What stands before several processes of a kind.
#[cfg(feature = "torture")]
pub(crate) fn haproxy() -> Result<()> {
    match find("haproxy", &[PathBuf::from("/usr/sbin")]) {
        Some(_) => Ok(()),
        None => install(&["haproxy"], &["haproxy"]),
    }
}

/// The library that tells a process another time, where it is preloaded.
#[cfg(feature = "torture")]
pub(crate) fn faketime() -> Result<PathBuf> {
    const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
    let found = || {
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
        folders.map(|folder| folder.join(LIBRARY)).find(|file| file.is_file())
    };
    if found().is_none() {
        install(&["libfaketime"], &["libfaketimeMT.so.1"])?;
    }
    found().with_context(|| format!("{LIBRARY} is in no folder below /usr/lib"))
}

fn apt(is_root: bool, arguments: &[&str]) -> Result<()> {
    let prefix: &[&str] = if is_root { &[] } else { &["sudo"] };
    let words = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat();
    say(&format!("$ {}", words.join(" ")));
    let status = Command::new(words[0]).args(&words[1..]).current_dir(Path::new("/")).status();
    let status = status.with_context(|| format!("starting {}", words[0]))?;
    if !status.success() {
        bail!("{} ended with {status}", words.join(" "));
    }
    Ok(())
}

/// Whether /etc/os-release tells of Debian or of a system made from it.
fn is_debian(os_release: &str) -> bool {
    let values =
        os_release.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| matches!(*key, "ID" | "ID_LIKE"));
    values.flat_map(|(_, value)| value.trim_matches('"').split(' ')).any(|id| matches!(id, "debian" | "ubuntu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_children_are_recognised() {
        assert!(is_debian("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"));
        assert!(is_debian("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nHOME_URL=\"https://debian\"\n"));
        assert!(!is_debian(""));
    }

    #[test]
    fn a_program_is_found_in_the_given_folder_or_on_path() {
        assert!(find("sh", &[]).is_some());
        assert_eq!(find("sh", &[PathBuf::from("/bin")]), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find("no-such-program", &[]), None);
    }
}
