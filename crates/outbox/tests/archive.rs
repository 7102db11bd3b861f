//! Moving published events off.

use serde_json::Value;
use steadfast_bus::Error as BusError;
use steadfast_core::{Clock, Timestamp};
use steadfast_outbox::{Source, archive, verify};
use steadfast_testkit::{SystemClock, wait_for};

use crate::support::{
    Judged, LIMIT, Running, all_marked, commit, config, delivered, event, log, number, outbox, sequences,
};

/// After everything that a test writes.
fn later() -> Timestamp {
    SystemClock.now() + std::time::Duration::from_mins(1)
}

#[tokio::test]
async fn old_events_are_written_first_and_then_deleted() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    commit(&db, &(1..=9).map(|n| event("o-1", n)).collect::<Vec<_>>()).await;
    assert_eq!(archive(&db, later(), 100, None).await.unwrap(), 0, "what waits stays");
    let running = Running::start(vec![Source::new("shop", db.clone())], log.clone(), config());
    all_marked(&db).await;
    assert_eq!(archive(&db, Timestamp::from_millis(0), 100, None).await.unwrap(), 0, "what is young stays");
    let mut lines = Vec::new();
    assert_eq!(archive(&db, later(), 5, Some(&mut lines)).await.unwrap(), 5);
    assert_eq!(archive(&db, later(), 5, Some(&mut lines)).await.unwrap(), 3);
    assert_eq!(archive(&db, later(), 5, Some(&mut lines)).await.unwrap(), 0, "the newest row stays");
    let lines: Vec<Value> =
        lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| line["sequence"].as_i64().unwrap()).collect::<Vec<_>>(),
        (1..=8).collect::<Vec<_>>()
    );
    assert_eq!((&lines[0]["payload"]["n"], &lines[0]["aggregate_id"]), (&Value::from(1), &Value::from("o-1")));
    assert!(lines[0]["published_at"].is_i64());
    assert_eq!(verify(&db).await.unwrap(), []);

    // Ids go on, the relay finds what comes, the size is right without counting.
    commit(&db, &[event("o-1", 10), event("o-1", 11)]).await;
    all_marked(&db).await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["o-1"], (1..=11).collect::<Vec<_>>());
    assert_eq!(number(&db, "select count(*) from outbox").await, 3);
    assert_eq!(number(&db, include_str!("../src/store/sqlite/read_size.sql")).await, 3);
}

#[tokio::test]
async fn a_target_that_fails_deletes_nothing() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    commit(&db, &[event("o-1", 1), event("o-1", 2)]).await;
    let running = Running::start(vec![Source::new("shop", db.clone())], log.clone(), config());
    all_marked(&db).await;
    running.stop().await;
    // Room for less than a line.
    let (mut full, other) = tokio::io::duplex(8);
    drop(other);
    assert!(archive(&db, later(), 5, Some(&mut full)).await.is_err());
    assert_eq!(number(&db, "select count(*) from outbox").await, 2);
}

#[tokio::test]
async fn archived_numbers_have_no_gap() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    commit(&db, &[event("bad", 1), event("bad", 2), event("bad", 3), event("good", 1), event("good", 2)]).await;
    let refuses = Judged::new(&log, |record| match record.header("sequence") {
        Some("2") if record.key == "bad" => Err(BusError::Refused("no".into())),
        _ => Ok(()),
    });
    let running = Running::start(vec![Source::new("shop", db.clone())], refuses, config());
    // 3 was in flight with 2 and has passed it.
    wait_for("the others marked", LIMIT, || async {
        number(&db, "select count(*) from outbox where published_at is null").await == 1
    })
    .await;
    running.stop().await;
    let mut gone = 0;
    for _ in 0..5 {
        gone += archive(&db, later(), 1, None).await.unwrap();
    }
    assert_eq!(gone, 2, "bad 1 and good 1; not bad 3, nor the newest");
    assert_eq!(verify(&db).await.unwrap(), []);
    assert_eq!(number(&db, "select floor from outbox_sequence where aggregate_id = 'bad'").await, 1);
}
