//! What the worlds of all campaigns stand on: the program under test, addresses, databases made by its own `migrate`, the
//! wait until somebody is ready, and what logs tell.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::json;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::{Instant, sleep};

use super::folder::Folder;
use super::http::ask;
use super::report::Report;

/// Names another build of the program under test, such as an unoptimised one.
const PROGRAM: &str = "XTASK_STEADFAST";
const READY_LIMIT: Duration = Duration::from_secs(30);
const READY_STEP: Duration = Duration::from_millis(100);
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// The run's copy of `steadfast`.
pub(super) fn steadfast(folder: &Folder) -> Result<PathBuf> {
    let built = match env::var_os(PROGRAM) {
        Some(path) => PathBuf::from(path),
        // The run's folder is `target/torture/NAME`.
        None => folder.path().ancestors().nth(2).context("the folder of builds")?.join("release/steadfast"),
    };
    folder.program(&built, "steadfast")
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(super) fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
}

/// A few connections for whoever looks on.
pub(super) fn pool(port: u16, database: &str) -> Result<PgPool> {
    let options = PgPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_secs(10));
    options.connect_lazy(&url(port, database)).with_context(|| format!("the database {database}"))
}

/// A database with its tables, made by the product's own `migrate`.
pub(super) async fn make_database(
    folder: &Folder,
    steadfast: &Path,
    port: u16,
    name: &str,
    tables: &str,
) -> Result<PgPool> {
    let create = sqlx::query(AssertSqlSafe(format!("create database \"{name}\"")));
    create.execute(&pool(port, "postgres")?).await.with_context(|| format!("creating the database {name}"))?;
    let mut migrate = tokio::process::Command::new(steadfast);
    migrate.env_clear().env("STEADFAST_DATABASE__URL", url(port, name)).args(["migrate", tables]);
    let output = migrate.current_dir(folder.path()).output().await.context("running steadfast migrate")?;
    if !output.status.success() {
        bail!("steadfast migrate {tables}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    pool(port, name)
}

/// Waits until `/readyz` says so.
pub(super) async fn wait_ready(address: SocketAddr, who: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let reply = ask(address, Method::GET, "/readyz", &[], None, ASK_LIMIT).await;
        if reply.as_ref().is_ok_and(|reply| reply.status < 300) {
            return Ok(());
        }
        if begun.elapsed() > READY_LIMIT {
            let said = reply.map_or_else(|error| format!("{error:#}"), |reply| json!(reply.body).to_string());
            bail!("{who} at {address} is not ready after {READY_LIMIT:?}: {said}");
        }
        sleep(READY_STEP).await;
    }
}

/// Panics stand in the log of a process.
pub(super) fn panics(folder: &Path, name: &str, report: &mut Report) -> Result<()> {
    let path = folder.join(format!("{name}.log"));
    let log = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    for line in String::from_utf8_lossy(&log).lines().filter(|line| line.contains("panicked at")) {
        report.violation("panic", format_args!("{name}: {line}"));
    }
    Ok(())
}
