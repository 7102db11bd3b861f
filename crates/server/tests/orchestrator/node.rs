//! An orchestrator in a process of its own, and a participant that counts effects.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use goodgo_pos::client::{Answer, Client, Limits, Request};
use serde_json::{Value, json};
use steadfast_host::auth::Minter;
use steadfast_testkit::{SystemClock, TestPostgres, wait_for};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

const SECRET: &str = "a secret of the tests, thirty-two bytes or more";
const KEY: &str = "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b";

pub(crate) const DEFINITION: &str = "
saga: trip
version: 1
permissions: [trip]
timeout: 2m
steps:
  seat: { participant: shop, action: { post: /do/seat, body: {} }, compensate: { post: /undo/seat, body: {} } }
  pay:  { participant: shop, after: [seat], action: { post: /do/pay, body: {} }, compensate: { post: /undo/pay, body: {} } }
  mail: { participant: shop, kind: retriable, after: [pay], action: { post: /do/mail, body: {} } }
";

/// Free for the moment; whoever takes it in between makes the test fail loudly.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[derive(Debug)]
struct Ledger {
    /// By the call's key: how often its effect took place.
    effects: Mutex<BTreeMap<String, u32>>,
    /// Whether calls are answered, or held.
    open: watch::Sender<bool>,
}

/// A participant that remembers keys, as a barrier does, and whose door can be shut: calls then wait before their effect.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    ledger: Arc<Ledger>,
    _serving: AbortOnDropHandle<()>,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let ledger = Arc::new(Ledger { effects: Mutex::default(), open: watch::Sender::new(true) });
        let router = Router::new().route("/{act}/{step}", post(call)).with_state(Arc::clone(&ledger));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio_util::task::TaskTracker::new().spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self { address, ledger, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn shut(&self, shut: bool) {
        self.ledger.open.send_replace(!shut);
    }

    /// Calls that have taken effect, each once.
    pub(crate) fn effects(&self, part: &str) -> usize {
        let effects = self.ledger.effects.lock().unwrap();
        assert!(effects.values().all(|times| *times == 1), "{effects:?}");
        effects.keys().filter(|key| key.contains(part)).count()
    }
}

async fn call(
    State(ledger): State<Arc<Ledger>>,
    Path((act, step)): Path<(String, String)>,
    headers: HeaderMap,
    _: Bytes,
) -> Response {
    let key = headers["idempotency-key"].to_str().unwrap().trim_matches('"').to_owned();
    let mut open = ledger.open.subscribe();
    open.wait_for(|open| *open).await.unwrap();
    let known = {
        let mut effects = ledger.effects.lock().unwrap();
        let known = effects.contains_key(&key);
        effects.entry(key).or_insert(1);
        known
    };
    let replayed = if known { "true" } else { "false" };
    (StatusCode::OK, [("idempotency-replayed", replayed)], axum::Json(json!({"did": format!("{act} {step}")})))
        .into_response()
}

/// Several orchestrators over one database.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) db: TestPostgres,
    pub(crate) shop: Shop,
    client: Client,
    token: String,
    folder: tempfile::TempDir,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) base: String,
    pub(crate) child: Child,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        let db = steadfast_testkit::postgres().await;
        let minter = Minter::new("t", SECRET.as_bytes(), "tests", "steadfast", Arc::new(SystemClock)).unwrap();
        let rights = ["trip", "saga.read", "saga.operate", "saga.define"];
        let token = minter.mint("ann", rights, Duration::from_hours(1));
        let folder = tempfile::tempdir().unwrap();
        let cluster = Self { db, shop: Shop::open().await, client: Client::new(Limits::default()), token, folder };
        let ran =
            cluster.command(&["migrate", "orchestrator", "--config"], &cluster.config("", 0)).output().await.unwrap();
        assert!(ran.status.success(), "{ran:?}");
        cluster
    }

    /// A configuration file; `more` is laid over it.
    pub(crate) fn config(&self, more: &str, port: u16) -> PathBuf {
        let text = format!(
            "listen = \"127.0.0.1:{port}\"\nnode = \"n{port}\"\n{more}\n[database]\nurl = \"{}\"\nconnections = 8\n\
             [auth]\nissuer = \"tests\"\naudience = \"steadfast\"\n\
             [[auth.keys]]\nkid = \"t\"\nalgorithm = \"hs256\"\nsecret = {{ file = \"{}\" }}\n\
             [sealing]\nkid = \"s\"\nkey = {{ file = \"{}\" }}\n\
             [participants.shop]\nbase_urls = [\"http://{}\"]\nkey = {{ file = \"{}\" }}\n\
             [lease]\ntime = \"2s\"\n",
            self.db.url(),
            self.file("auth.key", SECRET),
            self.file("sealing.key", KEY),
            self.shop.address,
            self.file("shop.key", KEY),
        );
        PathBuf::from(self.file(&format!("{port}.toml"), &text))
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub(crate) fn command(&self, arguments: &[&str], config: &std::path::Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
        command.args(arguments).arg(config).kill_on_drop(true).current_dir(self.folder.path());
        command
    }

    /// Starts a node without waiting for it.
    pub(crate) async fn launch(&self, more: &str) -> Node {
        let port = free_port().await;
        let child =
            self.command(&["--log", "warn", "orchestrator", "--config"], &self.config(more, port)).spawn().unwrap();
        Node { base: format!("http://127.0.0.1:{port}"), child }
    }

    /// Starts a node, and waits until it is ready.
    pub(crate) async fn start(&self) -> Node {
        let node = self.launch("").await;
        self.ready(&node).await;
        node
    }

    pub(crate) async fn ready(&self, node: &Node) {
        wait_for("the node is ready", Duration::from_secs(20), || async {
            let answer = self.client.send(&Request::get(&node.base, "/readyz")).await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    pub(crate) async fn ask(&self, request: Request) -> Answer {
        let request = request.bearer(&self.token);
        self.client.send(&request).await.unwrap_or_else(|error| panic!("{request:?}: {error}"))
    }

    pub(crate) async fn upload(&self, node: &Node) {
        let answer = self.ask(Request::post(&node.base, "/v1/definitions", &json!({"definition": DEFINITION}))).await;
        assert!(answer.status.is_success(), "{}", answer.detail());
    }

    /// Starts a saga under a key; the answer's status code and the saga's id.
    pub(crate) async fn begin(&self, node: &Node, key: &str) -> (u16, String) {
        let answer = self.ask(Request::post(&node.base, "/v1/sagas/trip", &json!({"input": {}})).key(key)).await;
        let id = answer.json::<Value>().unwrap()["saga_id"].as_str().unwrap_or_default().to_owned();
        (answer.status.as_u16(), id)
    }

    pub(crate) async fn status(&self, node: &Node, id: &str) -> String {
        let answer = self.ask(Request::get(&node.base, format!("/v1/sagas/{id}"))).await;
        answer.json::<Value>().unwrap()["status"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn wait_until(&self, node: &Node, id: &str, status: &str) {
        wait_for(&format!("saga {id} is {status}"), Duration::from_secs(20), || async {
            self.status(node, id).await == status
        })
        .await;
    }
}

impl Node {
    pub(crate) async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    }

    pub(crate) async fn gone(&self) -> bool {
        TcpStream::connect(self.base.trim_start_matches("http://")).await.is_err()
    }
}
