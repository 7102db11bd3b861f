//! Events that the log refuses: their aggregate waits, the rest flows, an operator decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use steadfast_bus::Error;
use steadfast_bus::embedded::Log;
use steadfast_core::Clock;
use steadfast_outbox::Parked;
use steadfast_testkit::{SystemClock, TestDb, wait_for};

use crate::support::{Judged, LIMIT, Running, Shop, config, delivered, event, log, on_both, sequences};

on_both!(
    a_dead_letter_holds_its_aggregate_and_is_replayed_in_order,
    a_discarded_letter_is_recorded_and_the_aggregate_goes_on,
    a_relay_that_starts_anew_knows_what_is_held,
    a_row_that_cannot_be_read_is_held_not_fatal,
);

/// An outbox of two aggregates; the log refuses number 2 of `bad` until it is told not to.
async fn scene(shop: &Shop) -> (Log, TestDb, Running, Arc<AtomicBool>) {
    let (log, keep) = log().await;
    let refuse = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&refuse);
    let judge = move |record: &steadfast_bus::Record| {
        let is_bad = record.key == "bad" && record.header("sequence") == Some("2");
        if is_bad && refuses.load(Ordering::SeqCst) { Err(Error::Refused("no such topic".into())) } else { Ok(()) }
    };
    let events: Vec<_> = (1..=3).flat_map(|n| [event("bad", n), event("good", n)]).collect();
    for event in &events {
        shop.commit(std::slice::from_ref(event)).await;
    }
    let small = steadfast_outbox::Config { batch: 2, ..config() };
    let running = Running::start(vec![shop.source("shop")], Judged::new(&log, judge), small);
    (log, keep, running, refuse)
}

async fn dead(shop: &Shop) -> Parked {
    let outbox = shop.outbox();
    wait_for("a dead letter", LIMIT, || async {
        outbox.parked(10).await.expect("a list").iter().any(|parked| parked.dead_at.is_some())
    })
    .await;
    outbox.parked(10).await.expect("a list").remove(0)
}

async fn a_dead_letter_holds_its_aggregate_and_is_replayed_in_order(shop: Shop) {
    let (log, _keep, running, refuse) = scene(&shop).await;
    let outbox = shop.outbox();
    let letter = dead(&shop).await;
    assert_eq!((letter.aggregate_id.as_str(), letter.sequence, letter.attempts), ("bad", 2, 3));
    assert_eq!(letter.last_error, "the event log refuses the record: no such topic");
    shop.commit(&[event("good", 4), event("bad", 4)]).await;
    wait_for("the rest flows", LIMIT, || async { sequences(&delivered(&log).await)["good"] == [1, 2, 3, 4] }).await;
    assert_eq!(sequences(&delivered(&log).await)["bad"], [1]);
    assert!(
        !outbox
            .discard(steadfast_core::EventId::from_slice(&[7; 16]).expect("it succeeds"), "?", SystemClock.now())
            .await
            .expect("it succeeds")
    );

    // Replayed in vain, it is a dead letter again; replayed when the log takes it, the aggregate goes on.
    assert!(outbox.replay(letter.event_id, SystemClock.now()).await.expect("it succeeds"));
    wait_for("it is dead again", LIMIT, || async {
        outbox.parked(10).await.expect("a list")[0].dead_at > letter.dead_at
    })
    .await;
    refuse.store(false, Ordering::SeqCst);
    assert!(outbox.replay(letter.event_id, SystemClock.now()).await.expect("it succeeds"));
    shop.all_marked().await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["bad"], [1, 2, 3, 4]);
    assert_eq!(outbox.parked(10).await.expect("it succeeds"), []);
    assert!(!outbox.replay(letter.event_id, SystemClock.now()).await.expect("it succeeds"));
    shop.assert_sound().await;
}

async fn a_discarded_letter_is_recorded_and_the_aggregate_goes_on(shop: Shop) {
    let (log, _keep, running, _refuse) = scene(&shop).await;
    let (letter, outbox) = (dead(&shop).await, shop.outbox());
    assert!(outbox.discard(letter.event_id, "sold by hand", SystemClock.now()).await.expect("it succeeds"));
    assert!(!outbox.discard(letter.event_id, "again", SystemClock.now()).await.expect("it succeeds"));
    shop.all_marked().await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["bad"], [1, 3]);
    let recorded = "select count(*) from outbox_discarded where sequence = 2 and reason = 'sold by hand'";
    assert_eq!(shop.number(recorded).await, 1);
    assert_eq!(shop.number("select count(*) from outbox_parked").await, 0);
}

async fn a_relay_that_starts_anew_knows_what_is_held(shop: Shop) {
    let (log, _keep, running, _refuse) = scene(&shop).await;
    dead(&shop).await;
    // What the other aggregate has sent is marked, so that the crash repeats none of it.
    wait_for("only what is held back waits", LIMIT, || async { shop.waiting().await == 2 }).await;
    drop(running);
    let running = Running::start(vec![shop.source("shop")], log.clone(), config());
    shop.commit(&[event("good", 4)]).await;
    wait_for("the rest flows", LIMIT, || async { sequences(&delivered(&log).await)["good"].len() == 4 }).await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["bad"], [1], "a dead letter is moved by an operator only");
}

async fn a_row_that_cannot_be_read_is_held_not_fatal(shop: Shop) {
    let (log, _keep) = log().await;
    shop.commit(&[event("bad", 1), event("good", 1)]).await;
    shop.execute("update outbox set headers = '[1]' where aggregate_id = 'bad'").await;
    let running = Running::start(vec![shop.source("shop")], log.clone(), config());
    assert_eq!(dead(&shop).await.last_error, "its headers are not a JSON object of strings");
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await).keys().collect::<Vec<_>>(), ["good"]);
}
