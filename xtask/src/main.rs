//! The workspace's own tasks: `cargo xtask test` runs every test, `cargo xtask ci` everything that a change must pass.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

const HELP: &str = "\
usage: cargo xtask TASK

  test    every test of the workspace, in one optimised profile
  ci      formatting, clippy, documentation, licences and sources, then `test`
";

fn main() -> Result<()> {
    let task = env::args().nth(1).unwrap_or_default();
    match task.as_str() {
        "test" => test(),
        "ci" => ci(),
        "" | "help" | "--help" | "-h" => {
            show_help();
            Ok(())
        }
        other => bail!("there is no task {other:?}\n\n{HELP}"),
    }
}

#[expect(clippy::print_stdout, reason = "this is where the help goes")]
fn show_help() {
    print!("{HELP}");
}

fn test() -> Result<()> {
    // The end-to-end tests kill and start the real binary.
    cargo(["build", "--release", "--package", "steadfast-server"])?;
    cargo(["test", "--release", "--workspace"])
}

fn ci() -> Result<()> {
    cargo(["fmt", "--all", "--check"])?;
    cargo(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    run(Command::new(cargo_path()).args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings"))?;
    deny()?;
    test()
}

/// Licences, bans and sources; advisories need a database from elsewhere and are left to a scheduled job.
fn deny() -> Result<()> {
    if run(Command::new(cargo_path()).args(["deny", "--version"])).is_err() {
        cargo(["install", "--locked", "cargo-deny"])?;
    }
    cargo(["deny", "check", "bans", "licenses", "sources"])
}

fn cargo<const N: usize>(arguments: [&str; N]) -> Result<()> {
    run(Command::new(cargo_path()).args(arguments))
}

fn cargo_path() -> impl AsRef<OsStr> {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn run(command: &mut Command) -> Result<()> {
    // This file's package lies one folder below the workspace.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's folder")?;
    let status = command.current_dir(root).status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
