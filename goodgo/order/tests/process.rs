//! The service as a process, with its users' keys in a Redis of the test's own: what it refuses, what it warns about, and what it
//! shows when that Redis goes away.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use steadfast_testkit::{TestPostgres, postgres, wait_for};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = "orchestrator = 'http://127.0.0.1:9'\ncall_key = { file = 'call.key' }\n[auth]\nissuer = 'i'\n\
    audience = 'a'\n[[auth.keys]]\nkid = 'k'\nalgorithm = 'hs256'\nsecret = { file = 'call.key' }\n\
    [log]\nfilter = 'warn'\n";

/// Killed when it is dropped.
struct Running {
    port: u16,
    child: Child,
    /// Where it works, and what it writes to stderr.
    folder: TempDir,
}

impl Running {
    async fn redis(arguments: &[&str]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut server = Command::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]).args(arguments);
        let child = server.current_dir(folder.path()).stdout(Stdio::null()).spawn();
        let child = child.expect("redis-server is installed: `cargo xtask services up redis` sees to it");
        wait_for("redis-server", LIMIT, || async { TcpStream::connect(("127.0.0.1", port)).is_ok() }).await;
        Self { port, child, folder }
    }

    fn order(db: &TestPostgres, keys: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        std::fs::write(folder.path().join("call.key"), "a secret of tests, thirty-two bytes or more").unwrap();
        std::fs::write(folder.path().join("order.toml"), CONFIG).unwrap();
        let mut order = Command::new(env!("CARGO_BIN_EXE_goodgo-order"));
        order.env_clear().env("GOODGO_DATABASE__URL", db.url()).env("GOODGO_READ_MODEL__URL", db.url());
        order.env("GOODGO_KEYS", keys).env("GOODGO_LISTEN", format!("127.0.0.1:{port}"));
        order.args(["serve", "--config", "order.toml"]).current_dir(folder.path()).stdin(Stdio::null());
        let said = File::create(folder.path().join("stderr")).unwrap();
        Self { port, child: order.stderr(said).spawn().unwrap(), folder }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// The whole answer; nothing where nobody answers.
    fn readyz(&self) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            write!(stream, "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok();
            stream.read_to_string(&mut answer).ok();
        }
        answer
    }

    async fn is_ready(&self) {
        wait_for("it is ready", LIMIT, || async { self.readyz().starts_with("HTTP/1.1 200") }).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Given back at once: whoever is started listens there.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_redis_that_cannot_keep_keys_ends_it_with_one_line() {
    let db = postgres().await;
    for (arguments, user, fault) in [
        (["--maxmemory-policy", "allkeys-lru"], "", "set maxmemory-policy noeviction"),
        (["--requirepass", "right"], ":hunter2@", "it refuses the user or the password"),
    ] {
        let redis = Running::redis(&arguments).await;
        let mut order = Running::order(&db, &format!("redis://{user}127.0.0.1:{}", redis.port));
        wait_for(fault, LIMIT, || {
            let ended = order.child.try_wait().unwrap();
            async move { ended.is_some() }
        })
        .await;
        let (said, place) = (order.said(), format!("127.0.0.1:{}", redis.port));
        assert_eq!((order.child.wait().unwrap().code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.starts_with("goodgo-order serve: ") && said.contains(fault) && said.contains(&place), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn a_redis_that_forgets_is_warned_about_and_one_that_goes_away_is_shown_and_takes_no_replica_out() {
    let db = postgres().await;
    let mut redis = Running::redis(&["--appendonly", "no"]).await;
    let order = Running::order(&db, &format!("redis://127.0.0.1:{}", redis.port));
    order.is_ready().await;
    assert!(order.said().contains("appendonly is no"), "{}", order.said());
    assert!(!order.readyz().contains("degraded"), "{}", order.readyz());
    redis.child.kill().unwrap();
    let shown = r#""degraded":[{"check":"keys""#;
    wait_for("it is shown", LIMIT, || async { order.readyz().contains(shown) }).await;
    assert!(order.readyz().starts_with("HTTP/1.1 200"), "queries and the calls of sagas go on");
    assert!(order.said().contains("it cannot be worked with"), "{}", order.said());
}
