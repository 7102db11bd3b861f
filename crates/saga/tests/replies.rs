//! Participants that answer badly.

use std::time::Duration;

use bytes::Bytes;
use steadfast_core::Op;
use steadfast_saga::engine::Config;
use steadfast_saga::machine::Status;
use tokio::time::Instant;

use crate::shop::Fault;
use crate::world::{DEFINITION, World};

fn answer(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Fault {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Fault::Answer { status, headers, body: Bytes::from_static(body.as_bytes()) }
}

/// A saga whose `pay` is always answered so, and whose time is short.
async fn misled(fault: Fault) -> (World, steadfast_core::SagaId, Status) {
    let world = World::with(Config::default(), &DEFINITION.replace("timeout: 30s", "timeout: 300ms")).await;
    for _ in 0..8 {
        world.shop.fault("pay", Op::Action, fault.clone());
    }
    let (id, status) = world.run("1").await;
    (world, id, status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_route_is_no_refusal() {
    let html = answer(404, &[("content-type", "text/html")], "<h1>Not Found</h1>");
    let (world, id, status) = misled(html).await;
    assert_eq!(status, Status::Compensated);
    world.check(id, status).await;
    let view = world.engine.show(id).await.unwrap().unwrap();
    assert_eq!(view.summary.cause.as_deref(), Some("misconfigured"), "its time ended it, not a refusal");
    assert_eq!(world.shop.asked("pay", Op::Action), 1, "asked again slowly");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_409_is_no_refusal_either() {
    let (world, id, status) = misled(Fault::status(409)).await;
    assert_eq!(status, Status::Compensated);
    assert_eq!(world.engine.show(id).await.unwrap().unwrap().summary.cause.as_deref(), Some("misconfigured"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed() {
    let (world, _, status) = misled(answer(307, &[("location", "/elsewhere/prize")], "")).await;
    assert_eq!(status, Status::Compensated);
    let followed = world.shop.arrived().into_iter().filter(|call| call.step.contains("prize")).count();
    assert_eq!(followed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_kept_and_costs_no_attempt() {
    let world = World::new().await;
    let begun = Instant::now();
    world.shop.fault("pay", Op::Action, answer(429, &[("retry-after", "1")], ""));
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Completed);
    world.check(id, status).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "the participant asked for a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_reply_is_not_read_and_its_effect_counts() {
    let world = World::new().await;
    world.shop.fault("pay", Op::Action, Fault::Huge(3 << 20));
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Completed, "nothing of it is mapped, so nothing is missing");
    world.check(id, status).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_lacks_what_the_step_maps_parks_the_saga() {
    let world = World::new().await;
    world.shop.fault("create", Op::Action, answer(200, &[("content-type", "application/json")], "{}"));
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Failed);
    let view = world.engine.show(id).await.unwrap().unwrap();
    assert_eq!(view.steps[0].parked, Some("output"));
    assert_eq!(world.events(id).await, ["saga.failed.v1"]);
    assert_eq!(world.shop.asked("pay", Op::Action), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_takes_too_long_is_made_again_and_done_once() {
    let world = World::with(Config::default(), &DEFINITION.replace("timeout: 2s", "timeout: 150ms")).await;
    world.shop.fault("pay", Op::Action, Fault::StopAfter);
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Completed);
    world.check(id, status).await;
    assert_eq!(world.shop.asked("pay", Op::Action), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_action_meets_its_own_compensation() {
    let definition = DEFINITION.replace("timeout: 2s", "timeout: 60ms");
    let world = World::with(Config::default(), &definition).await;
    for _ in 0..4 {
        world.shop.fault("pay", Op::Action, Fault::StopBefore);
    }
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Compensated);
    world.shop.open_gate();
    // All four actions arrive now, after the settlement, and are answered.
    steadfast_testkit::wait_for("the late actions to end", crate::shop::PATIENCE, || async {
        world.shop.asked("pay", Op::Action) == 4
    })
    .await;
    world.check(id, status).await;
    assert_eq!(world.shop.effects(id, "pay", Op::Action).await, 0, "the barrier lets none of them take effect");
}
