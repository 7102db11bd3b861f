//! One process of the platform: its status, and how it is started.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::site::{PROGRAMS, Part, Site, address};
use crate::services::Status;
use crate::services::process::Group;

const ANSWER_LIMIT: Duration = Duration::from_secs(4);

impl Part {
    /// Where it works, alone: by it it is told from the others.
    pub(crate) fn folder(&self, site: &Site) -> PathBuf {
        site.folder.join(&self.name)
    }

    pub(super) fn log(&self, site: &Site) -> PathBuf {
        site.folder.join(format!("{}.log", self.name))
    }

    fn group(&self, site: &Site) -> Group {
        Group { programs: &PROGRAMS, folder: self.folder(site) }
    }

    pub(crate) fn running(&self, site: &Site) -> Result<Vec<u32>> {
        self.group(site).running()
    }

    /// Waits for one that was told to end; one that stays is killed.
    #[cfg(feature = "torture")]
    pub(crate) fn end(&self, site: &Site) -> Result<()> {
        self.group(site).stop("TERM", &self.running(site)?, super::STOP_LIMIT)
    }

    pub(super) fn status(&self, site: &Site) -> Result<Status> {
        let pids = self.running(site)?;
        let fault = if pids.is_empty() { Some("not running".to_owned()) } else { self.fault() };
        let addresses: Vec<String> = self.ports.iter().map(|port| address(*port)).collect();
        Ok(Status::new(fault, addresses.join(","), pids, self.log(site).display().to_string()))
    }

    /// Why it cannot be worked with; nothing where it can.
    fn fault(&self) -> Option<String> {
        let path = if self.is_asked() { "/readyz" } else { "/" };
        for port in &self.ports {
            match ask(*port, path) {
                Ok(reply) if self.is_asked() && !reply.starts_with("HTTP/1.1 200 ") => return Some(why(&reply)),
                Ok(_) => {}
                Err(_) => return Some(format!("it does not answer at {}", address(*port))),
            }
        }
        None
    }

    #[cfg(feature = "torture")]
    pub(super) fn is_ready(&self) -> bool {
        self.fault().is_none()
    }
}

/// What a process that is not ready says: the detail of its problem.
fn why(reply: &str) -> String {
    let detail = reply.split_once("\"detail\":\"").and_then(|(_, rest)| rest.split_once('"')).map(|(text, _)| text);
    detail.map_or_else(|| "not ready".to_owned(), str::to_owned)
}

/// The whole answer to a GET.
fn ask(port: u16, path: &str) -> Result<String> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&to, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_lacks_is_told_in_its_own_words() {
        let reply = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"title\":\"x\",\"detail\":\"not ready: database\"}";
        assert_eq!(why(reply), "not ready: database");
        assert_eq!(why("HTTP/1.1 500 No\r\n\r\n"), "not ready");
    }
}
