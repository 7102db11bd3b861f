//! A Kafka broker: the one that `cargo xtask services up kafka` starts, or one of a test's own, to be stopped and killed.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use steadfast_bus::kafka::{Config, NewTopics};
use steadfast_testkit::wait_for;
use tempfile::TempDir;

/// Where the tests' broker is, unless `STEADFAST_TEST_KAFKA` names another.
const SERVER: &str = "127.0.0.1:19092";

pub(crate) fn server() -> String {
    std::env::var("STEADFAST_TEST_KAFKA").unwrap_or_else(|_| SERVER.to_owned())
}

/// How tests reach a single broker.
pub(crate) fn config(brokers: impl Into<String>) -> Config {
    let topics = NewTopics::Create { partitions: 4, replication: 1 };
    Config { topics, delivery: Duration::from_secs(20), ..Config::new(brokers) }
}

/// A name that no other test and no other run has.
pub(crate) fn unique(name: &str) -> String {
    let (high, low) = (std::process::id(), uuid_like());
    format!("{name}-{high:x}-{low:x}")
}

fn uuid_like() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

/// The folder of jars of a running broker, taken from its own command line.
fn jars() -> PathBuf {
    if let Ok(folder) = std::env::var("STEADFAST_TEST_KAFKA_JARS") {
        return PathBuf::from(folder);
    }
    for process in fs::read_dir("/proc").expect("processes are listed").flatten() {
        let Ok(line) = fs::read(process.path().join("cmdline")) else { continue };
        let arguments: Vec<String> =
            line.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect();
        if !arguments.iter().any(|one| one == "kafka.Kafka") {
            continue;
        }
        let path = arguments.iter().skip_while(|one| *one != "-cp" && *one != "-classpath").nth(1);
        if let Some(folder) = path.and_then(|path| path.strip_suffix("/*")) {
            return PathBuf::from(folder);
        }
    }
    panic!("no Kafka broker runs: start it with `cargo xtask services up kafka`");
}

/// A broker of a test's own: killed when this is dropped.
pub(crate) struct Broker {
    folder: TempDir,
    port: u16,
    process: Child,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its number").port()
}

fn java(folder: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-Xms256m", "-XX:+UseSerialGC", "-cp", &format!("{}/*", jars().display())])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(File::options().create(true).append(true).open(folder.join("log")).expect("a log file"))
        .stderr(Stdio::null());
    command
}

impl Broker {
    /// Starts one with further lines of server.properties.
    pub(crate) async fn start(further: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (port, controller) = (free_port(), free_port());
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}/data\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n{further}\n",
            folder.path().display()
        );
        fs::write(folder.path().join("server.properties"), properties).expect("a settings file");
        let format = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c", "server.properties"];
        assert!(java(folder.path()).args(format).status().expect("Java runs").success(), "the storage is formatted");
        let process = Self::launch(folder.path());
        let broker = Self { folder, port, process };
        broker.listens().await;
        broker
    }

    fn launch(folder: &Path) -> Child {
        java(folder).args(["kafka.Kafka", "server.properties"]).spawn().expect("Java runs")
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn listens(&self) {
        let port = self.port;
        wait_for("the broker to listen", Duration::from_mins(1), || async move {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }

    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Kills it and starts it again over the same data.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill();
        self.restart().await;
    }

    pub(crate) async fn restart(&mut self) {
        self.process = Self::launch(self.folder.path());
        self.listens().await;
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
