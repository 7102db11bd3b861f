//! A Redis Cluster of three masters with a replica each, 127.0.0.1:7001 to 7006, and a single server that keeps every
//! write, 127.0.0.1:16399.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::install::{find, install};
#[cfg(feature = "torture")]
use super::process::send;
use super::process::{Group, finish, remove, require_free, start, wait_ready};
use super::{Service, Status};

const MEMBERS: u16 = 6;
/// What a member of the cluster adds to its port to talk to the others.
const BUS: u16 = 10_000;
const PACKAGES: [&str; 2] = ["redis-server", "redis-tools"];
const STOP_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// No answer that is asked for here is longer.
const ANSWER_MAX: u64 = 64 * 1024;

pub(crate) struct Redis {
    /// The port of the cluster's first member; the others follow.
    pub(crate) cluster_port: u16,
    /// Of the single server.
    pub(crate) single_port: u16,
    /// Where clients and replicas are told that the cluster's first member is, where that is another port; the others follow.
    pub(crate) announced: Option<u16>,
}

impl Redis {
    pub(super) const DEVELOPMENT: Self = Self { cluster_port: 7001, single_port: 16399, announced: None };

    /// Kills the `number`th of those that are masters now, 1 to 3.
    #[cfg(feature = "torture")]
    pub(crate) fn kill_master(&self, target: &Path, number: u16) -> Result<()> {
        let Some(port) = self.of_role("role:master", number) else { return Ok(()) };
        let group = group(&folder(&home(target), port));
        group.stop("KILL", &group.running()?, STOP_LIMIT)
    }

    /// Pauses one of them.
    #[cfg(feature = "torture")]
    pub(crate) fn pause_master(&self, target: &Path, number: u16) -> Result<()> {
        let Some(port) = self.of_role("role:master", number) else { return Ok(()) };
        send("STOP", &group(&folder(&home(target), port)).running()?)
    }

    /// Starts whichever members do not run. Their copies of masters come when the ways there are open.
    #[cfg(feature = "torture")]
    pub(crate) fn revive(&self, target: &Path) -> Result<()> {
        self.start_missing(&home(target))
    }

    /// Wakes whoever is paused.
    #[cfg(feature = "torture")]
    pub(crate) fn wake(target: &Path) -> Result<()> {
        send("CONT", &group(&home(target)).running()?)
    }

    /// The `number`th of those that are replicas now takes its master's place without asking anybody.
    #[cfg(feature = "torture")]
    pub(crate) fn take_over(&self, number: u16) {
        if let Some(port) = self.of_role("master_link_status:up", number) {
            // One that has gone meanwhile takes nothing over.
            drop(ask(port, "CLUSTER FAILOVER TAKEOVER"));
        }
    }

    /// The `number`th member, from 1, of those that say so of their part in replication.
    #[cfg(feature = "torture")]
    fn of_role(&self, what: &str, number: u16) -> Option<u16> {
        let says = |port: &u16| ask(*port, "INFO replication").is_ok_and(|reply| reply.contains(what));
        self.cluster().filter(says).nth(usize::from(number - 1))
    }

    fn cluster(&self) -> impl Iterator<Item = u16> + use<> {
        self.cluster_port..self.cluster_port + MEMBERS
    }

    fn all(&self) -> impl Iterator<Item = u16> + use<> {
        self.cluster().chain([self.single_port])
    }

    fn start_missing(&self, home: &Path) -> Result<()> {
        let mut missing = Vec::new();
        for port in self.all() {
            if !is_running(home, port)? {
                require_free(port)?;
                if port != self.single_port {
                    require_free(port + BUS)?;
                }
                missing.push(port);
            }
        }
        for port in missing {
            self.start(home, port)?;
        }
        self.wait(home, |port| ask(port, "PING").is_ok_and(|reply| reply == "PONG"))
    }

    fn start(&self, home: &Path, port: u16) -> Result<()> {
        let folder = folder(home, port);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut server = Command::new("redis-server");
        server.current_dir(&folder).args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        server.args(["--save", "", "--appendonly", "yes"]).arg("--dir").arg(&folder);
        if port == self.single_port {
            server.args(["--appendfsync", "always"]);
        } else {
            server.args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
            // With the usual delay a replica has no copy for five seconds, and a master killed then takes its slots along.
            server.args(["--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0"]);
            if let Some(first) = self.announced {
                let announced = first + (port - self.cluster_port);
                server.args(["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", &announced.to_string()]);
                server.args(["--cluster-announce-bus-port", &(port + BUS).to_string()]);
            }
        }
        start(&mut server, &log(home, port))
    }

    /// Gives the slots to the first three and a replica to each.
    fn create_cluster(&self) -> Result<()> {
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(self.cluster().map(|port| format!("127.0.0.1:{port}")));
        finish(create.args(["--cluster-replicas", "1", "--cluster-yes"]))
    }

    fn wait(&self, home: &Path, is_ready: impl Fn(u16) -> bool) -> Result<()> {
        let logs: Vec<PathBuf> = self.all().map(|port| log(home, port)).collect();
        let is_alive = || self.all().try_fold(true, |alive, port| Ok(alive && is_running(home, port)?));
        wait_ready(&logs, is_alive, || Ok(self.all().all(&is_ready)))
    }

    /// What keeps a server from being used, in a few words.
    fn fault(&self, port: u16) -> Option<&'static str> {
        let Ok(replication) = ask(port, "INFO replication") else { return Some("does not answer") };
        let is_single = port == self.single_port;
        let cluster = if is_single { Ok("cluster_state:ok\r\n".to_owned()) } else { ask(port, "CLUSTER INFO") };
        let Ok(cluster) = cluster else { return Some("does not answer") };
        state_fault(&replication, &cluster)
    }
}

impl Service for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn install(&self) -> Result<()> {
        let programs = ["redis-server", "redis-cli"];
        let missing: Vec<&str> = programs.into_iter().filter(|name| find(name, &[]).is_none()).collect();
        if missing.is_empty() { Ok(()) } else { install(&PACKAGES, &missing) }
    }

    fn up(&self, target: &Path) -> Result<()> {
        let home = home(target);
        // Tells a cluster whose slots were once all served from the rest of a start that was cut short.
        let complete = home.join("complete");
        if !complete.exists() {
            self.down(target)?;
        }
        let outcome = self.start_missing(&home).and_then(|()| {
            if !complete.exists() {
                self.create_cluster()?;
            }
            self.wait(&home, |port| self.fault(port).is_none())
        });
        if outcome.is_err() {
            stop(&home)?;
        }
        outcome?;
        fs::write(&complete, "").with_context(|| format!("writing {}", complete.display()))
    }

    fn down(&self, target: &Path) -> Result<()> {
        stop(&home(target))?;
        remove(&home(target))
    }

    fn status(&self, target: &Path) -> Result<Status> {
        let home = home(target);
        let pids = group(&home).running()?;
        let mut faults = Vec::new();
        for port in self.all() {
            if !is_running(&home, port)? {
                faults.push(format!("{port} not running"));
            } else if let Some(fault) = self.fault(port) {
                faults.push(format!("{port} {fault}"));
            }
        }
        let fault = if pids.is_empty() { "not running".to_owned() } else { faults.join(", ") };
        Ok(Status {
            fault: Some(fault).filter(|fault| !fault.is_empty()),
            address: format!(
                "127.0.0.1:{}-{} (cluster), 127.0.0.1:{}",
                self.cluster_port,
                self.cluster_port + MEMBERS - 1,
                self.single_port
            ),
            pids,
            folder: home.display().to_string(),
        })
    }
}

fn home(target: &Path) -> PathBuf {
    target.join("services/redis")
}

fn folder(home: &Path, port: u16) -> PathBuf {
    home.join(port.to_string())
}

fn log(home: &Path, port: u16) -> PathBuf {
    folder(home, port).join("log")
}

/// Debian's `redis-server` is a link to one of its siblings.
fn group(folder: &Path) -> Group {
    Group { programs: &["redis-server", "redis-check-rdb", "redis-check-aof"], folder: folder.to_owned() }
}

fn is_running(home: &Path, port: u16) -> Result<bool> {
    Ok(!group(&folder(home, port)).running()?.is_empty())
}

fn stop(home: &Path) -> Result<()> {
    let group = group(home);
    group.stop("TERM", &group.running()?, STOP_LIMIT)
}

fn state_fault(replication: &str, cluster: &str) -> Option<&'static str> {
    let says = |text: &str, line: &str| text.lines().any(|said| said == line);
    if !says(cluster, "cluster_state:ok") {
        return Some("has no complete cluster");
    }
    let has_data = says(replication, "role:master") || says(replication, "master_link_status:up");
    if has_data { None } else { Some("has no copy of its master yet") }
}

/// One command in its inline form, and its answer.
pub(crate) fn ask(port: u16, command: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "{command}\r\n")?;
    answer(BufReader::new(stream))
}

fn answer(mut reply: impl BufRead) -> Result<String> {
    let mut line = String::new();
    reply.by_ref().take(ANSWER_MAX).read_line(&mut line)?;
    let line = line.trim_end();
    if let Some(text) = line.strip_prefix('+') {
        return Ok(text.to_owned());
    }
    let Some(length) = line.strip_prefix('$') else { bail!("answered {line:?}") };
    let length: u64 = length.parse().with_context(|| format!("answered {line:?}"))?;
    let mut text = String::new();
    reply.take(length.min(ANSWER_MAX)).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_answers_are_read() {
        assert_eq!(answer("+PONG\r\n".as_bytes()).unwrap(), "PONG");
        assert_eq!(answer("$13\r\nrole:master\r\n\r\n".as_bytes()).unwrap(), "role:master\r\n");
        assert!(answer("-LOADING the dataset\r\n".as_bytes()).unwrap_err().to_string().contains("LOADING"));
        assert!(answer("".as_bytes()).is_err());
    }

    #[test]
    fn a_member_is_ready_with_all_slots_served_and_its_data_at_hand() {
        let ok = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\n";
        assert_eq!(state_fault("role:master\r\n", ok), None);
        assert_eq!(state_fault("role:slave\r\nmaster_link_status:up\r\n", ok), None);
        assert!(state_fault("role:slave\r\nmaster_link_status:down\r\n", ok).is_some());
        assert!(state_fault("role:master\r\n", "cluster_state:fail\r\n").is_some());
    }
}
