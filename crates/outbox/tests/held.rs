//! Events that the log refuses: their aggregate waits, the rest flows, an operator decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use steadfast_bus::Error;
use steadfast_bus::embedded::Log;
use steadfast_core::Clock;
use steadfast_db::Db;
use steadfast_outbox::{Parked, Source, dead_letter, verify};
use steadfast_testkit::{SystemClock, TestDb, wait_for};

use crate::support::{
    Judged, LIMIT, Running, all_marked, commit, config, delivered, event, log, number, outbox, sequences,
};

/// An outbox of two aggregates; the log refuses number 2 of `bad` until it is told not to.
async fn scene() -> (TestDb, Log, TestDb, Running, Arc<AtomicBool>) {
    let (db, (log, keep)) = (outbox().await, log().await);
    let refuse = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&refuse);
    let judge = move |record: &steadfast_bus::Record| {
        let is_bad = record.key == "bad" && record.header("sequence") == Some("2");
        if is_bad && refuses.load(Ordering::SeqCst) { Err(Error::Refused("no such topic".into())) } else { Ok(()) }
    };
    let events: Vec<_> = (1..=3).flat_map(|n| [event("bad", n), event("good", n)]).collect();
    for event in &events {
        commit(&db, std::slice::from_ref(event)).await;
    }
    let small = steadfast_outbox::Config { batch: 2, ..config() };
    let running = Running::start(vec![Source::new("shop", db.clone())], Judged::new(&log, judge), small);
    (db, log, keep, running, refuse)
}

async fn dead(db: &Db) -> Parked {
    wait_for("a dead letter", LIMIT, || async {
        dead_letter::list(db, 10).await.expect("a list").iter().any(|parked| parked.dead_at.is_some())
    })
    .await;
    dead_letter::list(db, 10).await.expect("a list").remove(0)
}

#[tokio::test]
async fn a_dead_letter_holds_its_aggregate_and_is_replayed_in_order() {
    let (db, log, _keep, running, refuse) = scene().await;
    let letter = dead(&db).await;
    assert_eq!((letter.aggregate_id.as_str(), letter.sequence, letter.attempts), ("bad", 2, 3));
    assert_eq!(letter.last_error, "the event log refuses the record: no such topic");
    commit(&db, &[event("good", 4), event("bad", 4)]).await;
    wait_for("the rest flows", LIMIT, || async { sequences(&delivered(&log).await)["good"] == [1, 2, 3, 4] }).await;
    assert_eq!(sequences(&delivered(&log).await)["bad"], [1]);
    assert!(
        !dead_letter::discard(&db, steadfast_core::EventId::from_slice(&[7; 16]).unwrap(), "?", SystemClock.now())
            .await
            .unwrap()
    );

    // Replayed in vain, it is a dead letter again; replayed when the log takes it, the aggregate goes on.
    assert!(dead_letter::replay(&db, letter.event_id, SystemClock.now()).await.unwrap());
    wait_for("it is dead again", LIMIT, || async {
        dead_letter::list(&db, 10).await.expect("a list")[0].dead_at > letter.dead_at
    })
    .await;
    refuse.store(false, Ordering::SeqCst);
    assert!(dead_letter::replay(&db, letter.event_id, SystemClock.now()).await.unwrap());
    all_marked(&db).await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["bad"], [1, 2, 3, 4]);
    assert_eq!(dead_letter::list(&db, 10).await.unwrap(), []);
    assert!(!dead_letter::replay(&db, letter.event_id, SystemClock.now()).await.unwrap());
    assert_eq!(verify(&db).await.unwrap(), []);
}

#[tokio::test]
async fn a_discarded_letter_is_recorded_and_the_aggregate_goes_on() {
    let (db, log, _keep, running, _refuse) = scene().await;
    let letter = dead(&db).await;
    assert!(dead_letter::discard(&db, letter.event_id, "sold by hand", SystemClock.now()).await.unwrap());
    assert!(!dead_letter::discard(&db, letter.event_id, "again", SystemClock.now()).await.unwrap());
    all_marked(&db).await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["bad"], [1, 3]);
    let (sequence, reason): (i64, String) =
        sqlx::query_as("select sequence, reason from outbox_discarded").fetch_one(db.readers()).await.unwrap();
    assert_eq!((sequence, reason.as_str()), (2, "sold by hand"));
    assert_eq!(number(&db, "select count(*) from outbox_parked").await, 0);
}

#[tokio::test]
async fn a_relay_that_starts_anew_knows_what_is_held() {
    let (db, log, _keep, running, _refuse) = scene().await;
    dead(&db).await;
    drop(running);
    let running = Running::start(vec![Source::new("shop", db.clone())], log.clone(), config());
    commit(&db, &[event("good", 4)]).await;
    wait_for("the rest flows", LIMIT, || async { sequences(&delivered(&log).await)["good"].len() == 4 }).await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["bad"], [1], "a dead letter is moved by an operator only");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_held_not_fatal() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    commit(&db, &[event("bad", 1), event("good", 1)]).await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("update outbox set headers = '[1]' where aggregate_id = 'bad'").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let running = Running::start(vec![Source::new("shop", db.clone())], log.clone(), config());
    assert_eq!(dead(&db).await.last_error, "its headers are not a JSON object of strings");
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await).keys().collect::<Vec<_>>(), ["good"]);
}
