//! More than can be done: whose sagas wait, whose are refused, and whose go on as if nothing were.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use steadfast_core::{Op, SagaId};
use steadfast_saga::Error;
use steadfast_saga::engine::{Accepted, Config, StartRequest};
use steadfast_saga::machine::Status;
use steadfast_testkit::wait_for;
use tokio::time::Instant;

use crate::admission::problem;
use crate::shop::{Fault, PATIENCE};
use crate::world::{DEFINITION, World, request};

/// Calls no payment.
const RESTOCK: &str = r#"
saga: restock
version: 1
timeout: 30s
permissions: [order.place]
steps:
  take:
    participant: order
    action: { post: /take, body: { no: "${input.no}" } }
    compensate: { post: /take/undo, body: { no: "${input.no}" } }
  put:
    participant: inventory
    kind: retriable
    after: [take]
    action: { post: /put, body: { no: "${input.no}" } }
"#;

async fn world(config: Config) -> World {
    // Longer than a test: whoever stalls is not taken for down.
    let world = World::with(config, &DEFINITION.replace("timeout: 2s", "timeout: 25s")).await;
    world.engine.upload(RESTOCK, BTreeMap::new(), "test").await.unwrap();
    world
}

async fn restock(world: &World, key: usize) -> Result<Accepted, Error> {
    let asked = request(&format!("r-{key}"));
    world.engine.start(StartRequest { definition: "restock".to_owned(), ..asked }).await
}

async fn start_all(world: &World, keys: std::ops::Range<usize>) -> Vec<SagaId> {
    let starts = keys.map(|key| async move { world.start(&key.to_string()).await.id });
    join_all(starts).await
}

/// Stalls so many calls to payment: they arrive, and are answered when the gate opens.
fn stall(world: &World, calls: usize) {
    (0..calls).for_each(|_| world.shop.fault("pay", Op::Action, Fault::StopBefore));
}

async fn check_all(world: &World, sagas: &[SagaId]) {
    for saga in sagas {
        let status = world.settled(*saga).await;
        world.check(*saga, status).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_that_stalls_does_not_stall_sagas_that_do_not_call_it() {
    let world = world(Config { in_flight: 64, ..Config::default() }).await;
    stall(&world, 1_000);
    // More than there are places: those above wait in the queue.
    let stalled = start_all(&world, 0..120).await;
    wait_for("the calls to stall", PATIENCE, || async { world.shop.asked("pay", Op::Action) >= 50 }).await;
    let begun = Instant::now();
    for round in 0..10 {
        let others = join_all((0..4).map(|one| restock(&world, round * 4 + one))).await;
        for other in others {
            assert_eq!(world.settled(other.unwrap().id).await, Status::Completed);
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "they took {:?}", begun.elapsed());
    let mut running = 0;
    for saga in &stalled {
        let status = world.engine.wait(*saga, Duration::ZERO).await.unwrap().unwrap();
        running += usize::from(!status.is_settled());
    }
    assert!(running > 100, "{running}: nothing stalled, nothing was shown");
    world.shop.open_gate();
    check_all(&world, &stalled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_whose_sagas_pile_up_is_refused_and_no_other_and_comes_back() {
    let world = world(Config { wait: Duration::from_millis(50), ..Config::default() }).await;
    // A crowd of which some end, so that their rate is known; then none ends any more.
    let crowd = start_all(&world, 0..200);
    let some_end = async {
        wait_for("some to be paid", PATIENCE, || async { world.shop.asked("pay", Op::Action) >= 30 }).await;
        stall(&world, 2_000);
    };
    let (mut sagas, ()) = tokio::join!(crowd, some_end);
    let begun = Instant::now();
    let refused = loop {
        match world.engine.start(request(&sagas.len().to_string())).await {
            Ok(accepted) => sagas.push(accepted.id),
            error => break problem(error),
        }
        assert!(begun.elapsed() < PATIENCE, "{} sagas, and none was refused", sagas.len());
    };
    assert_eq!((refused.status, refused.retry_after.is_some()), (429, true));
    assert!(refused.detail.contains("sagas of shop"), "{refused:?}");
    assert!(world.start("0").await.existing, "a known key is answered even then");
    assert!(restock(&world, 0).await.is_ok(), "another definition is none of its business");
    world.shop.open_gate();
    check_all(&world, &sagas).await;
    let (last, status) = world.run("last").await;
    world.check(last, status).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_that_wait_for_a_participant_that_is_away_are_no_overload() {
    let world = world(Config { wait: Duration::from_millis(50), ..Config::default() }).await;
    let away = Fault::Answer { status: 503, headers: vec![("retry-after", "1".to_owned())], body: bytes::Bytes::new() };
    let sagas = start_all(&world, 0..40).await;
    check_all(&world, &sagas).await;
    (0..1_000).for_each(|_| world.shop.fault("pay", Op::Action, away.clone()));
    let first = start_all(&world, 100..101).await;
    wait_for("payment to ask for a pause", PATIENCE, || async { world.shop.asked("pay", Op::Action) > 40 }).await;
    let begun = Instant::now();
    let mut waiting = start_all(&world, 101..160).await;
    // Longer than `wait`, and nothing ends.
    wait_for("a while", PATIENCE, || async { begun.elapsed() > Duration::from_millis(300) }).await;
    waiting.extend(start_all(&world, 160..200).await);
    assert_eq!(waiting.len() + first.len(), 100, "each was accepted");
}
