//! Redis servers that a test starts for itself, stops, wakes and kills.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Client, Connection};
use steadfast_testkit::proxy::{Act, Proxy};
use steadfast_testkit::wait_for;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const START: Duration = Duration::from_secs(20);

/// One server of its own, killed when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    child: Child,
    arguments: Vec<String>,
    _folder: TempDir,
}

impl Server {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let port = free_port();
        Self::on(port, arguments).await
    }

    pub(crate) async fn on(port: u16, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixed = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let mut all: Vec<String> = fixed.iter().chain(arguments).map(|&argument| argument.to_owned()).collect();
        all.extend(["--port".to_owned(), port.to_string()]);
        all.extend(["--dir".to_owned(), folder.path().display().to_string()]);
        let server = Self { port, child: spawn(&all), arguments: all, _folder: folder };
        server.answers().await;
        server
    }

    async fn answers(&self) {
        wait_for("redis-server", START, || async {
            let pong = Client::open(self.url())
                .unwrap()
                .get_connection()
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
            // One that wants a password answers as well.
            pong.is_ok_and(|pong| pong == "PONG") || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        })
        .await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connection(&self) -> Connection {
        Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut self.connection()).unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.arguments);
        self.answers().await;
    }
}

fn spawn(arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed: `cargo xtask services up redis` sees to it")
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The URL of a server that says this of itself, and `OK` to whatever else it is told, until what is beside it is dropped.
pub(crate) async fn answering(info: &'static str) -> (String, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut clients = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            clients.spawn(answer_all(BufReader::new(client), info));
        }
    });
    (url, serving)
}

/// Commands are arrays of strings, `*1 $4 INFO`, each part a line.
async fn answer_all(mut client: BufReader<TcpStream>, info: &str) -> std::io::Result<()> {
    let mut line = String::new();
    let mut left = 0;
    let mut is_info = false;
    while client.read_line(&mut line).await? > 0 {
        match line.trim_end() {
            text if text.starts_with('*') => (left, is_info) = (text[1..].parse().unwrap(), false),
            text if text.starts_with('$') => {}
            word => {
                is_info |= word == "INFO";
                left -= 1;
                if left == 0 {
                    let bulk = format!("${}\r\n{info}\r\n", info.len());
                    client.write_all(if is_info { bulk.as_bytes() } else { b"+OK\r\n" }).await?;
                }
            }
        }
        line.clear();
    }
    Ok(())
}

fn free_port() -> u16 {
    // The port of the cluster's bus lies 10,000 above.
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = 10_000 + port % 40_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}

/// Three masters with a replica each, behind proxies by which their replication lags and breaks.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
    pub(crate) proxies: Vec<Proxy>,
}

impl Cluster {
    pub(crate) async fn start(lag: Duration, min_replicas: u32) -> Self {
        let (mut nodes, mut proxies) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            let (port, announced) = (free_port(), free_port());
            let (bus, announced_text) = ((port + 10_000).to_string(), announced.to_string());
            let min_replicas = min_replicas.to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-config-file",
                "nodes.conf",
                "--cluster-node-timeout",
                "1000",
                "--repl-diskless-sync-delay",
                "0",
                "--repl-ping-replica-period",
                "1",
                "--min-replicas-max-lag",
                "2",
                "--cluster-announce-ip",
                "127.0.0.1",
                "--cluster-announce-port",
                &announced_text,
                "--cluster-announce-bus-port",
                &bus,
                "--min-replicas-to-write",
                &min_replicas,
            ];
            nodes.push(Server::on(port, &arguments).await);
            proxies.push(Proxy::on(announced, ([127, 0, 0, 1], port).into(), lag, |_, _| Act::Pass));
        }
        let cluster = Self { nodes, proxies };
        cluster.join().await;
        cluster
    }

    async fn join(&self) {
        let ids: Vec<String> = self.nodes.iter().map(|node| node.ask(&["CLUSTER", "MYID"])).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            let epoch = (at + 1).to_string();
            node.ask::<String>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            if let Some((from, to)) = [("0", "5460"), ("5461", "10922"), ("10923", "16383")].get(at) {
                node.ask::<String>(&["CLUSTER", "ADDSLOTSRANGE", from, to]);
            }
            let (port, bus) = (node.port.to_string(), (node.port + 10_000).to_string());
            self.nodes[0].ask::<String>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        wait_for("the nodes to meet", START, || async {
            let knows_all = |node: &Server| {
                let known: String = node.ask(&["CLUSTER", "NODES"]);
                ids.iter().all(|id| known.contains(id.as_str())) && !known.contains("handshake")
            };
            self.nodes.iter().all(knows_all)
        })
        .await;
        for (replica, master) in self.nodes[3..].iter().zip(&ids) {
            replica.ask::<String>(&["CLUSTER", "REPLICATE", master]);
        }
        wait_for("the cluster", START, || async {
            self.nodes.iter().all(|node| node.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
                && self.nodes[3..]
                    .iter()
                    .all(|replica| replica.ask::<String>(&["INFO", "replication"]).contains("master_link_status:up"))
                && self.nodes[..3]
                    .iter()
                    .all(|master| master.ask::<String>(&["INFO", "replication"]).contains("state=online"))
        })
        .await;
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.proxies.iter().map(|proxy| format!("redis://127.0.0.1:{}", proxy.port)).collect()
    }

    /// The first master dies, and what it had sent but not delivered dies with it.
    pub(crate) fn kill_first(&mut self) {
        self.proxies[0].cut();
        self.nodes[0].kill();
    }

    /// It comes back, as the replica of the one that was promoted.
    pub(crate) async fn revive_first(&mut self) {
        self.proxies[0].mend();
        self.nodes[0].restart().await;
    }

    /// Whether the first replica is a master by now.
    pub(crate) fn is_promoted(&self) -> bool {
        self.nodes[3].ask::<String>(&["INFO", "replication"]).contains("role:master")
    }
}
