//! Crashes: at every call, before and after its work; and what a former owner and a broken journal may do.

use std::time::Duration;

use steadfast_core::{Op, SagaId};
use steadfast_saga::engine::Engine;
use steadfast_saga::machine::Status;
use steadfast_testkit::wait_for;

use crate::shop::{Fault, PATIENCE};
use crate::world::{STEPS, World, request};

/// Kills the orchestrator while one call is on its way, opens it again, and lets the call arrive only once the saga is
/// settled.
async fn crash_at(step: &str, op: Op, fault: Fault, refused: Option<&str>) {
    let mut world = World::new().await;
    if let Some(refused) = refused {
        world.shop.fault(refused, Op::Action, Fault::Refuse);
    }
    world.shop.fault(step, op, fault.clone());
    let id = world.start("1").await.id;
    wait_for("the call that is stopped", PATIENCE, || async { world.shop.asked(step, op) == 1 }).await;
    world.crash().await;
    let status = world.settled(id).await;
    let expected = if refused.is_some() { Status::Compensated } else { Status::Completed };
    assert_eq!(status, expected, "{step} {op} {fault:?}");
    world.check(id, status).await;
    world.shop.open_gate();
    // A further saga runs after it on the same connections and the same barrier.
    let (after, end) = world.run("2").await;
    world.check(after, end).await;
    world.check(id, status).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_on_the_way_forward_changes_nothing() {
    for step in STEPS {
        for stop in [Fault::StopBefore, Fault::StopAfter] {
            crash_at(step, Op::Action, stop, None).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_on_the_way_back_changes_nothing() {
    for step in ["pay", "create"] {
        for stop in [Fault::StopBefore, Fault::StopAfter] {
            crash_at(step, Op::Compensate, stop, Some("reserve")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_right_after_the_answer_loses_no_saga() {
    let mut world = World::new().await;
    let mut started = Vec::new();
    for n in 0..24 {
        started.push(world.start(&n.to_string()).await.id);
        if n % 4 == 3 {
            world.crash().await;
        }
    }
    for id in started {
        let status = world.settled(id).await;
        assert_eq!(status, Status::Completed);
        world.check(id, status).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_at_random_moments_under_load_leave_everything_right() {
    let mut world = World::new().await;
    for n in 0..30 {
        let (step, fault) = if n % 3 == 0 { ("reserve", Fault::Refuse) } else { ("pay", Fault::LoseReply) };
        world.shop.fault(step, Op::Action, fault);
    }
    let mut started = Vec::new();
    for round in 0..6 {
        let starts = (0..20).map(|n| world.engine.start(request(&format!("{round}-{n}"))));
        for answer in futures_util::future::join_all(starts).await {
            started.push(answer.unwrap().id);
        }
        let settled = world.engine.wait(started[fastrand::usize(..started.len())], PATIENCE);
        drop(tokio::time::timeout(Duration::from_millis(fastrand::u64(0..15)), settled).await);
        world.crash().await;
    }
    for id in started {
        let status = world.settled(id).await;
        world.check(id, status).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_hands_over_what_is_unsettled() {
    let mut world = World::new().await;
    let ids: Vec<SagaId> = futures_util::future::join_all((0..20).map(|n| world.engine.start(request(&n.to_string()))))
        .await
        .into_iter()
        .map(|answer| answer.unwrap().id)
        .collect();
    world.engine.drain().await;
    assert!(world.engine.ready().is_err());
    assert!(world.engine.start(request("late")).await.is_err());
    world.engine = world.second().await;
    for id in ids {
        let status = world.settled(id).await;
        assert_eq!(status, Status::Completed);
        world.check(id, status).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_owner_writes_nothing_more_and_says_so() {
    let world = World::new().await;
    world.shop.fault("pay", Op::Action, Fault::StopAfter);
    let id = world.start("1").await.id;
    wait_for("the call that is stopped", PATIENCE, || async { world.shop.asked("pay", Op::Action) == 1 }).await;
    let second: Engine = world.second().await;
    assert_eq!(second.wait(id, PATIENCE).await.unwrap(), Some(Status::Completed));
    // The reply reaches the first owner now, and so does a start; neither may be written.
    world.shop.open_gate();
    let late = tokio::time::timeout(Duration::from_secs(5), world.engine.start(request("2"))).await;
    assert!(late.expect("a start on a lost lane is answered").is_err());
    tokio::time::timeout(PATIENCE, world.engine.lost()).await.expect("the first owner notices");
    assert!(world.engine.ready().is_err());
    world.check(id, Status::Completed).await;
    assert_eq!(
        second.list(&steadfast_saga::journal::Filter { limit: 10, ..Default::default() }).await.unwrap().len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_cannot_be_read_delays_no_other() {
    let mut world = World::new().await;
    for step in ["pay", "pay", "pay"] {
        world.shop.fault(step, Op::Action, Fault::StopBefore);
    }
    let mut ids = Vec::new();
    for key in ["1", "2", "3"] {
        ids.push(world.start(key).await.id);
    }
    wait_for("all to be under way", PATIENCE, || async { world.shop.asked("pay", Op::Action) == 3 }).await;
    world.engine.abort();
    let mut tx = world.db.begin().await.unwrap();
    sqlx::query(
        "insert into saga_journal (day, saga_no, seq, epoch, at, entries)
         select started_at / 86400000, no, 99, 1, 0, '[{\"e\":\"nonsense\"}]' from saga where id = ?",
    )
    .bind(ids[1].as_bytes().as_slice())
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    world.engine = world.second().await;
    world.shop.open_gate();
    for id in [ids[0], ids[2]] {
        let status = world.settled(id).await;
        assert_eq!(status, Status::Completed);
        world.check(id, status).await;
    }
    assert_eq!(world.shop.asked("reserve", Op::Action), 2, "nothing is sent for the one that cannot be read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_cannot_be_rewritten() {
    let world = World::new().await;
    world.run("1").await;
    for sql in ["update saga_journal set entries = '[]'", "delete from saga_journal"] {
        let mut tx = world.db.begin().await.unwrap();
        let refused = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}
