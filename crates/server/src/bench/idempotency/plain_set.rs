//! The limit of a check: a plain `SET` of 200 bytes by 50 clients that do not pipeline. redis-benchmark sends it where it
//! is installed and can be told of the server, or of the cluster, without a secret on its command line; else 50 tasks do, each
//! over connections of its own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::server::{Connection, Server};
use crate::bench::beside::timed;
use crate::bench::load::{Run, Work};

pub(super) const CLIENTS: usize = 50;
/// About as long as a record with its answer.
const BYTES: usize = 200;
/// Keys of redis-benchmark.
const KEYS: &str = "100000";

#[derive(Debug)]
pub(super) enum Limit<'a> {
    Program { host: String, port: u16, server: &'a Server },
    Tasks(&'a Server),
}

impl<'a> Limit<'a> {
    pub(super) async fn choose(server: &'a Server) -> Self {
        let mut asked = Command::new("redis-benchmark");
        asked.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let installed = asked.status().await.is_ok_and(|status| status.success());
        match server.plain_address() {
            Some((host, port)) if installed => Self::Program { host, port, server },
            _ => Self::Tasks(server),
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Program { server, .. } if server.is_cluster() => "redis-benchmark --cluster SET",
            Self::Program { .. } => "redis-benchmark SET",
            Self::Tasks(_) => "SET",
        }
    }

    /// About `length` of it, where `per_s` is what it makes a second.
    pub(super) async fn run(&self, length: Duration, per_s: f64) -> Result<Run> {
        match self {
            Self::Program { host, port, server } => {
                let count = (per_s * length.as_secs_f64()).clamp(1_000.0, 1e9);
                let mut command = Command::new("redis-benchmark");
                command.args(["-h", host, "-p", &port.to_string(), "-c", &CLIENTS.to_string(), "-r", KEYS, "--csv"]);
                if server.is_cluster() {
                    command.arg("--cluster");
                }
                command.args(["-n", &format!("{count:.0}"), "SET"]);
                // What it puts in place of the tag sends the key to a server that it is connected with.
                let tag = if server.is_cluster() { "{tag}:" } else { "" };
                command.args([format!("{}set:{tag}__rand_int__", server.prefix), "x".repeat(BYTES)]);
                let output =
                    command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("redis-benchmark")?;
                let text = String::from_utf8_lossy(&output.stdout);
                ensure!(output.status.success(), "redis-benchmark: {}", String::from_utf8_lossy(&output.stderr).trim());
                let per_s = rate(&text).with_context(|| format!("redis-benchmark told no rate: {}", text.trim()))?;
                Ok(Run { per_s, ..Run::default() })
            }
            Self::Tasks(server) => {
                let mut clients = Vec::with_capacity(CLIENTS);
                for client in 0..CLIENTS {
                    let prefix = format!("{}set:{client}:", server.prefix);
                    clients.push(Client { connection: server.connect().await?, prefix, number: 0 });
                }
                timed(clients, length).await
            }
        }
    }
}

/// The second field of the last line: `"SET …","14084.51",…`.
fn rate(csv: &str) -> Option<f64> {
    csv.lines().last()?.split("\",\"").nth(1)?.parse().ok()
}

struct Client {
    connection: Connection,
    prefix: String,
    number: u32,
}

impl Work for Client {
    async fn once(&mut self) -> Result<()> {
        let mut set = redis::cmd("SET");
        set.arg(format!("{}{}", self.prefix, self.number)).arg(&[b'x'; BYTES]);
        self.number = (self.number + 1) % 2_000;
        self.connection.exec(&set).await.context("SET")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_rate_is_the_second_field_of_the_last_line() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"SET a:__rand_int__ xx\",\"14084.51\",\"3.182\"\n";
        assert_eq!(super::rate(csv), Some(14_084.51));
        assert_eq!(super::rate("Could not connect"), None);
    }
}
