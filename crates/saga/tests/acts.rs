//! What operators do.

use std::time::Duration;

use steadfast_core::Op;
use steadfast_saga::Error;
use steadfast_saga::engine::{Operated, Operation};
use steadfast_saga::machine::Status;
use steadfast_testkit::wait_for;

use crate::shop::{Fault, PATIENCE};
use crate::world::World;

async fn act(world: &World, id: steadfast_core::SagaId, operation: Operation) -> Result<Operated, Error> {
    world.engine.operate(id, operation, "ann", "a test").await
}

fn status_of(error: &Error) -> u16 {
    match error {
        Error::Problem(problem) => problem.status,
        other => panic!("not a problem: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_turns_a_running_saga_back_and_is_safe_to_repeat() {
    let world = World::new().await;
    world.shop.fault("reserve", Op::Action, Fault::StopBefore);
    let id = world.start("1").await.id;
    wait_for("the step to be asked", PATIENCE, || async { world.shop.asked("reserve", Op::Action) == 1 }).await;
    assert!(act(&world, id, Operation::Cancel).await.unwrap().changed);
    assert!(!act(&world, id, Operation::Cancel).await.unwrap().changed);
    world.shop.open_gate();
    let status = world.settled(id).await;
    assert_eq!(status, Status::Compensated);
    world.check(id, status).await;
    assert!(!act(&world, id, Operation::Cancel).await.unwrap().changed, "also when it is settled");
    assert!(world.history(id).await.iter().any(|line| line.contains("cancelled by ann")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_commit_point_a_cancel_is_refused() {
    let world = World::new().await;
    world.shop.fault("confirm", Op::Action, Fault::StopBefore);
    let id = world.start("1").await.id;
    wait_for("the commit point", PATIENCE, || async { world.shop.asked("confirm", Op::Action) == 1 }).await;
    let refused = act(&world, id, Operation::Cancel).await.unwrap_err();
    assert_eq!(status_of(&refused), 409);
    world.shop.open_gate();
    let status = world.settled(id).await;
    assert_eq!(status, Status::Completed);
    world.check(id, status).await;
    assert_eq!(status_of(&act(&world, id, Operation::Cancel).await.unwrap_err()), 409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_saga_sends_nothing_until_it_is_released_also_over_a_crash() {
    let mut world = World::new().await;
    world.shop.fault("create", Op::Action, Fault::StopBefore);
    let id = world.start("1").await.id;
    assert!(act(&world, id, Operation::Hold).await.unwrap().changed);
    world.shop.open_gate();
    world.crash().await;
    let still = world.engine.wait(id, Duration::from_millis(100)).await.unwrap();
    assert_eq!((still, world.shop.asked("pay", Op::Action)), (Some(Status::Running), 0));
    assert!(act(&world, id, Operation::Release).await.unwrap().changed);
    let status = world.settled(id).await;
    assert_eq!(status, Status::Completed);
    world.check(id, status).await;
}

/// A saga whose first step cannot be taken back, until its participant is mended.
pub(crate) async fn parked(world: &World, key: &str) -> steadfast_core::SagaId {
    world.shop.fault("pay", Op::Action, Fault::Refuse);
    for _ in 0..4 {
        world.shop.fault("create", Op::Compensate, Fault::status(500));
    }
    let (id, status) = world.run(key).await;
    assert_eq!(status, Status::Failed, "its budget is spent");
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compensation_out_of_budget_parks_and_a_retry_settles() {
    let world = World::new().await;
    let id = parked(&world, "1").await;
    let view = world.engine.show(id).await.unwrap().unwrap();
    assert_eq!(view.effects_left.iter().map(|left| left.step.as_str()).collect::<Vec<_>>(), ["create"]);
    assert!(view.effects_left[0].certain);
    assert!(act(&world, id, Operation::Retry).await.unwrap().changed);
    let status = world.settled(id).await;
    assert_eq!(status, Status::Compensated);
    assert_eq!(world.shop.ledger(id, &["create"]).await, [(1, 1)]);
    assert_eq!(world.events(id).await, ["saga.failed.v1", "saga.compensated.v1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_resolved_by_hand_settles_also_after_a_crash() {
    let mut world = World::new().await;
    let id = parked(&world, "1").await;
    world.crash().await;
    assert_eq!(world.settled(id).await, Status::Failed, "a parked saga stays parked");
    let resolved = act(&world, id, Operation::Resolve { step: Some("create".to_owned()) }).await.unwrap();
    assert!(resolved.changed);
    assert_eq!(world.settled(id).await, Status::Compensated);
    assert!(world.history(id).await.iter().any(|line| line.contains("resolved by hand by ann")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_changes_nothing_leaves_nothing_in_memory() {
    let world = World::new().await;
    let id = parked(&world, "1").await;
    wait_for("the parked saga to leave memory", PATIENCE, || async { world.engine.in_flight() == 0 }).await;
    assert!(!act(&world, id, Operation::Cancel).await.unwrap().changed);
    wait_for("the parked saga to leave memory again", Duration::from_secs(3), || async {
        world.engine.in_flight() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_needs_a_reason_and_a_saga() {
    let world = World::new().await;
    let (id, _) = world.run("1").await;
    let nameless = world.engine.operate(id, Operation::Cancel, "ann", "").await.unwrap_err();
    assert_eq!(status_of(&nameless), 400);
    let unknown = steadfast_core::SagaId::derive("a", "b", "c");
    assert_eq!(status_of(&act(&world, unknown, Operation::Cancel).await.unwrap_err()), 404);
    assert_eq!(world.engine.wait(unknown, PATIENCE).await.unwrap(), None);
}
