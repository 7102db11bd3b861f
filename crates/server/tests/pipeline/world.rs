//! A service's database, a read database, topics of a test's own on a real broker, and the binary between them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use goodgo_pos::client::{Answer, Client, Limits, Request};
use serde_json::Value;
use steadfast_testkit::{TestPostgres, wait_for};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

pub(crate) fn brokers() -> String {
    std::env::var("STEADFAST_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:19092".to_owned())
}

/// Free for the moment; whoever takes it in between makes the test fail loudly.
pub(crate) async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// A failure in one line that holds all of these parts.
    #[track_caller]
    pub(crate) fn assert_one_line(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with("steadfast: "), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} in {}", self.stderr);
        }
    }
}

/// A process that serves.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) base: String,
    pub(crate) child: Child,
}

impl Role {
    pub(crate) async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    }

    /// Ends it as a machine that fails does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Ends it as an operator does, and waits.
    pub(crate) async fn end(mut self) -> Option<i32> {
        self.signal("-TERM").await;
        timeout(Duration::from_secs(15), self.child.wait()).await.expect("it drains in time").unwrap().code()
    }
}

/// A folder with files, and databases.
#[derive(Debug)]
pub(crate) struct World {
    /// The service's, with an outbox.
    pub(crate) write: TestPostgres,
    pub(crate) read: TestPostgres,
    /// The aggregate's type, which no other test has; its topics begin with it.
    pub(crate) kind: String,
    pub(crate) folder: tempfile::TempDir,
    client: Client,
}

impl World {
    pub(crate) async fn new() -> Self {
        let world = Self {
            write: steadfast_testkit::postgres().await,
            read: steadfast_testkit::postgres().await,
            kind: format!("order{}x{:08x}", std::process::id(), fastrand::u32(..)),
            folder: tempfile::tempdir().unwrap(),
            client: Client::new(Limits::default()),
        };
        for (database, tables) in [(&world.write, "outbox"), (&world.read, "projection")] {
            let ran = world.run(&["migrate", tables], &[("STEADFAST_DATABASE__URL", &database.url())]).await;
            assert_eq!(ran.code, Some(0), "{ran:#?}");
        }
        world
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
        command.args(arguments).kill_on_drop(true).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let running = self.command(arguments).envs(variables.iter().copied()).output();
        let output = timeout(LIMIT, running).await.expect("it ends in time").expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The relay's configuration; `more` stands before its tables, `tables` after them.
    pub(crate) async fn relay_config(&self, more: &str, tables: &str) -> (PathBuf, u16) {
        let port = free_port().await;
        let text = format!(
            "listen = \"127.0.0.1:{port}\"\nmax_attempts = 2\n{more}\n\
             [databases.shop]\nurl = \"{}\"\n\
             [kafka]\nbrokers = [\"{}\"]\ndelivery = \"20s\"\n\
             [topics]\npartitions = 3\nreplication = 1\n\
             [lease]\ntime = \"2s\"\n{tables}",
            self.write.url(),
            brokers(),
        );
        (self.file(&format!("relay-{port}.toml"), &text).into(), port)
    }

    /// A view of orders with what was applied, to be seen twice if it is applied twice.
    pub(crate) async fn make_view(&self) {
        for statement in [
            "create table order_view (order_id text primary key, total bigint not null, changes bigint not null)",
            "create table seen (order_id text, sequence bigint, primary key (order_id, sequence))",
        ] {
            sqlx::query(statement).execute(self.read.pool()).await.unwrap();
        }
        let kind = &self.kind;
        self.file(
            "orders.yaml",
            &format!(
                "projection: orders\naggregates: [{kind}]\non:\n  {kind}.created.v1:\n    sql: |\n      \
                 insert into order_view (order_id, total, changes) values (:id, :total, 0)\n    \
                 params: {{ id: $.aggregate_id, total: $.payload.total }}\n  {kind}.changed.v1:\n    sql: |\n      \
                 with once as (insert into seen (order_id, sequence) values (:id, :sequence))\n      \
                 update order_view set total = total + :by, changes = changes + 1 where order_id = :id\n    \
                 params: {{ id: $.aggregate_id, sequence: $.sequence, by: $.payload.by }}\n"
            ),
        );
    }

    pub(crate) async fn projector_config(&self, more: &str) -> (PathBuf, u16) {
        let port = free_port().await;
        let text = format!(
            "listen = \"127.0.0.1:{port}\"\nprojections = [\"*.yaml\"]\ngroup = \"{}\"\n{more}\n\
             [database]\nurl = \"{}\"\n[kafka]\nbrokers = [\"{}\"]\n\
             settings = {{ session_timeout_ms = \"6000\", topic_metadata_refresh_interval_ms = \"500\" }}\n",
            self.kind,
            self.read.url(),
            brokers(),
        );
        (self.file(&format!("projector-{port}.toml"), &text).into(), port)
    }

    pub(crate) fn launch(&self, arguments: &[&str], config: &Path, port: u16) -> Role {
        let config = config.display().to_string();
        let child = self.command(&[arguments, &["--config", &config]].concat()).spawn().expect("it starts");
        Role { base: format!("http://127.0.0.1:{port}"), child }
    }

    /// Starts a relay, and waits until it is ready.
    pub(crate) async fn relay(&self) -> Role {
        let (config, port) = self.relay_config("", "").await;
        let role = self.launch(&["outbox", "relay"], &config, port);
        self.ready(&role).await;
        role
    }

    /// Starts a projector, and waits until it is ready.
    pub(crate) async fn projector(&self) -> Role {
        let (config, port) = self.projector_config("").await;
        let role = self.launch(&["projector"], &config, port);
        self.ready(&role).await;
        role
    }

    pub(crate) async fn get(&self, role: &Role, path: &str) -> Option<Answer> {
        self.client.send(&Request::get(&role.base, path)).await.ok()
    }

    pub(crate) async fn ask(&self, request: Request) -> Answer {
        self.client.send(&request).await.unwrap_or_else(|error| panic!("{request:?}: {error}"))
    }

    pub(crate) async fn ready(&self, role: &Role) {
        wait_for("the role is ready", LIMIT, || async {
            self.get(role, "/readyz").await.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// What `/readyz` says is missing; waits until it is not ready.
    pub(crate) async fn not_ready(&self, role: &Role, part: &str) {
        wait_for(&format!("/readyz says {part:?}"), LIMIT, || async {
            let answer = self.get(role, "/readyz").await;
            answer.is_some_and(|answer| {
                answer.status == 503 && answer.json::<Value>().is_ok_and(|body| body.to_string().contains(part))
            })
        })
        .await;
    }

    /// An order, by plain SQL with the user's own six columns.
    pub(crate) async fn insert(&self, id: &str, event: &str, payload: &str) {
        sqlx::query(
            "insert into outbox (aggregate_id, aggregate_type, event_type, payload, created_at, published_at)
             values ($1, $2, $3, $4::json, now(), null)",
        )
        .bind(id)
        .bind(&self.kind)
        .bind(format!("{}.{event}.v1", self.kind))
        .bind(payload)
        .execute(self.write.pool())
        .await
        .unwrap();
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.read.pool()).await.unwrap()
    }

    /// Waits until so many changes were applied.
    pub(crate) async fn applied(&self, changes: i64) {
        wait_for(&format!("{changes} changes in the view"), LIMIT, || async {
            self.number("select coalesce(sum(changes), 0)::bigint from order_view").await >= changes
        })
        .await;
    }
}
