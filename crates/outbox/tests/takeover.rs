//! Crashes and zombies: nothing lost, a bounded part repeated, no mark by a relay that has been replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use steadfast_outbox::{Config, Source};
use steadfast_testkit::wait_for;

use crate::support::{LIMIT, Mute, Running, all_marked, commit, config, delivered, event, log, number, outbox};

#[tokio::test]
async fn a_crash_between_append_and_mark_repeats_at_most_two_batches() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    let events: Vec<_> = (1..=95).map(|n| event("o-1", n)).collect();
    commit(&db, &events).await;
    // Two lives end while the log has taken a batch and not answered.
    for life in 1..=2 {
        let mute = Mute::new(&log);
        let running = Running::start(vec![Source::new("shop", db.clone())], mute.clone(), config());
        wait_for("a batch in the log", LIMIT, || async { mute.taken() > 0 }).await;
        drop(running);
        assert_eq!(number(&db, "select count(*) from outbox where published_at is not null").await, 0, "{life}");
    }
    let running = Running::start(vec![Source::new("shop", db.clone())], log.clone(), config());
    all_marked(&db).await;
    running.stop().await;
    let all: Vec<_> = delivered(&log).await.into_iter().map(|event| event.sequence).collect();
    assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), (1..=95).collect());
    let bound = 2 * 2 * config().batch;
    assert!(all.len() > 95 && all.len() <= 95 + bound, "{} records for 95 events", all.len());
}

#[tokio::test]
async fn a_zombie_neither_marks_nor_goes_on() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    commit(&db, &[event("o-1", 1)]).await;
    let mute = Mute::new(&log);
    let zombie = Running::start(vec![Source::new("shop", db.clone())], mute.clone(), config());
    wait_for("the first relay has sent", LIMIT, || async { mute.taken() == 1 }).await;
    // The second has its name: the first is taken for dead.
    let running = Running::start(vec![Source::new("shop", db.reopen().await)], log.clone(), config());
    all_marked(&db).await;
    running.stop().await;
    // Unmarked by hand, and the lane given to nobody: only the zombie could mark it now.
    let mut tx = db.begin().await.unwrap();
    sqlx::query("update outbox set published_at = null").execute(&mut *tx).await.unwrap();
    sqlx::query("update outbox_lane set lease_until = 9000000000000000").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    commit(&db, &[event("o-1", 2)]).await;
    mute.open.cancel();
    // It ends only after it has tried to mark what it sent.
    zombie.stop().await;
    assert_eq!(mute.taken(), 1);
    assert_eq!(number(&db, "select count(*) from outbox where published_at is null").await, 2);
}

#[tokio::test]
async fn a_relay_of_another_name_waits_for_the_lease_and_a_stopped_one_gives_it_up() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    let named = |node: &str| Config { node: node.to_owned(), lease: Duration::from_millis(300), ..config() };
    let first = Running::start(vec![Source::new("shop", db.clone())], log.clone(), named("first"));
    commit(&db, &[event("o-1", 1)]).await;
    all_marked(&db).await;
    let second = Mute::new(&log);
    second.open.cancel();
    let waiting = Running::start(vec![Source::new("shop", db.reopen().await)], second.clone(), named("second"));
    for n in 2..=20 {
        commit(&db, &[event("o-1", n)]).await;
        all_marked(&db).await;
    }
    assert_eq!(second.taken(), 0, "two relays publish one lane");
    assert_eq!(number(&db, "select epoch from outbox_lane").await, 1);
    first.stop().await;
    assert_eq!(number(&db, "select count(*) from outbox where published_at is null").await, 0);
    commit(&db, &[event("o-1", 21)]).await;
    all_marked(&db).await;
    assert_eq!(second.taken(), 1);
    waiting.stop().await;
}

#[tokio::test]
async fn an_idle_lane_is_kept_beyond_its_lease() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    let brief = Config { lease: Duration::from_millis(30), ..config() };
    let running = Running::start(vec![Source::new("shop", db.clone())], log.clone(), brief);
    let lease = || number(&db, "select lease_until from outbox_lane");
    wait_for("the lane is held", LIMIT, || async { lease().await > 0 }).await;
    let first = lease().await;
    wait_for("the lease is extended", LIMIT, || async { lease().await > first + 30 }).await;
    assert_eq!(number(&db, "select epoch from outbox_lane").await, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_stopping_relay_marks_what_is_in_flight() {
    let (db, (log, _keep)) = (outbox().await, log().await);
    commit(&db, &[event("o-1", 1)]).await;
    let mute = Mute::new(&log);
    let running = Running::start(vec![Source::new("shop", db.clone())], mute.clone(), config());
    wait_for("it is sent", LIMIT, || async { mute.taken() == 1 }).await;
    let stopped = running.stop();
    mute.open.cancel();
    stopped.await;
    assert_eq!(number(&db, "select count(*) from outbox where published_at is null").await, 0);
}
