//! `steadfast bench idempotency` and `steadfast bench lock` on the real servers, as short as they can be: that they run to
//! their end, what they print, and that nothing of theirs is left.

use std::ffi::OsStr;

use serde_json::Value;

use crate::bench::{Ran, assert_latency, assert_ratio, bench, number, postgres};
use crate::support::steadfast;

fn redis() -> String {
    std::env::var("STEADFAST_TEST_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:16399".to_owned())
}

/// All nodes of the cluster.
fn cluster() -> String {
    std::env::var("STEADFAST_TEST_REDIS_CLUSTER")
        .unwrap_or_else(|_| (7001..=7006).map(|port| format!("redis://127.0.0.1:{port}")).collect::<Vec<_>>().join(","))
}

/// One short round of it: the lines, in which everything that all of them hold makes sense.
async fn short(arguments: &[impl AsRef<OsStr>]) -> (Ran, Vec<Value>) {
    let short = ["--rounds", "1", "--seconds", "0.1", "--json"].map(OsStr::new);
    let ran = bench(&arguments.iter().map(AsRef::as_ref).chain(short).collect::<Vec<_>>()).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for line in &lines {
        assert_eq!(line["work"], arguments[0].as_ref().to_str().expect("UTF-8"), "{line:#}");
        assert_ratio(line);
        assert_latency(line);
        assert!(number(line, "ours_per_s") > 0.0 && number(line, "rss_mb") > 0.0, "{line:#}");
    }
    (ran, lines)
}

fn settings(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["setting"].as_str()).collect()
}

async fn assert_no_database_of(ran: &Ran) {
    let db = steadfast_testkit::postgres().await;
    let left: Vec<String> = sqlx::query_scalar("select datname::text from pg_database where datname like $1")
        .bind(format!("steadfast\\_bench\\_{}\\_%", ran.process))
        .fetch_all(db.pool())
        .await
        .unwrap();
    assert_eq!(left, Vec::<String>::new());
}

/// On none of these servers.
async fn assert_no_key_of(ran: &Ran, urls: &str) {
    for url in urls.split(',') {
        let mut connection = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("steadfast-bench:{}:*", ran.process)).arg("COUNT").arg(10_000);
            let (next, keys): (u64, Vec<String>) = scan.query_async(&mut connection).await.unwrap();
            assert_eq!(keys, Vec::<String>::new(), "{url}");
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }
}

#[tokio::test]
async fn idempotency_stands_beside_a_plain_set_the_echo_and_the_bare_transaction() {
    let (redis, postgres) = (redis(), postgres());
    let (ran, lines) = short(&["idempotency", "--redis", &redis, "--postgres", &postgres, "--at-once", "4"]).await;
    let settings = settings(&lines);
    let set = if settings[0].contains("redis-benchmark") { "redis-benchmark SET" } else { "SET" };
    assert_eq!(
        settings,
        [
            format!("Redis, new keys, beside {set}, 50 at once").as_str(),
            &format!("Redis, replays, beside {set}, 50 at once"),
            &format!("Redis, claim and completion, beside {set}, 50 at once"),
            "layer over Redis, HTTP, beside the echo, 4 at once",
            "layer over Redis, no socket, beside the echo, 4 at once",
            "layer over memory, HTTP, beside the echo, 4 at once",
            "layer over memory, no socket, beside the echo, 4 at once",
            "PostgreSQL, transactional, beside the bare transaction, 4 at once",
        ]
    );
    let last = lines.last().unwrap();
    assert!(number(last, "commits") > 0.0 && number(last, "wal_bytes") > 0.0, "{last:#}");
    assert!(lines[0].get("commits").is_none(), "{:#}", lines[0]);
    assert_no_key_of(&ran, &redis).await;
    assert_no_database_of(&ran).await;
}

#[tokio::test]
async fn idempotency_on_a_cluster_stands_beside_a_plain_set_there() {
    let cluster = cluster();
    let (ran, lines) = short(&["idempotency", "--redis", &cluster, "--at-once", "4"]).await;
    let settings = settings(&lines);
    let set = if settings[0].contains("redis-benchmark") { "redis-benchmark --cluster SET" } else { "SET" };
    for (setting, check) in settings.iter().zip(["new keys", "replays", "claim and completion"]) {
        assert_eq!(*setting, format!("Redis Cluster, {check}, beside {set}, 50 at once"));
    }
    assert_eq!(settings[3], "layer over Redis Cluster, HTTP, beside the echo, 4 at once");
    assert_no_key_of(&ran, &cluster).await;
}

#[tokio::test]
async fn without_servers_the_layer_alone_is_measured() {
    let (_, lines) = short(&["idempotency", "--at-once", "1,2"]).await;
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(settings(&lines).iter().all(|it| it.starts_with("layer over memory")), "{lines:#?}");
}

#[tokio::test]
async fn locking_stands_beside_the_bare_statement_and_the_lane_beside_three_ways_without_one() {
    let postgres = postgres();
    let (ran, lines) = short(&["lock", "--postgres", &postgres, "--at-once", "2", "--clients", "16"]).await;
    // pgbench is there or not.
    let (edits, hot) = lines.split_at(lines.len() - 3);
    let edits = settings(edits);
    assert_eq!(edits[0], "versioned update beside sqlx by hand, 2 at once");
    assert!(edits[1..].iter().all(|it| *it == "versioned update beside pgbench, 2 at once"), "{edits:?}");
    assert_eq!(
        settings(hot),
        [
            "hot product, lane beside retry on conflict, 16 clients, 32 connections",
            "hot product, lane beside FOR NO KEY UPDATE, 16 clients, 32 connections",
            "hot product, lane beside a guarded count, 16 clients, 32 connections",
        ]
    );
    for line in hot {
        for name in ["fairness", "limit_fairness"] {
            assert!(number(line, name) >= 1.0, "{line:#}");
        }
        assert!(number(line, "limit_p50_ms") <= number(line, "limit_p99_ms"), "{line:#}");
        assert!(number(line, "commits") > 0.0 && number(line, "wal_bytes") > 0.0, "{line:#}");
    }
    assert_no_database_of(&ran).await;
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_flag_and_no_secret() {
    bench(&["idempotency", "--redis", "redis://127.0.0.1:1"]).await.assert_refused(&["--redis"]);
    bench(&["lock", "--postgres", "postgres://postgres@127.0.0.1:1"]).await.assert_refused(&["--postgres"]);
    let no_url = bench(&["idempotency", "--redis", "nonsense:hunter2@x"]).await;
    no_url.assert_refused(&["--redis", "redis://user:password@host"]);
    assert!(!no_url.stderr.contains("hunter2"), "{}", no_url.stderr);
    for (arguments, part) in [
        (["bench", "lock", "--postgres=x", "--at-once=33"], "1 to 32"),
        (["bench", "idempotency", "--at-once=0", "--json"], "1 to 4096"),
        (["bench", "idempotency", "--seconds=0", "--json"], "0.1 to 600"),
    ] {
        let ran = steadfast(&arguments).await;
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        assert!(ran.stderr.contains(part), "{part:?} in {}", ran.stderr);
    }
}
