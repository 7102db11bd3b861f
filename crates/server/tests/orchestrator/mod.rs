//! `steadfast orchestrator`: several processes over one PostgreSQL, killed, stopped and told to end. Each test starts two or
//! three processes and waits for a lease of two seconds, so it takes some seconds.

mod node;

use std::time::Duration;

use goodgo_pos::client::Request;
use serde_json::{Value, json};
use steadfast_testkit::wait_for;
use tokio::time::Instant;

use self::node::{Cluster, Node};

/// Sagas whose first call hangs at the participant.
async fn hanging(cluster: &Cluster, node: &Node, count: usize) -> Vec<String> {
    cluster.shop.shut(true);
    let mut ids = Vec::new();
    for n in 0..count {
        let (status, id) = cluster.begin(node, &format!("k-{n}")).await;
        assert_eq!(status, 202);
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn a_killed_nodes_sagas_are_ended_by_the_other_within_two_leases() {
    let cluster = Cluster::new().await;
    let (mut first, second) = (cluster.start().await, cluster.start().await);
    cluster.upload(&first).await;
    let ids = hanging(&cluster, &first, 20).await;
    first.child.kill().await.unwrap();
    let killed = Instant::now();
    cluster.shop.shut(false);
    for id in &ids {
        cluster.wait_until(&second, id, "completed").await;
    }
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(5), "two leases of 2 s and a tick: {took:?}");
    assert_eq!(cluster.shop.effects("action"), 60);
    // The same start at the other node is the same saga.
    assert_eq!(cluster.begin(&second, "k-3").await, (200, ids[3].clone()));
    // And what the dead node had is done with: it comes back and works.
    let third = cluster.start().await;
    let (status, id) = cluster.begin(&third, "k-new").await;
    assert!(status == 202 || status == 200);
    cluster.wait_until(&second, &id, "completed").await;
}

#[tokio::test]
async fn a_node_that_was_stopped_for_longer_than_its_lease_writes_nothing_stale_and_works_again() {
    let cluster = Cluster::new().await;
    let (first, second) = (cluster.start().await, cluster.start().await);
    cluster.upload(&first).await;
    let ids = hanging(&cluster, &first, 5).await;
    first.signal("-STOP").await;
    cluster.shop.shut(false);
    for id in &ids {
        cluster.wait_until(&second, id, "completed").await;
    }
    first.signal("-CONT").await;
    cluster.ready(&first).await;
    let (_, id) = cluster.begin(&first, "after").await;
    cluster.wait_until(&first, &id, "completed").await;
    let stale: i64 = sqlx::query_scalar(
        "select count(*) from saga_journal a join saga_journal b on a.saga_no = b.saga_no and b.seq > a.seq and b.epoch < a.epoch",
    )
    .fetch_one(cluster.db.pool())
    .await
    .unwrap();
    assert_eq!(stale, 0);
    assert_eq!(cluster.shop.effects("action"), 18);
}

#[tokio::test]
async fn a_node_that_is_told_to_end_hands_over_at_once() {
    let cluster = Cluster::new().await;
    let (mut first, second) = (cluster.start().await, cluster.start().await);
    cluster.upload(&first).await;
    let ids = hanging(&cluster, &first, 10).await;
    let told = Instant::now();
    first.signal("-TERM").await;
    let owners = || async {
        sqlx::query_scalar::<_, i64>("select count(distinct epoch) from saga_journal")
            .fetch_one(cluster.db.pool())
            .await
            .unwrap()
    };
    wait_for("the other node writes", Duration::from_secs(5), || async { owners().await > 1 }).await;
    let took = told.elapsed();
    assert!(took < Duration::from_secs(1), "far below a lease of 2 s: {took:?}");
    cluster.shop.shut(false);
    assert!(first.child.wait().await.unwrap().success(), "it ends in order");
    for id in &ids {
        cluster.wait_until(&second, id, "completed").await;
    }
    assert_eq!(cluster.shop.effects("action"), 30);
}

#[tokio::test]
async fn any_node_answers_waits_lists_and_acts() {
    let cluster = Cluster::new().await;
    let (first, second) = (cluster.start().await, cluster.start().await);
    cluster.upload(&first).await;
    let ids = hanging(&cluster, &first, 2).await;

    let listed = cluster.ask(Request::get(&second.base, "/v1/sagas?status=running&definition=trip")).await;
    assert_eq!(listed.json::<Value>().unwrap()["sagas"].as_array().unwrap().len(), 2);
    let act = json!({"reason": "the customer has changed their mind"});
    let cancel = Request::post(&second.base, format!("/v1/sagas/{}/cancel", ids[0]), &act);
    let answer = cluster.ask(cancel.clone()).await;
    assert!(answer.status.is_success(), "{}", answer.detail());
    let waiting = async {
        let request = Request::post(&second.base, "/v1/sagas/trip", &json!({"input": {}})).key("k-1");
        cluster.ask(request.header("prefer", "wait=20")).await
    };
    let opening = async {
        tokio::task::yield_now().await;
        cluster.shop.shut(false);
    };
    let (waited, ()) = tokio::join!(waiting, opening);
    assert_eq!(waited.json::<Value>().unwrap()["status"], "completed", "{}", waited.detail());
    cluster.wait_until(&second, &ids[0], "compensated").await;
    // A repeat of the act, at the other node, changes nothing.
    let again = cluster.ask(cancel).await;
    assert!(again.status.is_success(), "{}", again.detail());
    let refused = Request::post(&first.base, format!("/v1/sagas/{}/cancel", ids[1]), &act);
    assert_eq!(cluster.ask(refused).await.status, 409);
}

#[tokio::test]
async fn it_waits_for_its_database_and_says_what_it_waits_for() {
    let cluster = Cluster::new().await;
    let name = cluster.db.url().rsplit('/').next().unwrap().to_owned();
    let admin = cluster.db.reopen().await;
    let limit = |on: bool| {
        sqlx::AssertSqlSafe(format!(
            "alter database {name} set default_transaction_read_only = {}",
            if on { "on" } else { "off" }
        ))
    };
    sqlx::query(limit(true)).execute(admin.pool()).await.unwrap();
    let node = cluster.launch("").await;
    wait_for("it listens", Duration::from_secs(10), || async { !node.gone().await }).await;
    let ready = cluster.ask(Request::get(&node.base, "/readyz")).await;
    assert_eq!(ready.status, 503, "{}", ready.detail());
    let start = cluster.ask(Request::post(&node.base, "/v1/sagas/trip", &json!({"input": {}})).key("k")).await;
    assert_eq!(start.status, 503);
    assert!(start.header("retry-after").is_some());
    assert_eq!(cluster.ask(Request::get(&node.base, "/healthz")).await.status, 200);
    sqlx::query(limit(false)).execute(admin.pool()).await.unwrap();
    cluster.ready(&node).await;
    cluster.upload(&node).await;
    let (_, id) = cluster.begin(&node, "k").await;
    cluster.wait_until(&node, &id, "completed").await;
}

#[tokio::test]
async fn what_no_waiting_mends_ends_it_with_one_line() {
    let cluster = Cluster::new().await;
    let lines = async |config: &std::path::Path| {
        let ran = cluster.command(&["orchestrator", "--config"], config).output();
        let ran = tokio::time::timeout(Duration::from_secs(20), ran).await.expect("it ends").unwrap();
        assert_eq!(ran.status.code(), Some(1));
        String::from_utf8(ran.stderr).unwrap()
    };
    let config = cluster.config("", 0);
    let text = std::fs::read_to_string(&config).unwrap();
    for (from, to, says) in [
        ("connections", "connection", "database.connection"),
        ("127.0.0.1:0", "127.0.0.1", "listen"),
        ("kid = \"s\"", "kid = \"s\"\nkeys = 1", "sealing.keys"),
        ("time = \"2s\"", "time = \"2\"", "lease.time"),
        ("time = \"2s\"", "time = \"1s\"", "lease.time"),
        ("postgres://", "mysql://", "postgres://"),
        ("base_urls = [", "base_urls = [\"ftp://x\", ", "participants.shop.base_urls"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&config, text.replacen(from, to, 1)).unwrap();
        let said = lines(&config).await;
        assert!(said.contains(says), "{says:?} in {said:?}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // Without its tables.
    let empty = steadfast_testkit::postgres().await;
    std::fs::write(&config, text.replacen(&cluster.db.url(), &empty.url(), 1)).unwrap();
    let said = lines(&config).await;
    assert!(said.contains("steadfast migrate"), "{said}");
    // With tables that a later program has migrated.
    std::fs::write(&config, &text).unwrap();
    let later = "insert into steadfast_migration values ('saga', 99, 'later', 'x')";
    sqlx::query(later).execute(cluster.db.pool()).await.unwrap();
    let said = lines(&config).await;
    assert!(said.contains("newer version (saga 99, this program knows"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    // A configuration that is in order says so and starts nothing.
    let checked = cluster.command(&["orchestrator", "--check", "--config"], &config).output().await.unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
}

#[tokio::test]
async fn the_documented_configuration_is_one() {
    let page = include_str!("../../../../docs/operations/orchestrator.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a TOML block");
    let folder = tempfile::tempdir().unwrap();
    let key = "61".repeat(32);
    for name in ["database.password", "auth.key", "sealing.key", "payment.key"] {
        std::fs::write(folder.path().join(name), &key).unwrap();
    }
    let path = folder.path().join("orchestrator.toml");
    std::fs::write(&path, block).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_steadfast"));
    let ran = command
        .args(["orchestrator", "--check", "--config"])
        .arg(&path)
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
}
