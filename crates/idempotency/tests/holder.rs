//! A process that claims a key, is stopped past its lease and woken: it may not overwrite who took over.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use secrecy::SecretString;
use steadfast_idempotency::{Answer, Claim, Decision, Prior, Report, Reported, State, Store};
use steadfast_testkit::{SystemClock, wait_for};

use crate::servers;
use crate::support::{LIMIT, claim};

const ORDERS: &str = "STEADFAST_TEST_HOLDER";

fn held(token: u8) -> Claim {
    Claim { lease: Duration::from_millis(300), ..claim("held", token, "a", true) }
}

async fn open(orders: &str) -> Arc<dyn Store> {
    let (kind, rest) = orders.split_once(' ').unwrap();
    let (prefix, urls) = rest.split_once(' ').unwrap();
    let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
    let (secrets, options) = (servers::secrets(&urls), servers::options(prefix));
    match kind {
        "single" => {
            let store = steadfast_idempotency::redis::Redis::open(&secrets[0], Arc::new(SystemClock), options);
            Arc::new(store.await.unwrap())
        }
        "cluster" => {
            let store = steadfast_idempotency::redis::Redis::open_cluster(&secrets, Arc::new(SystemClock), options);
            Arc::new(store.await.unwrap())
        }
        "postgres" => {
            let url = SecretString::from(urls[0].clone());
            let db = steadfast_db::postgres::Db::open(&url, steadfast_db::postgres::Options::default()).await.unwrap();
            Arc::new(steadfast_idempotency::Postgres::new(db).limit(LIMIT))
        }
        other => panic!("no such store: {other}"),
    }
}

#[tokio::test]
#[ignore = "the process that another test starts, stops and wakes"]
async fn holds() {
    let store = open(&std::env::var(ORDERS).expect("started by a test")).await;
    let claim = held(1);
    assert!(matches!(store.claim(&claim).await.unwrap(), Decision::Execute { attempt: 1, .. }));
    println!("\nclaimed");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let answer = Report::Complete(Arc::new(Answer::new(StatusCode::OK).with_body("late")));
    let word = match store.report(claim.id, claim.owner, answer, claim.ttl).await.unwrap() {
        Reported::Accepted => "accepted",
        Reported::Lost(_) => "lost",
    };
    println!("\n{word}");
}

struct Holder {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Holder {
    fn start(orders: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "holder::holds", "--nocapture"])
            .env(ORDERS, orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn says(&mut self, words: &[&str]) -> String {
        self.lines.by_ref().map(Result::unwrap).find(|line| words.contains(&line.as_str())).expect("the holder lives")
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn check(orders: &str) {
    let store = open(orders).await;
    let mut holder = Holder::start(orders);
    holder.says(&["claimed"]);
    holder.signal("-STOP");
    let winner = held(2);
    let took_over = Decision::Execute { attempt: 2, prior: Prior::Lapsed };
    wait_for("the lease to end", LIMIT, || async { store.claim(&winner).await.unwrap() == took_over }).await;
    let won = Arc::new(Answer::new(StatusCode::CREATED).with_body("won"));
    let done = store.report(winner.id, winner.owner, Report::Complete(Arc::clone(&won)), winner.ttl).await.unwrap();
    assert_eq!(done, Reported::Accepted);
    holder.signal("-CONT");
    writeln!(holder.child.stdin.as_ref().unwrap()).unwrap();
    assert_eq!(holder.says(&["accepted", "lost"]), "lost");
    assert_eq!(store.show(winner.id).await.unwrap().unwrap().state, State::Done(won));
}

#[tokio::test]
async fn a_holder_that_was_stopped_past_its_lease_may_not_overwrite_in_redis() {
    let prefix = servers::prefix();
    let _removed = servers::Keys::new(vec![servers::single_url()], prefix.clone());
    check(&format!("single {prefix} {}", servers::single_url())).await;
}

#[tokio::test]
async fn a_holder_that_was_stopped_past_its_lease_may_not_overwrite_in_a_cluster() {
    let prefix = servers::prefix();
    let _removed = servers::Keys::new(servers::cluster_urls(), prefix.clone());
    check(&format!("cluster {prefix} {}", servers::cluster_urls().join(","))).await;
}

#[tokio::test]
async fn a_holder_that_was_stopped_past_its_lease_may_not_overwrite_in_postgres() {
    let db = crate::support::postgres_database().await;
    check(&format!("postgres - {}", db.url())).await;
}
