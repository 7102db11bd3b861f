//! The workspace's own tasks: `cargo xtask test` runs every test, `cargo xtask ci` everything that a change must pass,
//! `cargo xtask services` the servers that development and tests talk to.

mod services;

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
usage: cargo xtask TASK

  test    every test of the workspace, in one optimised profile
  ci      formatting, clippy, documentation, licences and sources, then `test`

  services up|down|status [postgres] [etcd]
          servers on loopback, all of them when none is named: `up` installs what is missing, starts and waits,
          `down` stops and removes the data, `status` tells each and fails unless all are up
          postgres  127.0.0.1:55432, user and database postgres, no password
          etcd      127.0.0.1:23791, 23792 and 23793
";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (task, rest) =
        arguments.split_first().map_or((String::new(), [].as_slice()), |(task, rest)| (task.clone(), rest));
    let outcome = match task.as_str() {
        "test" => test(),
        "ci" => ci(),
        "services" => return services::run(root()?, rest),
        "" | "help" | "--help" | "-h" => {
            show_help();
            Ok(())
        }
        other => bail!("there is no task {other:?}\n\n{HELP}"),
    };
    outcome.map(|()| ExitCode::SUCCESS)
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
    let status = command.current_dir(root()?).status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

fn root() -> Result<&'static Path> {
    // This file's package lies one folder below the workspace.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's folder")
}
