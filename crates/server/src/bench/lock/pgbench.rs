//! The limit that everybody can run: pgbench with the same transaction, prepared, each client on rows of its own.

use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::PgConnectOptions;
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::bench::load::Run;
use crate::bench::store::Scratch;

const SCRIPT: &str = include_str!("edit.pgbench");

#[derive(Debug)]
pub(super) struct Pgbench {
    host: String,
    port: String,
    user: String,
    database: String,
    script: NamedTempFile,
}

impl Pgbench {
    /// Where it is installed and can be told of the server without a secret on its command line.
    pub(super) async fn find(scratch: &Scratch, url: &str) -> Result<Option<Self>> {
        let mut asked = Command::new("pgbench");
        asked.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !asked.status().await.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        if !is_plain(url) {
            tracing::warn!(
                "pgbench is left out: it is not told of passwords and options in a URL; give them as PGPASSWORD, PGSSLMODE"
            );
            return Ok(None);
        }
        let options = PgConnectOptions::from_str(url).context("--postgres")?;
        let database = scratch.db.name().rsplit('/').next().unwrap_or_default().to_owned();
        let script = NamedTempFile::new()?;
        std::fs::write(script.path(), SCRIPT)?;
        Ok(Some(Self {
            host: options.get_host().to_owned(),
            port: options.get_port().to_string(),
            user: options.get_username().to_owned(),
            database,
            script,
        }))
    }

    /// Whole seconds of it, at least one; what it made of how many transactions.
    pub(super) async fn run(&self, clients: usize, length: Duration) -> Result<(Run, usize)> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(clients);
        let seconds = length.as_secs().max(1);
        let mut command = Command::new("pgbench");
        command.args(["-n", "-M", "prepared", "-D", "n=0", "-h", &self.host, "-p", &self.port, "-U", &self.user]);
        command.args(["-c", &clients.to_string(), "-j", &threads.to_string(), "-T", &seconds.to_string()]);
        command.arg("-f").arg(self.script.path()).arg(&self.database);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("pgbench")?;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr).trim());
        let (per_s, made) = read(&told).with_context(|| format!("pgbench told no rate: {}", told.trim()))?;
        Ok((Run { per_s, ..Run::default() }, made))
    }
}

/// No password, no options: nothing that libpq does not know by itself.
fn is_plain(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    !user.contains(':') && !rest.contains('?')
}

/// The rate and the number of transactions, of which none may have failed.
fn read(told: &str) -> Option<(f64, usize)> {
    let after = |start: &str| told.lines().find_map(|line| line.strip_prefix(start));
    let word = |text: &str| text.split_whitespace().next().map(str::to_owned);
    let made = word(after("number of transactions actually processed: ")?)?;
    Some((word(after("tps = ")?)?.parse().ok()?, made.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_tells_is_read() {
        let told = "number of transactions actually processed: 1234\nnumber of failed transactions: 0 (0.000%)\n\
                    latency average = 1.6 ms\ntps = 617.25 (without initial connection time)\n";
        assert_eq!(read(told), Some((617.25, 1_234)));
        assert_eq!(read("pgbench (15.20)"), None);
    }

    #[test]
    fn a_url_with_more_than_a_user_is_not_plain() {
        assert!(is_plain("postgres://postgres@127.0.0.1:55432"));
        assert!(is_plain("postgres://127.0.0.1:55432/x"));
        assert!(!is_plain("postgres://u:secret@127.0.0.1:55432"));
        assert!(!is_plain("postgres://u@127.0.0.1/x?sslmode=require"));
    }
}
