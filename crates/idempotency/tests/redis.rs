//! Redis that is unfit, slow, stopped, killed, or whose replies are lost.

use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use secrecy::SecretString;
use steadfast_core::{Classified, ErrorKind};
use steadfast_idempotency::redis::{Options, Redis, Wait};
use steadfast_idempotency::{Answer, Decision, Error, IdempotencyLayer, Prior, Report, Reported, Scope, State, Store};
use steadfast_testkit::proxy::{Proxy, Way, holds, once};
use steadfast_testkit::{SystemClock, wait_for};
use tokio::time::Instant;

use crate::own_servers::{Cluster, Server, answering};
use crate::servers::{self, Keys, options, prefix};
use crate::support::{LIMIT, SCOPE, authenticated, claim, post};

const FIRST: Decision = Decision::Execute { attempt: 1, prior: Prior::None };

async fn open(url: &str, options: Options) -> Result<Redis, Error> {
    Redis::open(&SecretString::from(url.to_owned()), Arc::new(SystemClock), options).await
}

async fn refusal(url: &str, options: Options) -> String {
    let error = open(url, options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    error.to_string()
}

fn done() -> Report {
    Report::Complete(Arc::new(Answer::new(StatusCode::CREATED).with_body("x")))
}

#[tokio::test]
async fn a_server_that_may_forget_is_refused_with_the_way_out() {
    for policy in ["allkeys-lru", "volatile-lru"] {
        let server = Server::start(&["--maxmemory-policy", policy]).await;
        let said = refusal(&server.url(), Options::default()).await;
        assert!(said.contains(policy) && said.contains("set maxmemory-policy noeviction"), "{said}");
        assert!(said.contains(&format!("127.0.0.1:{}", server.port)), "{said}");
    }
}

#[tokio::test]
async fn one_master_of_a_cluster_that_may_forget_is_enough_to_refuse_all() {
    let cluster = Cluster::start(Duration::ZERO, 0).await;
    let urls = servers::secrets(&cluster.urls());
    Redis::open_cluster(&urls, Arc::new(SystemClock), Options::default()).await.unwrap();
    let mut policy = redis::cmd("CONFIG");
    policy.arg("SET").arg("maxmemory-policy").arg("allkeys-lru");
    policy.exec(&mut cluster.nodes[1].connection()).unwrap();
    let said = Redis::open_cluster(&urls, Arc::new(SystemClock), Options::default()).await.unwrap_err();
    assert_eq!(said.kind(), ErrorKind::Invalid);
    let (said, whose) = (said.to_string(), format!("127.0.0.1:{}", cluster.proxies[1].port));
    assert!(said.contains(&whose) && said.contains("set maxmemory-policy noeviction"), "{said}");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_repeated() {
    let server = Server::start(&["--requirepass", "right"]).await;
    for given in ["redis://:hunter2@127.0.0.1", "redis://127.0.0.1"] {
        let said = refusal(&format!("{given}:{}", server.port), Options::default()).await;
        assert!(said.contains("password") && !said.contains("hunter2"), "{said}");
    }
    let url = format!("redis://:right@127.0.0.1:{}", server.port);
    let store = open(&url, options("")).await.unwrap();
    assert_eq!(store.claim(&claim("k", 1, "a", false)).await.unwrap(), FIRST);
    assert!(!format!("{store:?}").contains("right"));
}

#[tokio::test]
async fn an_old_server_is_refused_with_its_version() {
    let (old, _serving) = answering("redis_version:6.2.14\r\nrole:master\r\n").await;
    let said = refusal(&old, Options::default()).await;
    assert!(said.ends_with("it is of version 6.2.14: use Redis 7.0 or later"), "{said}");
    let (other, _serving) = answering("something_else:1\r\n").await;
    assert!(refusal(&other, Options::default()).await.contains("is it a Redis?"));
}

#[tokio::test]
async fn a_server_that_a_restart_empties_is_used_and_warned_about() {
    let server = Server::start(&[]).await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    open(&server.url(), Options::default()).await.unwrap();
    let said = log.take();
    let line = said.lines().find(|line| line.contains("appendonly is no")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("WARN") && line.contains(&format!("127.0.0.1:{}", server.port)), "{line}");

    let kept = Server::start(&["--appendonly", "yes", "--min-replicas-to-write", "1"]).await;
    open(&kept.url(), Options::default()).await.unwrap();
    assert_eq!(log.take(), "", "nothing to be warned about");
}

/// What is logged in a test's thread.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_wrong_kind_of_server_and_settings_that_cannot_be_are_refused() {
    let single = servers::single_url();
    let nodes = servers::cluster_urls();
    assert!(refusal(&nodes[0], Options::default()).await.contains("open it as a cluster"));
    let alone = servers::secrets(std::slice::from_ref(&single));
    let error = Redis::open_cluster(&alone, Arc::new(SystemClock), Options::default());
    assert!(error.await.unwrap_err().to_string().contains("open it as a single server"));
    let none = Redis::open_cluster(&[], Arc::new(SystemClock), Options::default()).await.unwrap_err();
    assert!(none.to_string().contains("name at least one"));
    let said = refusal("postgres://secret@host", Options::default()).await;
    assert!(said.contains("redis://user:password@host") && !said.contains("secret"), "{said}");
    let timeout = |timeout| Options { timeout, ..Options::default() };
    for faulty in [Duration::ZERO, Duration::from_secs(2)] {
        assert!(refusal(&single, timeout(faulty)).await.contains("timeout must be"));
    }
    let wait = |replicas, limit| Options { wait: Some(Wait { replicas, limit }), ..Options::default() };
    assert!(refusal(&single, wait(0, Duration::from_millis(50))).await.contains("wait.replicas"));
    assert!(refusal(&single, wait(1, Duration::from_secs(1))).await.contains("wait.limit"));
}

#[tokio::test]
async fn nobody_at_the_address_is_temporary() {
    let error = open("redis://127.0.0.1:1", Options::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
}

#[tokio::test]
async fn a_stopped_server_fails_closed_in_time_and_is_used_again_when_it_wakes() {
    let server = Server::start(&[]).await;
    let store: Arc<dyn Store> = Arc::new(open(&server.url(), Options::default()).await.unwrap());
    assert_eq!(store.claim(&claim("before", 1, "", false)).await.unwrap(), FIRST);
    store.answers().await.unwrap();
    let executions = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = Arc::clone(&executions);
    let handler = async move || counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
    let route = axum::routing::post(handler);
    let layer = IdempotencyLayer::new(Arc::clone(&store), Scope::new(SCOPE));
    let closed = authenticated(axum::Router::new().route("/orders", route.clone()).layer(layer.clone()));
    let opened = authenticated(axum::Router::new().route("/orders", route).layer(layer.fail_open()));
    server.signal("-STOP");
    let start = Instant::now();
    let refused = post(&closed, "k", "").await;
    let waited = start.elapsed();
    assert_eq!((refused.status, refused.problem()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable".to_owned()));
    // The torture has the quarter of a second; beside all other tests it is the machine that is measured.
    assert!(waited < Duration::from_secs(1), "fails closed at 200 ms: {waited:?}");
    assert_eq!(executions.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert!(matches!(store.answers().await, Err(Error::TimedOut)));
    let start = Instant::now();
    assert_eq!(post(&opened, "open", "").await.status, StatusCode::OK, "a route may choose otherwise");
    assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
    server.signal("-CONT");
    wait_for("the server", LIMIT, || async { post(&closed, "later", "").await.status == StatusCode::OK }).await;
    // What was sent while it slept has been taken back, or nobody would ever execute it.
    wait_for("the claim to be free", LIMIT, || async { post(&closed, "k", "").await.status == StatusCode::OK }).await;
    assert!(post(&closed, "k", "").await.replayed());
}

#[tokio::test]
async fn a_server_that_died_is_used_again_when_it_is_back_also_for_scripts() {
    let mut server = Server::start(&[]).await;
    let store = open(&server.url(), Options::default()).await.unwrap();
    let one = claim("k", 1, "a", false);
    assert_eq!(store.claim(&one).await.unwrap(), FIRST);
    server.kill();
    let start = Instant::now();
    let error = store.claim(&claim("other", 1, "a", false)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
    server.restart().await;
    wait_for("the connection", LIMIT, || async { store.show(one.id).await.is_ok() }).await;
    // It has forgotten the record, as it keeps nothing, and the scripts.
    assert_eq!(store.claim(&one).await.unwrap(), FIRST);
    assert_eq!(store.report(one.id, one.owner, done(), one.ttl).await.unwrap(), Reported::Accepted);
    let seen = store.show(one.id).await.unwrap().unwrap();
    assert!(matches!(seen.state, State::Done(_)));
}

#[tokio::test]
async fn a_reply_that_is_lost_is_sent_again_by_the_library_and_changes_nothing() {
    let address = servers::single_url().trim_start_matches("redis://").parse().unwrap();
    let prefix = prefix();
    let _removed = Keys::new(vec![servers::single_url()], prefix.clone());
    // The claim's reply is nil, a script's is 1.
    for (word, key) in [(&b"$-1\r\n"[..], "claim"), (b":1\r\n", "completion")] {
        let arm = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let armed = Arc::clone(&arm);
        let proxy = Proxy::new(
            address,
            once(move |way, bytes| {
                way == Way::ToClient && armed.load(std::sync::atomic::Ordering::SeqCst) && holds(bytes, word)
            }),
        );
        let store = open(&format!("redis://127.0.0.1:{}", proxy.port), options(&prefix)).await.unwrap();
        let one = claim(key, 1, "a", false);
        if key == "completion" {
            assert_eq!(store.claim(&one).await.unwrap(), FIRST);
        }
        arm.store(true, std::sync::atomic::Ordering::SeqCst);
        if key == "claim" {
            assert_eq!(store.claim(&one).await.unwrap(), FIRST, "recognised as its own");
        } else {
            assert_eq!(store.report(one.id, one.owner, done(), one.ttl).await.unwrap(), Reported::Accepted);
        }
        let other = store.claim(&claim(key, 2, "a", false)).await.unwrap();
        assert_eq!(matches!(other, Decision::InFlight), key == "claim", "{other:?}");
    }
}

#[tokio::test]
async fn a_claim_that_too_few_replicas_have_is_not_executed() {
    let wait = Some(Wait { replicas: 1, limit: Duration::from_millis(20) });
    let server = Server::start(&[]).await;
    let store = open(&server.url(), Options { wait, ..options("") }).await.unwrap();
    let one = claim("k", 1, "a", false);
    let error = store.claim(&one).await.unwrap_err();
    assert!(matches!(error, Error::NotReplicated { wanted: 1, reached: 0 }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(store.report(one.id, one.owner, Report::Abandon, one.ttl).await.unwrap(), Reported::Accepted);
    assert_eq!(store.show(one.id).await.unwrap(), None);

    let prefix = prefix();
    let _removed = Keys::new(servers::cluster_urls(), prefix.clone());
    let wait = Some(Wait { replicas: 1, limit: Duration::from_millis(500) });
    let options = Options { wait, ..options(&prefix) };
    let urls = servers::secrets(&servers::cluster_urls());
    let store = Redis::open_cluster(&urls, Arc::new(SystemClock), options).await.unwrap();
    assert_eq!(store.claim(&one).await.unwrap(), FIRST);
    assert_eq!(store.report(one.id, one.owner, done(), one.ttl).await.unwrap(), Reported::Accepted);
}

#[tokio::test]
async fn the_name_of_a_key_is_as_documented_and_stands_under_its_prefix() {
    let prefix = prefix();
    let keys = Keys::new(servers::cluster_urls(), prefix.clone());
    let urls = servers::secrets(&servers::cluster_urls());
    let store = Redis::open_cluster(&urls, Arc::new(SystemClock), options(&prefix)).await.unwrap();
    let one = claim("k", 1, "a", false);
    store.claim(&one).await.unwrap();
    let mut found = Vec::new();
    keys.each(|_, key| found.push(String::from_utf8(key).unwrap()));
    let name = one.id.to_string();
    assert_eq!(found, [format!("{prefix}idempotency:{{{}}}", name.strip_prefix("idempotency:").unwrap())]);
}
