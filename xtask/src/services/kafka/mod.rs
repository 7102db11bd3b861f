//! Kafka without `ZooKeeper`, one broker at 127.0.0.1:19092, or three at 19092, 19094 and 19096. Each is a controller too, so
//! that any one of three may be lost. The jars come by Maven.

mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::install::{find, install};
use super::process::{Group, finish, remove, require_free, start, wait_ready};
use super::{Service, Status, say};

/// Of the cluster: any 16 bytes in base64.
const CLUSTER_ID: &str = "c3RlYWRmYXN0LWthZmthIQ";
const POM: &str = include_str!("pom.xml");
const LOGGING: &str = include_str!("log4j2.properties");
/// Enough for tests; a measurement sets more.
const HEAP: &str = "256m";
const HEAP_VARIABLE: &str = "XTASK_KAFKA_HEAP";
const JAVA_MIN: u32 = 17;
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The brokers that are asked for; without a number as many as are there, or one.
pub(crate) struct Kafka {
    pub(crate) brokers: Option<u16>,
    /// Of the first broker; its controller has the next, and so on.
    pub(crate) port: u16,
    pub(crate) behind: Option<Behind>,
}

/// Brokers whose clients come by other ports, where something stands before them. Each is of the first broker; the others
/// follow.
#[derive(Clone, Copy)]
pub(crate) struct Behind {
    /// What clients are told.
    pub(crate) clients: u16,
    /// Where brokers find each other.
    pub(crate) brokers: u16,
}

impl Kafka {
    pub(super) const DEVELOPMENT: Self = Self { brokers: None, port: 19092, behind: None };

    /// Kills every broker.
    #[cfg(feature = "torture")]
    pub(crate) fn halt(target: &Path) -> Result<()> {
        let group = group(&home(target));
        group.stop("KILL", &group.running()?, STOP_LIMIT)
    }

    /// Kills a broker, from 1.
    #[cfg(feature = "torture")]
    pub(crate) fn kill_broker(&self, target: &Path, number: u16) -> Result<()> {
        let group = group(&self.broker(number).folder(&home(target)));
        group.stop("KILL", &group.running()?, STOP_LIMIT)
    }

    /// Begins to start a broker that was killed. Its ports must be free.
    #[cfg(feature = "torture")]
    pub(crate) fn revive_broker(&self, target: &Path, number: u16) -> Result<()> {
        let home = home(target);
        let broker = self.broker(number);
        if broker.is_running(&home)? {
            return Ok(());
        }
        broker.start(&home, &self.brokers(brokers_of(&home).unwrap_or(1)))
    }

    /// The ports of a broker.
    #[cfg(feature = "torture")]
    pub(crate) fn ports(&self, number: u16) -> Vec<u16> {
        self.broker(number).ports()
    }

    fn brokers(&self, count: u16) -> Vec<Broker> {
        (1..=count).map(|number| self.broker(number)).collect()
    }

    fn broker(&self, number: u16) -> Broker {
        let after = number - 1;
        let behind = self.behind.map(|first| Behind { clients: first.clients + after, brokers: first.brokers + after });
        Broker { number, port: self.port + 2 * after, behind }
    }
}

impl Service for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn install(&self) -> Result<()> {
        for (program, package) in [("java", "default-jre-headless"), ("mvn", "maven")] {
            if find(program, &[]).is_none() {
                install(&[package], &[program])?;
            }
        }
        let version = Command::new("java").arg("-version").output().context("running java")?;
        let said = String::from_utf8_lossy(&version.stderr);
        if java_version(&said).is_none_or(|version| version < JAVA_MIN) {
            let first = said.lines().next().unwrap_or_default();
            bail!(
                "Kafka 4 needs Java {JAVA_MIN} or newer, and `java -version` says {first:?}: put a newer one on PATH"
            );
        }
        Ok(())
    }

    fn up(&self, target: &Path) -> Result<()> {
        let home = home(target);
        // Tells brokers that once answered from the rest of a start that was cut short.
        let complete = home.join("complete");
        let known = brokers_of(&home);
        if !complete.exists() {
            self.down(target)?;
        } else if let (Some(asked), Some(known)) = (self.brokers, known)
            && asked != known
        {
            bail!(
                "{} holds {known} broker(s), and {asked} are asked for: `services down kafka` removes them first",
                home.display()
            );
        }
        let count = known.filter(|_| complete.exists()).or(self.brokers).unwrap_or(1);
        fetch_jars(&home)?;
        let outcome = start_missing(&home, &self.brokers(count));
        if outcome.is_err() {
            stop(&home)?;
        }
        outcome?;
        fs::write(&complete, count.to_string()).with_context(|| format!("writing {}", complete.display()))
    }

    fn down(&self, target: &Path) -> Result<()> {
        stop(&home(target))?;
        remove(&home(target))
    }

    fn status(&self, target: &Path) -> Result<Status> {
        let home = home(target);
        let pids = group(&home).running()?;
        let known = brokers_of(&home);
        let brokers = self.brokers(known.or(self.brokers).unwrap_or(1));
        let mut faults = Vec::new();
        for broker in &brokers {
            if !broker.is_running(&home)? {
                faults.push(format!("broker {} not running", broker.number));
            } else if !broker.is_ready(brokers.len()) {
                faults.push(format!("broker {} not ready", broker.number));
            }
        }
        if let (Some(asked), Some(known)) = (self.brokers, known)
            && asked != known
        {
            faults.push(format!("{known} broker(s), not {asked}"));
        }
        let fault = if pids.is_empty() { "not running".to_owned() } else { faults.join(", ") };
        let addresses: Vec<String> = brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port)).collect();
        Ok(Status {
            fault: Some(fault).filter(|fault| !fault.is_empty()),
            address: addresses.join(","),
            pids,
            folder: home.display().to_string(),
        })
    }
}

fn home(target: &Path) -> PathBuf {
    target.join("services/kafka")
}

/// Maven is a Java program too: one that was left behind by a start cut short ends with the brokers.
fn group(folder: &Path) -> Group {
    Group { programs: &["java"], folder: folder.to_owned() }
}

fn stop(home: &Path) -> Result<()> {
    let group = group(home);
    group.stop("TERM", &group.running()?, STOP_LIMIT)
}

/// As many as an earlier complete start has written down.
fn brokers_of(home: &Path) -> Option<u16> {
    fs::read_to_string(home.join("complete")).ok()?.trim().parse().ok()
}

/// 92 jars, 55 MB; Maven keeps them in its own store too, so the next time needs no network.
fn fetch_jars(home: &Path) -> Result<()> {
    let jars = home.join("lib");
    let fetched = home.join("fetched");
    if fetched.exists() {
        return Ok(());
    }
    remove(&jars)?;
    fs::create_dir_all(home).with_context(|| format!("creating {}", home.display()))?;
    let pom = home.join("pom.xml");
    fs::write(&pom, POM).with_context(|| format!("writing {}", pom.display()))?;
    say("kafka: Maven fetches its jars (55 MB where they are not at hand yet)");
    let mut maven = Command::new("mvn");
    maven.current_dir(home).args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
    finish(maven.arg(format!("-DoutputDirectory={}", jars.display())))?;
    fs::write(&fetched, "").with_context(|| format!("writing {}", fetched.display()))
}

fn start_missing(home: &Path, brokers: &[Broker]) -> Result<()> {
    let mut missing = Vec::new();
    for broker in brokers {
        if !broker.is_running(home)? {
            broker.ports().into_iter().try_for_each(require_free)?;
            missing.push(broker);
        }
    }
    let logging = home.join("log4j2.properties");
    fs::write(&logging, LOGGING).with_context(|| format!("writing {}", logging.display()))?;
    for broker in missing {
        broker.start(home, brokers)?;
    }
    let logs: Vec<PathBuf> = brokers.iter().map(|broker| broker.folder(home).join("log")).collect();
    let is_alive = || brokers.iter().try_fold(true, |all, broker| Ok(all && broker.is_running(home)?));
    wait_ready(&logs, is_alive, || Ok(brokers.iter().all(|broker| broker.is_ready(brokers.len()))))
}

struct Broker {
    number: u16,
    port: u16,
    behind: Option<Behind>,
}

impl Broker {
    fn controller_port(&self) -> u16 {
        self.port + 1
    }

    /// All that it listens on.
    fn ports(&self) -> Vec<u16> {
        [self.port, self.controller_port()].into_iter().chain(self.behind.map(|behind| behind.brokers)).collect()
    }

    /// Where it listens, and what it tells clients and brokers of it.
    fn listeners(&self) -> (String, String) {
        let controller = format!("CONTROLLER://127.0.0.1:{}", self.controller_port());
        let clients = format!("CLIENTS://127.0.0.1:{}", self.port);
        let Some(behind) = self.behind else { return (format!("{clients},{controller}"), clients) };
        let brokers = format!("BROKERS://127.0.0.1:{}", behind.brokers);
        (format!("{clients},{brokers},{controller}"), format!("CLIENTS://127.0.0.1:{},{brokers}", behind.clients))
    }

    fn folder(&self, home: &Path) -> PathBuf {
        home.join(format!("broker-{}", self.number))
    }

    fn is_running(&self, home: &Path) -> Result<bool> {
        Ok(!group(&self.folder(home)).running()?.is_empty())
    }

    /// Whether it answers and knows all the others.
    fn is_ready(&self, count: usize) -> bool {
        wire::brokers_known_at(self.port).is_ok_and(|known| known == count)
    }

    fn start(&self, home: &Path, brokers: &[Self]) -> Result<()> {
        let folder = self.folder(home);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let properties = folder.join("server.properties");
        fs::write(&properties, self.properties(&folder, brokers))
            .with_context(|| format!("writing {}", properties.display()))?;
        // The formatter writes this file as a whole; to start it for nothing costs seconds.
        if !folder.join("data/meta.properties").exists() {
            let mut format = java(home, &folder);
            format.args(["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", CLUSTER_ID, "-c"]);
            finish(format.arg(&properties))?;
        }
        start(java(home, &folder).arg("kafka.Kafka").arg(&properties), &folder.join("log"))
    }

    fn properties(&self, folder: &Path, brokers: &[Self]) -> String {
        let voters: Vec<String> =
            brokers.iter().map(|broker| format!("{}@127.0.0.1:{}", broker.number, broker.controller_port())).collect();
        let copies = brokers.len();
        // Every acknowledged write is then on two of three.
        let in_sync = copies.min(2);
        let (listeners, advertised) = self.listeners();
        let settings = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", self.number.to_string()),
            ("controller.quorum.voters", voters.join(",")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("listeners", listeners),
            ("advertised.listeners", advertised),
            ("listener.security.protocol.map", "CLIENTS:PLAINTEXT,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
            ("inter.broker.listener.name", if self.behind.is_some() { "BROKERS" } else { "CLIENTS" }.to_owned()),
            ("log.dirs", folder.join("data").display().to_string()),
            ("default.replication.factor", copies.to_string()),
            ("min.insync.replicas", in_sync.to_string()),
            ("offsets.topic.replication.factor", copies.to_string()),
            ("transaction.state.log.replication.factor", copies.to_string()),
            ("transaction.state.log.min.isr", in_sync.to_string()),
            ("share.coordinator.state.topic.replication.factor", copies.to_string()),
            ("share.coordinator.state.topic.min.isr", in_sync.to_string()),
            ("offsets.topic.num.partitions", "8".to_owned()),
            ("transaction.state.log.num.partitions", "8".to_owned()),
            // Else the first consumer of a group waits three seconds for others.
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("auto.create.topics.enable", "false".to_owned()),
        ];
        settings.map(|(key, value)| format!("{key}={value}")).join("\n") + "\n"
    }
}

fn java(home: &Path, folder: &Path) -> Command {
    let heap = std::env::var(HEAP_VARIABLE).unwrap_or_else(|_| HEAP.to_owned());
    let mut java = Command::new("java");
    java.current_dir(folder).arg(format!("-Xmx{heap}")).arg("-XX:+UseSerialGC");
    java.arg(format!("-Dlog4j2.configurationFile={}", home.join("log4j2.properties").display()));
    java.arg("-cp").arg(home.join("lib/*"));
    java
}

/// The major version that `java -version` tells: `openjdk version "17.0.15" 2025-04-15`.
fn java_version(said: &str) -> Option<u32> {
    said.split('"').nth(1)?.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_its_first_number() {
        assert_eq!(java_version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(java_version("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_version("java version \"1.8.0_202\""), Some(1));
        assert_eq!(java_version("command not found"), None);
    }

    #[test]
    fn three_brokers_have_ports_of_their_own_and_two_copies_of_a_write() {
        let brokers = Kafka::DEVELOPMENT.brokers(3);
        let ports: Vec<u16> = brokers.iter().flat_map(|broker| [broker.port, broker.controller_port()]).collect();
        assert_eq!(ports, [19092, 19093, 19094, 19095, 19096, 19097]);
        let properties = brokers[1].properties(Path::new("/t/b"), &brokers);
        assert!(
            properties.contains("controller.quorum.voters=1@127.0.0.1:19093,2@127.0.0.1:19095,3@127.0.0.1:19097\n")
        );
        assert!(properties.contains("min.insync.replicas=2\n"));
        let single = Kafka::DEVELOPMENT.brokers(1);
        assert!(single[0].properties(Path::new("/t/b"), &single).contains("\nmin.insync.replicas=1\n"));
    }

    #[test]
    fn clients_of_brokers_behind_something_are_told_where_that_is() {
        let behind = Some(Behind { clients: 20, brokers: 30 });
        let brokers = Kafka { behind, ..Kafka::DEVELOPMENT }.brokers(3);
        assert_eq!(brokers[1].ports(), [19094, 19095, 31]);
        let properties = brokers[1].properties(Path::new("/t/b"), &brokers);
        let advertised = "\nadvertised.listeners=CLIENTS://127.0.0.1:21,BROKERS://127.0.0.1:31\n";
        assert!(properties.contains(advertised), "{properties}");
        assert!(properties.contains("\ninter.broker.listener.name=BROKERS\n"));
    }
}
