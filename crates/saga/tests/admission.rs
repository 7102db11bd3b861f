//! Starts: repeats, bounds, permissions, definitions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use steadfast_core::{Op, Principal, Problem};
use steadfast_saga::Error;
use steadfast_saga::engine::{Config, StartRequest};
use steadfast_saga::machine::Status;
use steadfast_testkit::wait_for;
use tokio::time::Instant;

use crate::shop::{Fault, PATIENCE};
use crate::world::{DEFINITION, World, request};

pub(crate) fn problem<T: std::fmt::Debug>(result: Result<T, Error>) -> Problem {
    match result.unwrap_err() {
        Error::Problem(problem) => *problem,
        other => panic!("not a problem: {other:?}"),
    }
}

fn code(problem: &Problem) -> &str {
    problem.type_uri.rsplit('/').next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_repeated_is_one_saga() {
    let mut world = World::new().await;
    let starts = (0..16).map(|_| world.engine.start(request("1")));
    let answers = futures_util::future::join_all(starts).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| answer.id == answers[0].id));
    assert_eq!(answers.iter().filter(|answer| !answer.existing).count(), 1);
    let status = world.settled(answers[0].id).await;
    world.check(answers[0].id, status).await;
    for _ in 0..2 {
        let again = world.start("1").await;
        assert_eq!((again.id, again.existing, again.status), (answers[0].id, true, Status::Completed));
        world.crash().await;
    }
    world.check(answers[0].id, status).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_another_input_is_refused_and_another_users_key_is_another_saga() {
    let world = World::new().await;
    let (id, _) = world.run("1").await;
    let changed = StartRequest { input: json!({"no": "other", "card": "x"}), ..request("1") };
    let refused = problem(world.engine.start(changed).await);
    assert_eq!((code(&refused), refused.status), ("idempotency-mismatch", 422));
    let other = Principal::new("till-8", ["order.place", "payment.process"]);
    let theirs = world.engine.start(StartRequest { principal: other, ..request("1") }).await.unwrap();
    assert!(!theirs.existing && theirs.id != id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_the_bound_sagas_wait_and_above_the_second_they_are_refused() {
    let config = Config { in_flight: 1, queue: 2, ..Config::default() };
    let world = World::with(config, DEFINITION).await;
    world.shop.fault("create", Op::Action, Fault::StopBefore);
    let first = world.start("1").await;
    let waiting = [world.start("2").await, world.start("3").await];
    assert!(waiting.iter().all(|saga| saga.status == Status::Pending));
    assert_eq!(world.shop.asked("create", Op::Action), 1, "nothing is sent for those that wait");
    let refused = problem(world.engine.start(request("4")).await);
    assert_eq!((code(&refused), refused.status), ("overloaded", 429));
    assert!(refused.retry_after.is_some());
    let known = world.start("2").await;
    assert!(known.existing && known.id == waiting[0].id, "a known key is answered even then");
    world.shop.open_gate();
    for saga in [first, waiting[0], waiting[1]] {
        let status = world.settled(saga.id).await;
        assert_eq!(status, Status::Completed);
        world.check(saga.id, status).await;
    }
    let (id, status) = world.run("4").await;
    world.check(id, status).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_wait_outlive_a_crash() {
    let config = Config { in_flight: 1, ..Config::default() };
    let mut world = World::with(config, DEFINITION).await;
    world.shop.fault("create", Op::Action, Fault::StopBefore);
    let mut started = Vec::new();
    for key in ["1", "2", "3"] {
        started.push(world.start(key).await.id);
    }
    world.crash().await;
    world.shop.open_gate();
    for id in started {
        let status = world.settled(id).await;
        assert_eq!(status, Status::Completed);
        world.check(id, status).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_start_it_does_not() {
    let world = World::new().await;
    let nobody = StartRequest { principal: Principal::new("guest", ["payment.process"]), ..request("1") };
    let refused = problem(world.engine.start(nobody).await);
    assert_eq!((code(&refused), refused.status), ("forbidden", 403));
    let unknown = StartRequest { definition: "shp".to_owned(), ..request("1") };
    assert_eq!(code(&problem(world.engine.start(unknown).await)), "unknown-definition");
    assert!(world.shop.arrived().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_its_user_may_not_ask_for_is_not_sent_and_the_saga_turns_back() {
    let world = World::new().await;
    let principal = Principal::new("till-7", ["order.place"]);
    let begun = Instant::now();
    let id = world.engine.start(StartRequest { principal, ..request("1") }).await.unwrap().id;
    let status = world.settled(id).await;
    assert_eq!(status, Status::Compensated);
    assert!(begun.elapsed() < Duration::from_secs(2), "a call that is never sent is not waited for");
    world.check(id, status).await;
    assert_eq!(world.shop.asked("pay", Op::Action), 0);
    assert_eq!(world.engine.show(id).await.unwrap().unwrap().summary.cause.as_deref(), Some("permission"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_never_changes_and_a_saga_stays_on_its_own() {
    let mut world = World::new().await;
    let upload = |text: String| {
        let engine = world.engine.clone();
        async move { engine.upload(&text, BTreeMap::new(), "test").await }
    };
    assert!(!upload(format!("# a comment\n{DEFINITION}")).await.unwrap().added, "the same content");
    let refused = problem(upload(DEFINITION.replace("timeout: 30s", "timeout: 31s")).await);
    assert_eq!(refused.status, 409);
    let stranger = problem(upload(DEFINITION.replace("participant: payment", "participant: bank")).await);
    assert_eq!((code(&stranger), stranger.status), ("invalid-definition", 422));
    assert!(stranger.to_json().windows(4).any(|word| word == b"bank"), "the fault names it");
    world.shop.fault("create", Op::Action, Fault::StopBefore);
    let old = world.start("1").await;
    assert!(upload(DEFINITION.replace("version: 1", "version: 2")).await.unwrap().added);
    world.crash().await;
    world.shop.open_gate();
    let status = world.settled(old.id).await;
    world.check(old.id, status).await;
    let (new, _) = world.run("2").await;
    let version = |id| {
        let engine = world.engine.clone();
        async move { engine.show(id).await.unwrap().unwrap().summary.version }
    };
    assert_eq!((version(old.id).await, version(new).await), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_paged() {
    use steadfast_saga::journal::Filter;
    let world = World::new().await;
    world.shop.fault("pay", Op::Action, Fault::Refuse);
    let (refused, _) = world.run("0").await;
    for key in ["1", "2", "3"] {
        world.run(key).await;
    }
    let all = Filter { limit: 3, ..Filter::default() };
    let page = world.engine.list(&all).await.unwrap();
    assert_eq!(page.iter().map(|saga| saga.business_key.clone().unwrap()).collect::<Vec<_>>(), ["n-3", "n-2", "n-1"]);
    let next = Filter { before: page.last().map(|saga| saga.no), ..all.clone() };
    assert_eq!(world.engine.list(&next).await.unwrap()[0].saga_id, refused.to_string());
    let by_key = Filter { business_key: Some("n-2".to_owned()), ..all.clone() };
    assert_eq!(world.engine.list(&by_key).await.unwrap().len(), 1);
    let compensated = Filter { status: Some(Status::Compensated), ..all };
    let found = world.engine.list(&compensated).await.unwrap();
    assert_eq!(found.iter().map(|saga| saga.saga_id.clone()).collect::<Vec<_>>(), [refused.to_string()]);
    wait_for("nothing to be left in memory", PATIENCE, || async { world.engine.in_flight() == 0 }).await;
}
