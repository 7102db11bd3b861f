//! Exactly once: killed anywhere, doubled, or with the database away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::json;
use steadfast_bus::partition_of;
use steadfast_core::Clock;
use steadfast_projection::{Config, Error, Runner, Store, Tally, Turn};
use steadfast_testkit::{SystemClock, wait_for};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Ledger, Lite, MemoryLog, PARTITIONS, Read, START, both, change, clock, config, count, drain, event, runner, seen,
};

both!(
    of_two_runners_the_fence_lets_one_win,
    two_runners_at_once_apply_each_event_once,
    a_failing_world_is_no_poison_and_shows_in_the_status,
    what_was_read_ahead_of_a_failure_is_read_again_in_partitions_that_are_new_too,
    a_runner_stops_at_once_when_told_so,
);

/// Lets a turn make `steps` steps and drops it there, as a kill would. Says whether it came to its end.
async fn turn_for<S: Store>(runner: &mut Runner<S>, steps: usize) -> bool {
    let mut turn = Box::pin(runner.turn());
    let mut taken = 0;
    std::future::poll_fn(move |context| {
        if taken == steps {
            return Poll::Ready(false);
        }
        taken += 1;
        turn.poll_unpin(context).map(|_| true)
    })
    .await
}

#[tokio::test]
async fn killed_between_any_two_steps_each_event_is_applied_once() {
    // Everything that a transaction can do: apply, park, release, find poison, record a skip.
    let events = [
        change("a", 1),
        change("a", 3),
        change("b", 1),
        event("c", 1, json!({"amount": 1, "poison": true})),
        change("c", 2),
        change("a", 1),
        change("b", 2),
    ];
    let later = [change("a", 2), change("c", 3), change("b", 3)];
    let mut steps = 0;
    loop {
        let db = Lite::fresh().await;
        let (log, ledger_of) = (MemoryLog::default(), Ledger::new());
        log.append_all(&events);
        let mut first = runner::<Lite>(db.store(), &ledger_of, &log, config()).await;
        // The plain batch fails over the poison event, the careful one is the second turn; the third fills the gap.
        let mut ended = turn_for(&mut first, steps).await;
        if ended {
            log.append_all(&later);
            ended = turn_for(&mut first, steps).await && turn_for(&mut first, steps).await;
        } else {
            log.append_all(&later);
        }
        drop(first);
        let mut second = runner::<Lite>(db.store(), &ledger_of, &log, config()).await;
        drain(&mut second).await;
        assert_eq!(db.ledger().await, [("a".to_owned(), 60, 3), ("b".to_owned(), 60, 3)], "killed at {steps}");
        assert_eq!(seen(&db, "a").await, [1, 2, 3]);
        let parked = "select count(*) from parked_event where aggregate_id = 'c'";
        assert_eq!(count(&db, parked).await, 3, "killed at {steps}");
        assert_eq!(count(&db, "select count(*) from parked_event").await, 3);
        if ended {
            break;
        }
        steps += 1;
    }
    assert!(steps > 15, "a turn has more steps than {steps}");
}

async fn of_two_runners_the_fence_lets_one_win<R: Read>() {
    let db = R::fresh().await;
    let (log, ledger_of) = (MemoryLog::default(), Ledger::new());
    let other = db.reopen().await;
    let mut one = runner::<R>(db.store(), &ledger_of, &log, config()).await;
    let mut two = runner::<R>(&other, &ledger_of, &log, config()).await;
    // Partitions that nobody has met, then ones that both know.
    for round in 0..2 {
        assert_eq!(one.turn().await.unwrap(), Turn::Idle);
        assert_eq!(two.turn().await.unwrap(), Turn::Idle);
        log.append_all(&[change("a", round * 2 + 1), change("b", round * 2 + 1)]);
        assert!(matches!(one.turn().await, Ok(Turn::Committed(Tally { applied: 2, .. }))));
        log.append(&change("a", round * 2 + 2));
        log.append(&change("b", round * 2 + 2));
        assert!(matches!(two.turn().await, Err(Error::Fenced { .. })), "round {round}");
        assert!(matches!(two.turn().await, Ok(Turn::Committed(Tally { applied: 2, duplicate: 0, .. }))));
        assert!(matches!(one.turn().await, Err(Error::Fenced { .. })), "round {round}");
    }
    assert_eq!(seen(&db, "a").await, [1, 2, 3, 4]);
}

async fn two_runners_at_once_apply_each_event_once<R: Read>() {
    let db = R::fresh().await;
    let (log, ledger_of) = (MemoryLog::default(), Ledger::new());
    let other = db.reopen().await;
    let config = Config { batch: 7, ..config() };
    let one = runner::<R>(db.store(), &ledger_of, &log, config).await;
    let two = runner::<R>(&other, &ledger_of, &log, config).await;
    for sequence in (1..=60).rev() {
        log.append_all(&[change("a", sequence), change("b", sequence), change("c", sequence)]);
    }
    let stop = CancellationToken::new();
    let work = async {
        wait_for("all events to be applied", Duration::from_secs(30), || async {
            count(&db, "select count(*) from seen").await == 180
        })
        .await;
        stop.cancel();
    };
    tokio::join!(one.run(stop.clone()), two.run(stop.clone()), work);
    for account in ["a", "b", "c"] {
        assert_eq!(seen(&db, account).await, (1..=60).collect::<Vec<_>>());
    }
    assert_eq!(count(&db, "select count(*) from parked_event").await, 0);
    assert_eq!(count(&db, "select count(attempts) from parked_event").await, 0);
}

async fn a_failing_world_is_no_poison_and_shows_in_the_status<R: Read>() {
    let db = R::fresh().await;
    let (log, ledger_of, clock) = (MemoryLog::default(), Ledger::new(), clock());
    let projection = R::projection(&ledger_of);
    let open = Runner::open(db.store().clone(), projection, log.consumer(), Arc::new(clock.clone()), config());
    let mut runner = open.await.unwrap();
    let status = runner.status();
    log.append(&change("a", 1));
    ledger_of.locked.store(true, Ordering::SeqCst);
    assert!(runner.turn().await.is_err());
    assert_eq!(status.stuck_since(clock.now()), None, "one failure is not yet stuck");
    clock.advance(Duration::from_secs(6));
    assert!(runner.turn().await.is_err());
    assert_eq!(status.stuck_since(clock.now()), Some(START));
    assert!(status.snapshot(clock.now()).fault.unwrap().contains("no connection became free"));

    ledger_of.locked.store(false, Ordering::SeqCst);
    assert_eq!(drain(&mut runner).await, Tally { applied: 1, ..Tally::default() });
    assert_eq!(status.snapshot(clock.now()).stuck_since, None);
    assert_eq!(status.snapshot(clock.now()).fault, None);
}

async fn what_was_read_ahead_of_a_failure_is_read_again_in_partitions_that_are_new_too<R: Read>() {
    let db = R::fresh().await;
    let (log, ledger_of) = (MemoryLog::default(), Ledger::new());
    let other =
        (0..1_000).map(|n| format!("b{n}")).find(|id| partition_of(id, PARTITIONS) != partition_of("a", PARTITIONS));
    let other = other.unwrap();
    log.append_all(&[change("a", 1), change(&other, 1)]);
    let mut runner = runner::<R>(db.store(), &ledger_of, &log, Config { batch: 1, ..config() }).await;
    // The first batch fails while the other partition's first is being read; neither has a checkpoint.
    ledger_of.locked.store(true, Ordering::SeqCst);
    assert!(runner.turn().await.is_err());
    ledger_of.locked.store(false, Ordering::SeqCst);
    log.append(&change(&other, 2));
    assert_eq!(drain(&mut runner).await, Tally { applied: 3, ..Tally::default() });
    assert_eq!(db.ledger().await, [("a".to_owned(), 10, 1), (other, 30, 2)]);
}

async fn a_runner_stops_at_once_when_told_so<R: Read>() {
    let db = R::fresh().await;
    let config = Config { wait: Duration::from_mins(10), sweep: Duration::from_mins(10), ..config() };
    let projection = R::projection(&Ledger::new());
    let log = MemoryLog::default();
    let open = Runner::open(db.store().clone(), projection, log.consumer(), Arc::new(SystemClock), config);
    let runner = open.await.unwrap();
    let (status, stop) = (runner.status(), CancellationToken::new());
    stop.cancel();
    runner.run(stop).await;
    assert_eq!(status.stuck_since(SystemClock.now()), None);
    assert!(status.snapshot(SystemClock.now()).stopped);
}
