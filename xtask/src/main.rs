//! The workspace's own tasks: `cargo xtask test` runs every test, `cargo xtask ci` everything that a change must pass,
//! `cargo xtask services` the servers that development and tests talk to, `cargo xtask platform` GoodGo as it would be
//! deployed, `cargo xtask torture` the fault campaigns.

mod platform;
mod services;
#[cfg(feature = "torture")]
mod torture;

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
usage: cargo xtask TASK

  test    starts the servers, then every test of the workspace, in one optimised profile; the servers stay up
  ci      formatting, clippy, documentation, licences and sources, then `test`, then a minute or more of each torture, then a
          month of invoices through a whole platform

  services up|down|status [postgres] [etcd] [redis] [kafka] [--brokers 3]
          servers on loopback, all of them when none is named: `up` installs what is missing, starts and waits,
          `down` stops and removes the data, `status` tells each and fails unless all are up
          postgres  127.0.0.1:55432, user and database postgres, no password
          etcd      127.0.0.1:23791, 23792 and 23793
          redis     a cluster at 127.0.0.1:7001 to 7006, one server that keeps every write at 127.0.0.1:16399
          kafka     127.0.0.1:19092; with --brokers 3 also 19094 and 19096

  platform up|down|status
          GoodGo as it would be deployed, on servers of its own: three replicas of each service, two orchestrators, two relays,
          two projectors, and HAProxy before them; `up` builds, installs what is missing, starts and waits, `down` stops and
          removes the data, `status` tells each and fails unless all are up; goodgo/production.toml says where they are

  torture saga [--minutes N | --seconds N] [--seed S] [--without-barrier]
          real processes and servers of its own, killed, stopped and cut off by the seed's timeline, then checked;
          the last line is a JSON summary, the exit code tells; a failing run keeps its logs below target/torture;
          without its participants' barriers it must fail, which proves that its checks see

  torture outbox [--minutes N | --seconds N] [--seed S] [--without-deduplication]
          the same from a committed row through relays, Kafka and projectors to a read model; `torture projection` is another
          name of it; with a consumer that applies again what comes again it must fail

  torture idempotency [--minutes N | --seconds N] [--seed S] [--without-store | --without-compare]
          the same to a service that charges, twice over each store of keys: PostgreSQL in both forms, Redis, a cluster that
          loses its masters; every key is sent until its answer is known; repeats are counted for each failover; without a
          store it must fail, and where a late finisher overwrites what stands there

  torture platform [--minutes N | --seconds N] [--seed S] [--without-synchrony]
          a whole platform as `platform up` makes it, but with three brokers and a proxy between any two, while `steadfast demo`
          replays invoices through it: processes killed, paused or told to end, their clocks stepped, ways cut and held, servers
          killed, PostgreSQL's disk filled and its standby promoted; the demo's check judges; as root, or no disk is filled;
          where commits do not wait for the standby it must fail, since what was answered is lost with the primary
";

/// Names a folder of other builds of the programs, such as unoptimised ones; then nothing is built.
const PROGRAMS: &str = "XTASK_PROGRAMS";
/// The seed of the runs in `ci`: the same faults at the same moments for everybody.
const CI_SEED: &str = "20260101";
const CI_SECONDS: &str = "60";
/// The platform has more to be hit than the others.
const CI_PLATFORM_SECONDS: &str = "90";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (task, rest) =
        arguments.split_first().map_or((String::new(), [].as_slice()), |(task, rest)| (task.clone(), rest));
    let outcome = match task.as_str() {
        "test" => test(),
        "ci" => ci(),
        "services" => return services::run(root()?, rest),
        "platform" => return platform(rest),
        "torture" => return torture(rest),
        #[cfg(feature = "torture")]
        "torture-participant" => return torture::participant(rest),
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
    services::build_tools()?;
    if services::run(root()?, &["up".to_owned()])? != ExitCode::SUCCESS {
        bail!("the servers that the tests need are not up");
    }
    // The end-to-end tests kill and start the real binary.
    build_processes()?;
    cargo(["test", "--release", "--workspace", "--all-features", "--no-fail-fast"])
}

fn ci() -> Result<()> {
    if root()?.join("target/platform").exists() {
        bail!(
            "a platform is up, and `ci` would replay its invoices through it: `cargo xtask platform down` removes it"
        );
    }
    services::build_tools()?;
    cargo(["fmt", "--all", "--check"])?;
    // In the profile of the tests: what they need of build scripts, C libraries and macros is compiled here already.
    cargo(["clippy", "--release", "--workspace", "--all-features", "--all-targets", "--", "--deny", "warnings"])?;
    let mut doc = Command::new(cargo_path());
    doc.args(["doc", "--release", "--workspace", "--all-features", "--no-deps"]);
    run(doc.env("RUSTDOCFLAGS", "--deny warnings"))?;
    deny()?;
    test()?;
    for (campaign, seconds) in
        [("saga", CI_SECONDS), ("outbox", CI_SECONDS), ("idempotency", CI_SECONDS), ("platform", CI_PLATFORM_SECONDS)]
    {
        run(whole()?.args(["torture", campaign, "--seconds", seconds, "--seed", CI_SEED]))?;
    }
    month()
}

/// A month of invoices through a platform of several processes, which is taken down whatever comes of it.
fn month() -> Result<()> {
    let replay = || {
        run(whole()?.args(["platform", "up"]))?;
        run(Command::new(programs()?.join("steadfast")).args(["demo", "--config", "goodgo/production.toml"]))
    };
    let replayed = replay();
    let down = run(whole()?.args(["platform", "down"]));
    replayed.and(down)
}

/// What the end-to-end tests and the torture start: of the whole workspace with all features, as the tests are built, so that
/// one build serves all.
fn build_processes() -> Result<()> {
    cargo(["build", "--release", "--workspace", "--all-features", "--bins", "--example", "charges"])
}

#[cfg(feature = "torture")]
fn torture(arguments: &[String]) -> Result<ExitCode> {
    torture::run(root()?, arguments)
}

/// This build has no runtime and no database client in it, so that `cargo xtask` is ready at once; the torture has.
#[cfg(not(feature = "torture"))]
fn torture(arguments: &[String]) -> Result<ExitCode> {
    become_whole("torture", arguments)
}

#[cfg(feature = "torture")]
fn platform(arguments: &[String]) -> Result<ExitCode> {
    platform::run(root()?, arguments)
}

/// What only looks or ends needs nothing built.
#[cfg(not(feature = "torture"))]
fn platform(arguments: &[String]) -> Result<ExitCode> {
    if platform::is_up(arguments) { become_whole("platform", arguments) } else { platform::run(root()?, arguments) }
}

#[cfg(not(feature = "torture"))]
fn become_whole(task: &str, arguments: &[String]) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;

    if !arguments.is_empty() && env::var_os(PROGRAMS).is_none() {
        services::build_tools()?;
        build_processes()?;
    }
    let mut whole = whole()?;
    whole.arg(task).args(arguments).current_dir(root()?);
    // In the same process: a signal to the one reaches the other.
    Err(whole.exec()).with_context(|| format!("starting {whole:?}"))
}

/// This program with everything in it, as `build_processes` has left it.
fn whole() -> Result<Command> {
    Ok(Command::new(programs()?.join("xtask")))
}

/// Where the programs are.
fn programs() -> Result<PathBuf> {
    let folder = env::var_os(PROGRAMS).map_or(root()?.join("target/release"), PathBuf::from);
    // Processes are started in folders of their own.
    folder.canonicalize().with_context(|| format!("the folder of programs, {}", folder.display()))
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
