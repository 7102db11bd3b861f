//! `steadfast idempotency` beside a service whose handlers end without saying what they did, on every store that outlives a
//! process. A resolved record lives for an hour at most, so that nothing is left in the servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::routing::post;
use axum::{Extension, Router};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use steadfast_core::Principal;
use steadfast_db::migrate;
use steadfast_idempotency::redis::{Options, Redis};
use steadfast_idempotency::{
    Claim, Fingerprint, IdempotencyLayer, LINE, Owner, Postgres, RecordId, Scope, Sqlite, Store,
};
use steadfast_testkit::{SystemClock, TestDb, TestPostgres};
use tower::ServiceExt;

use crate::support::{Ran, steadfast};

const SCOPE: &str = "POST /v1/cards";
const USER: &str = "anna@example.com";
const CLUSTER: &str = "redis://127.0.0.1:7001,redis://127.0.0.1:7002";

/// A store, and how the command finds it.
struct Place {
    store: Arc<dyn Store>,
    arguments: Vec<String>,
    executed: Arc<AtomicU32>,
    _sqlite: Option<TestDb>,
    _postgres: Option<TestPostgres>,
}

impl Place {
    fn new(store: impl Store + 'static, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        Self { store: Arc::new(store), arguments, executed: Arc::default(), _sqlite: None, _postgres: None }
    }

    async fn sqlite() -> Self {
        let db = steadfast_testkit::database().await;
        migrate(&*db, &LINE).await.expect("tables");
        let url = format!("sqlite:{}", db.path().display());
        let place = Self::new(Sqlite::new(db.clone(), Arc::new(SystemClock)), &["--store", &url]);
        Self { _sqlite: Some(db), ..place }
    }

    async fn postgres() -> Self {
        let db = steadfast_testkit::postgres().await;
        migrate(&*db, &LINE).await.expect("tables");
        let place = Self::new(Postgres::new(db.clone()), &["--store", &db.url()]);
        Self { _postgres: Some(db), ..place }
    }

    async fn redis() -> Self {
        let (url, options) = ("redis://127.0.0.1:16399", options());
        let prefix = options.prefix.clone();
        let store = Redis::open(&url.to_owned().into(), Arc::new(SystemClock), options).await;
        let store = store.expect("Redis answers: start it with `cargo xtask services up redis`");
        Self::new(store, &["--store", url, "--prefix", &prefix])
    }

    async fn cluster() -> Self {
        let options = options();
        let prefix = options.prefix.clone();
        let nodes: Vec<_> = CLUSTER.split(',').map(|url| url.to_owned().into()).collect();
        let store = Redis::open_cluster(&nodes, Arc::new(SystemClock), options).await;
        let store = store.expect("the cluster answers: start it with `cargo xtask services up redis`");
        Self::new(store, &["--store", CLUSTER, "--prefix", &prefix])
    }

    /// Runs `steadfast idempotency`.
    async fn run(&self, command: &str, more: &[&str]) -> Ran {
        let mut arguments = vec!["idempotency", command];
        arguments.extend(self.arguments.iter().map(String::as_str));
        arguments.extend(more);
        steadfast(&arguments).await
    }

    async fn json(&self, command: &str, more: &[&str]) -> Value {
        let ran = self.run(command, &[&["-o", "json"], more].concat()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).expect("JSON")
    }

    /// Sends a request to the service; its handler fails without a word the first time.
    async fn send(&self, key: &str) -> (StatusCode, bool, String) {
        let executed = Arc::clone(&self.executed);
        let handler = move || async move {
            match executed.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => (StatusCode::INTERNAL_SERVER_ERROR, "card 4711 of Anna"),
                _ => (StatusCode::CREATED, "executed again"),
            }
        };
        let layer = IdempotencyLayer::new(Arc::clone(&self.store), Scope::new(SCOPE)).ttl(Duration::from_mins(1));
        let app = Router::new()
            .route("/v1/cards", post(handler))
            .layer(layer)
            .layer(Extension(Principal::new(USER, ["card.sell"])));
        let request = Request::post("/v1/cards").header("idempotency-key", key).body(Body::empty()).expect("a request");
        let response = app.oneshot(request).await.expect("an answer");
        let replayed = response.headers().contains_key("idempotency-replayed");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        (head.status, replayed, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// A request that somebody is executing.
    async fn executing(&self, key: &str) -> RecordId {
        let id = RecordId::derive(SCOPE, USER, key);
        let claim = Claim {
            id,
            scope: SCOPE.into(),
            subject: USER.into(),
            login: None,
            forgotten: false,
            fingerprint: Fingerprint::of_data(b"1"),
            owner: Owner::from_bytes([9; 16]),
            lease: Duration::from_mins(1),
            ttl: Duration::from_mins(1),
            take_over: true,
        };
        self.store.claim(&claim).await.expect("a claim");
        id
    }
}

fn options() -> Options {
    let prefix = format!("cli:{}:{:08x}:", std::process::id(), fastrand::u32(..));
    Options { timeout: Duration::from_secs(1), prefix, ..Options::default() }
}

/// Nothing about whom, and nothing of an answer.
fn tells_nothing_personal(ran: &Ran) {
    for word in ["anna", "Anna", "4711", "receipt-"] {
        assert!(!ran.stdout.contains(word) && !ran.stderr.contains(word), "{word}: {ran:?}");
    }
}

async fn whole_life(place: Place) {
    for key in ["receipt-1", "receipt-2"] {
        assert_eq!(place.send(key).await.0, StatusCode::INTERNAL_SERVER_ERROR);
        let (status, _, body) = place.send(key).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(body.contains("outcome-unknown"), "{body}");
    }
    let executing = place.executing("receipt-3").await.to_string();
    let id = |key| RecordId::derive(SCOPE, USER, key).to_string();
    let (done, free) = (id("receipt-1"), id("receipt-2"));

    let listed = place.json("list", &[]).await;
    let ids: Vec<&str> =
        listed["records"].as_array().expect("records").iter().filter_map(|it| it["id"].as_str()).collect();
    let mut expected = vec![done.as_str(), free.as_str()];
    expected.sort_unstable();
    assert_eq!(ids, expected, "what somebody executes is not listed");
    assert_eq!((&listed["records"][0]["state"], &listed["records"][0]["scope"]), (&json!("unknown"), &json!(SCOPE)));
    let first = place.json("list", &["--limit", "1"]).await;
    assert_eq!((first["next"].as_str(), first["records"].as_array().map(Vec::len)), (Some(expected[0]), Some(1)));
    let second = place.run("list", &["--after", expected[0], "-o", "id"]).await;
    assert_eq!(second.stdout.trim(), expected[1]);
    for (command, id) in [("list", None), ("show", Some(done.as_str())), ("show", Some(executing.as_str()))] {
        let ran = place.run(command, id.as_slice()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(SCOPE), "{ran:?}");
        tells_nothing_personal(&ran);
    }

    let folder = tempfile::tempdir().expect("a folder");
    let body = folder.path().join("answer.json");
    std::fs::write(&body, r#"{"card":"c-1"}"#).expect("a file");
    let body = body.to_str().expect("UTF-8");
    let executed =
        [&*done, "--status", "201", "--body", body, "--keep-hours", "1", "--reason", "the card is in the books"];
    let stale = place.run("resolve", &[&executed[..], &["--mark", "00"]].concat()).await;
    assert_eq!(stale.code, Some(1), "{stale:?}");
    let mark = place.json("show", &[&done]).await["mark"].as_str().expect("a mark").to_owned();
    let said = place.json("resolve", &[&executed[..], &["--mark", &mark]].concat()).await;
    assert_eq!(said, json!({ "id": done, "outcome": "executed", "status": 201 }));
    assert_eq!(place.send("receipt-1").await, (StatusCode::CREATED, true, r#"{"card":"c-1"}"#.to_owned()));
    let shown = place.json("show", &[&done]).await;
    assert_eq!((&shown["state"], &shown["status"], &shown["body_bytes"]), (&json!("done"), &json!(201), &json!(14)));
    let again = place.run("resolve", &executed).await;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("its outcome is known"), "{again:?}");

    let freed = place.run("resolve", &[&free, "--not-executed", "--reason", "no card in the books"]).await;
    assert_eq!((freed.code, freed.stdout.trim()), (Some(0), &*format!("{free} not executed")));
    assert!(freed.stderr.contains("no card in the books") && freed.stderr.contains("security"), "{freed:?}");
    assert_eq!(place.send("receipt-2").await, (StatusCode::CREATED, false, "executed again".to_owned()));
    tells_nothing_personal(&freed);

    let busy = place.run("resolve", &[&executing, "--not-executed", "--reason", "none"]).await;
    assert!(busy.code == Some(1) && busy.stderr.contains("executing it at present"), "{busy:?}");
    let absent = place.run("resolve", &[&id("receipt-9"), "--not-executed", "--reason", "none"]).await;
    assert!(absent.code == Some(1) && absent.stderr.contains("no such record"), "{absent:?}");
    assert_eq!(place.json("list", &[]).await["records"], json!([]));
}

#[tokio::test]
async fn unknown_outcomes_are_found_and_resolved_in_sqlite() {
    whole_life(Place::sqlite().await).await;
}

#[tokio::test]
async fn unknown_outcomes_are_found_and_resolved_in_postgresql() {
    whole_life(Place::postgres().await).await;
}

#[tokio::test]
async fn unknown_outcomes_are_found_and_resolved_in_redis() {
    whole_life(Place::redis().await).await;
}

#[tokio::test]
async fn unknown_outcomes_are_found_and_resolved_in_a_cluster_of_redis() {
    whole_life(Place::cluster().await).await;
}

#[tokio::test]
async fn what_cannot_be_is_told_in_one_line() {
    let empty = steadfast_testkit::postgres().await;
    let empty_url = empty.url();
    let folder = tempfile::tempdir().expect("a folder");
    let lost = format!("sqlite:{}", folder.path().join("none.sqlite").display());
    let long = folder.path().join("long");
    std::fs::write(&long, vec![b'x'; 300_000]).expect("a file");
    let long = long.to_str().expect("UTF-8");
    let id = RecordId::derive(SCOPE, USER, "k").to_string();
    let redis = "redis://127.0.0.1:16399";
    let resolve = |more: &[&'static str]| [&["resolve", "--store", redis], more].concat();
    let cases: [(Vec<&str>, i32, &str); 13] = [
        (vec!["list"], 2, "--store"),
        (vec!["list", "--store", "mysql://root:secret@db"], 2, "names no store"),
        (vec!["list", "--store", &lost], 2, "there is no file"),
        (vec!["list", "--store", &empty_url], 2, "no idempotency records"),
        (vec!["list", "--store", "postgres://nobody:secret@127.0.0.1:9/shop"], 3, "127.0.0.1:9"),
        (vec!["list", "--store", "redis://:secret@127.0.0.1:9"], 3, "Redis"),
        (vec!["list", "--store", "redis://127.0.0.1:7001"], 2, "cluster"),
        (vec!["list", "--store", redis, "--cluster"], 2, "not a node of a cluster"),
        (vec!["show", "--store", redis, "idempotency:12"], 2, "not a record's name"),
        (resolve(&["--not-executed"]), 2, "required"),
        (
            [&resolve(&["--not-executed", "--status", "201", "--reason", "r"])[..], &[&id]].concat(),
            2,
            "cannot be used with",
        ),
        (
            [&resolve(&["--status", "201", "--reason", "r", "--body"])[..], &[long, &id]].concat(),
            2,
            "at most 262144 bytes",
        ),
        ([&resolve(&["--not-executed", "--reason", " "])[..], &[&id]].concat(), 2, "--reason is empty"),
    ];
    for (arguments, code, said) in cases {
        let ran = steadfast(&[&["idempotency"], &arguments[..]].concat()).await;
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: {ran:?}");
        assert!(ran.stdout.is_empty() && !ran.stderr.contains("secret"), "{ran:?}");
    }
}
