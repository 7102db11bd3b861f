//! An etcd of three members; clients use any of 127.0.0.1:23791 to 23793.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::install::{find, install};
use super::process::{Group, remove, require_free, start, wait_ready};
use super::{Service, Status};

const PACKAGES: [&str; 2] = ["etcd-server", "etcd-client"];
/// The last leader would try for seven seconds to hand over to members that are stopping too.
const STOP_LIMIT: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Three members on consecutive ports.
pub(crate) struct Etcd {
    /// The port for clients of the first member.
    pub(crate) client_port: u16,
    /// The port for members of the first member.
    pub(crate) peer_port: u16,
}

impl Etcd {
    pub(super) const DEVELOPMENT: Self = Self { client_port: 23791, peer_port: 23801 };

    /// Stops every member.
    #[cfg(feature = "torture")]
    pub(crate) fn halt(target: &Path) -> Result<()> {
        stop(&home(target))
    }

    /// Kills a member, 1 to 3.
    #[cfg(feature = "torture")]
    pub(crate) fn kill_member(&self, target: &Path, number: u16) -> Result<()> {
        let member = self.members().into_iter().find(|member| member.number == number);
        let group = group(&member.context("a member's number")?.folder(&home(target)));
        group.stop("KILL", &group.running()?, STOP_LIMIT)
    }

    fn members(&self) -> [Member; 3] {
        [1, 2, 3].map(|number| Member {
            number,
            client_port: self.client_port + number - 1,
            peer_port: self.peer_port + number - 1,
        })
    }

    fn start_missing(&self, home: &Path) -> Result<()> {
        let members = self.members();
        let mut missing = Vec::new();
        for member in members {
            if !member.is_running(home)? {
                require_free(member.client_port)?;
                require_free(member.peer_port)?;
                missing.push(member);
            }
        }
        for member in missing {
            member.start(home, &members)?;
        }
        let is_alive = || members.iter().try_fold(true, |all, member| Ok(all && member.is_running(home)?));
        let is_ready = || Ok(members.iter().all(|member| member.is_healthy()));
        wait_ready(&members.map(|member| member.log(home)), is_alive, is_ready)
    }
}

impl Service for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn install(&self) -> Result<()> {
        let missing: Vec<&str> = ["etcd", "etcdctl"].into_iter().filter(|name| find(name, &[]).is_none()).collect();
        if missing.is_empty() { Ok(()) } else { install(&PACKAGES, &missing) }
    }

    fn up(&self, target: &Path) -> Result<()> {
        let home = home(target);
        // Tells a cluster that once answered from the rest of a start that was cut short.
        let complete = home.join("complete");
        if !complete.exists() {
            self.down(target)?;
        }
        let outcome = self.start_missing(&home);
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
        for member in self.members() {
            let name = member.name();
            if !member.is_running(&home)? {
                faults.push(format!("{name} not running"));
            } else if !member.is_healthy() {
                faults.push(format!("{name} not healthy"));
            }
        }
        let fault = if pids.is_empty() { "not running".to_owned() } else { faults.join(", ") };
        let addresses = self.members().map(|member| format!("127.0.0.1:{}", member.client_port));
        Ok(Status {
            fault: Some(fault).filter(|fault| !fault.is_empty()),
            address: addresses.join(","),
            pids,
            folder: home.display().to_string(),
        })
    }
}

fn home(target: &Path) -> PathBuf {
    target.join("services/etcd")
}

fn group(home: &Path) -> Group {
    Group { programs: &["etcd"], folder: home.to_owned() }
}

fn stop(home: &Path) -> Result<()> {
    let group = group(home);
    group.stop("TERM", &group.running()?, STOP_LIMIT)
}

#[derive(Clone, Copy)]
struct Member {
    number: u16,
    client_port: u16,
    peer_port: u16,
}

impl Member {
    fn name(self) -> String {
        format!("e{}", self.number)
    }

    fn peer_url(self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    fn folder(self, home: &Path) -> PathBuf {
        home.join(self.name())
    }

    fn log(self, home: &Path) -> PathBuf {
        self.folder(home).join("log")
    }

    fn is_running(self, home: &Path) -> Result<bool> {
        Ok(!group(&self.folder(home)).running()?.is_empty())
    }

    fn start(self, home: &Path, members: &[Self; 3]) -> Result<()> {
        let folder = self.folder(home);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let client = format!("http://127.0.0.1:{}", self.client_port);
        let peer = self.peer_url();
        let cluster = members.map(|member| format!("{}={}", member.name(), member.peer_url())).join(",");
        let mut server = Command::new("etcd");
        server.current_dir(&folder).arg("--name").arg(self.name()).arg("--data-dir").arg(folder.join("data"));
        server.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        server.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        server.args(["--initial-cluster", &cluster, "--initial-cluster-state", "new"]);
        server.args(["--initial-cluster-token", "steadfast", "--logger", "zap", "--log-level", "warn"]);
        start(&mut server, &self.log(home))
    }

    /// Whether the member answers and knows a leader. It says so itself, over plain HTTP.
    fn is_healthy(self) -> bool {
        self.health().is_ok_and(|reply| is_healthy(&reply))
    }

    fn health(self) -> Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.client_port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    }
}

fn is_healthy(reply: &str) -> bool {
    reply.starts_with("HTTP/1.1 200 ") && reply.contains("\"health\":\"true\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_healthy_answer_is_one() {
        assert!(is_healthy("HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"health\":\"true\"}"));
        assert!(!is_healthy("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"health\":\"false\"}"));
        assert!(!is_healthy("HTTP/1.1 200 OK\r\n\r\n{\"health\":\"false\"}"));
        assert!(!is_healthy(""));
    }

    #[test]
    fn each_member_has_its_own_ports() {
        let members = Etcd::DEVELOPMENT.members();
        let ports = members.iter().flat_map(|member| [member.client_port, member.peer_port]).collect::<Vec<_>>();
        assert_eq!(ports, [23791, 23801, 23792, 23802, 23793, 23803]);
    }
}
