//! Several nodes over one journal: takeover, hand-over, a woken zombie, the queue, acts and waits at another node. Each test
//! runs over the journal in memory and over PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use steadfast_core::{Op, SagaId};
use steadfast_saga::Error;
use steadfast_saga::engine::{Config, Election, Operation, StartRequest};
use steadfast_saga::journal::Journal as _;
use steadfast_saga::machine::Status;
use steadfast_testkit::wait_for;
use tokio::time::Instant;

use crate::admission::problem;
use crate::cluster::{Cluster, LEASE, Node, config};
use crate::shop::{Fault, PATIENCE};
use crate::world::{DEFINITION, request};

macro_rules! on_each_journal {
    ($($test:ident),* $(,)?) => {
        mod memory {
            use crate::cluster::{Backend, Cluster};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(Cluster::new(Backend::memory()).await).await;
            })*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            use crate::cluster::{Backend, Cluster};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(Cluster::new(Backend::postgres().await).await).await;
            })*
        }
    };
}

on_each_journal!(
    a_killed_node_is_taken_over_within_two_leases,
    without_a_leader_anybody_takes_over_a_lease_later,
    a_woken_zombie_writes_nothing_stale_and_goes_on_with_a_new_lane,
    a_node_whose_lane_was_taken_too_early_goes_on_with_a_new_one,
    a_drain_hands_over_at_once,
    a_drain_ends_although_the_journal_is_away,
    an_act_that_a_drain_cuts_off_is_not_answered_as_done,
    an_act_reaches_the_node_that_runs_the_saga,
    an_act_outlives_the_node_that_runs_the_saga,
    what_waits_in_the_queue_is_run_by_whoever_has_room,
    what_waits_in_the_queue_can_be_cancelled_anywhere,
    an_act_whose_caller_goes_away_leaves_nothing_behind,
    any_node_waits_for_any_saga,
    one_node_leads_and_another_after_it,
    while_the_journal_is_away_nothing_is_accepted_or_sent_and_then_it_goes_on,
    a_definition_is_known_at_every_node,
    a_start_is_known_at_every_node,
    a_poison_saga_delays_no_other_and_its_lane_is_kept,
    an_idle_node_asks_nothing_but_its_tick,
    a_parked_saga_is_taken_up_wherever_the_operator_is,
);

async fn operate(node: &Node, id: SagaId, operation: Operation) -> Result<bool, Error> {
    node.engine.operate(id, operation, "ann", "a test").await.map(|operated| operated.changed)
}

/// Until the node holds its own lane and another's.
async fn has_taken_over(node: &Node) {
    wait_for("the takeover", PATIENCE, || async { node.lane_ids().len() == 2 }).await;
}

async fn a_killed_node_is_taken_over_within_two_leases(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let mut ids = vec![cluster.stuck(&a, "0", "pay").await];
    for key in ["1", "2", "3"] {
        ids.push(a.start(key).await.id);
    }
    let killed = Instant::now();
    a.engine.abort();
    has_taken_over(&b).await;
    let took = killed.elapsed();
    // Beyond two leases: a tick, and what a busy machine takes.
    assert!(took < 2 * LEASE + Duration::from_millis(300), "{took:?}");
    println!("taken over after {took:?}, leases of {LEASE:?}");
    for id in ids {
        let status = b.settled(id).await;
        assert_eq!(status, Status::Completed);
        cluster.check(id, status).await;
    }
    cluster.shop.open_gate();
    wait_for("the lane to be given up", PATIENCE, || async { b.lane_ids().len() == 1 }).await;
    let id = b.start("after").await.id;
    cluster.check(id, b.settled(id).await).await;
}

/// An election that is lost, until it is won.
#[derive(Debug, Default)]
struct Decided(AtomicBool);

impl Election for Decided {
    fn is_leader(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

async fn without_a_leader_anybody_takes_over_a_lease_later(cluster: Cluster) {
    let nobody: Arc<dyn Election> = Arc::new(Decided::default());
    let a = cluster.elected(config(), Some(Arc::clone(&nobody))).await;
    let b = cluster.elected(config(), Some(Arc::clone(&nobody))).await;
    a.engine.upload(DEFINITION, BTreeMap::new(), "test").await.unwrap();
    let id = cluster.stuck(&a, "1", "pay").await;
    assert!(!a.engine.leader() && !b.engine.leader());
    let killed = Instant::now();
    a.engine.abort();
    has_taken_over(&b).await;
    let took = killed.elapsed();
    // The last renewal was up to a sixth of a lease old, or two on a busy machine.
    assert!(took > LEASE + LEASE / 2, "not before a further lease: {took:?}");
    assert!(took < 2 * LEASE + Duration::from_millis(400), "{took:?}");
    cluster.check(id, b.settled(id).await).await;

    // A leader does not wait.
    let leader = Arc::new(Decided::default());
    leader.0.store(true, Ordering::SeqCst);
    let c = cluster.elected(config(), Some(leader)).await;
    assert!(c.engine.leader());
    let id = cluster.stuck(&b, "2", "pay").await;
    let killed = Instant::now();
    b.engine.abort();
    assert_eq!(c.settled(id).await, Status::Completed);
    let took = killed.elapsed();
    assert!(took < LEASE + Duration::from_millis(500), "{took:?}");
}

async fn a_woken_zombie_writes_nothing_stale_and_goes_on_with_a_new_lane(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let id = cluster.stuck(&a, "1", "pay").await;
    let before = a.engine.lanes();
    a.journal.set_stopped(true);
    assert_eq!(b.settled(id).await, Status::Completed);
    wait_for("the lease to end", PATIENCE, || async { a.engine.ready().is_err() }).await;
    let rows = cluster.history(id).await.commits.len();
    // The reply reaches the zombie, and then it is woken.
    cluster.shop.open_gate();
    a.journal.set_stopped(false);
    wait_for("another lane", PATIENCE, || async {
        a.engine.ready().is_ok() && a.engine.lanes().iter().all(|lane| !before.contains(lane))
    })
    .await;
    assert_eq!(cluster.history(id).await.commits.len(), rows, "the zombie has added nothing");
    let stale = a.journal.written().into_iter().filter(|(saga, row, _)| *saga == id && *row > 3).count();
    assert_eq!(stale, 0);
    cluster.check(id, Status::Completed).await;
    assert_eq!(a.engine.in_flight(), 0, "what was lost has left memory");
    let next = a.start("2").await.id;
    cluster.check(next, a.settled(next).await).await;
}

/// A database that came back from a copy that lagged behind may hold an older lease than the one that a node was told of.
async fn a_node_whose_lane_was_taken_too_early_goes_on_with_a_new_one(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let id = cluster.stuck(&a, "1", "pay").await;
    let before = a.engine.lanes();
    b.journal.release(&before).await.unwrap();
    assert_eq!(b.settled(id).await, Status::Completed);
    wait_for("another lane", PATIENCE, || async {
        a.engine.ready().is_ok() && a.engine.lanes().iter().all(|lane| !before.contains(lane))
    })
    .await;
    cluster.shop.open_gate();
    let next = a.start("2").await.id;
    cluster.check(next, a.settled(next).await).await;
    cluster.check(id, Status::Completed).await;
}

async fn a_drain_hands_over_at_once(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    // Calls that do not answer in time are asked again.
    let mut ids = vec![cluster.stuck(&a, "0", "pay").await, cluster.stuck(&a, "1", "reserve").await];
    for n in 2..20 {
        ids.push(a.start(&n.to_string()).await.id);
    }
    let begun = Instant::now();
    a.engine.drain().await;
    let took = begun.elapsed();
    // 100 ms of it are for calls in flight; below 200 ms where nothing else has the processors.
    assert!(took < Duration::from_secs(1), "{took:?}");
    has_taken_over(&b).await;
    let taken = begun.elapsed();
    println!("handed over in {took:?}, taken over after {taken:?}");
    for id in ids {
        let status = b.settled(id).await;
        assert_eq!(status, Status::Completed);
        cluster.check(id, status).await;
    }
    cluster.shop.open_gate();
}

async fn a_drain_ends_although_the_journal_is_away(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let id = cluster.stuck(&a, "1", "pay").await;
    a.journal.set_away(true);
    cluster.shop.open_gate();
    let begun = Instant::now();
    a.engine.drain().await;
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    // Nothing could be given up: the lease runs out.
    cluster.check(id, b.settled(id).await).await;
}

async fn an_act_that_a_drain_cuts_off_is_not_answered_as_done(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let id = cluster.stuck(&a, "1", "pay").await;
    a.journal.set_away(true);
    let drain = async {
        wait_for("the commit to fail", PATIENCE, || async { a.engine.ready().is_err() }).await;
        a.engine.drain().await;
    };
    let (acted, ()) = tokio::join!(operate(&a, id, Operation::Cancel), drain);
    assert_eq!(problem(acted).status, 503, "it stands nowhere");
    cluster.shop.open_gate();
    cluster.check(id, b.settled(id).await).await;
}

async fn an_act_reaches_the_node_that_runs_the_saga(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let id = cluster.stuck(&a, "1", "reserve").await;
    assert!(operate(&b, id, Operation::Hold).await.unwrap());
    assert!(!operate(&b, id, Operation::Hold).await.unwrap(), "a repeat changes nothing");
    let refused = problem(operate(&b, id, Operation::SkipVoid { step: "nonsense".to_owned() }).await);
    assert_eq!(refused.status, 400);
    assert!(refused.detail.contains("nonsense") && refused.detail.contains("create"), "{}", refused.detail);
    let refused = problem(operate(&b, id, Operation::Resolve { step: None }).await);
    assert_eq!((refused.status, refused.extra["reason"].as_str()), (409, Some("not-parked")));
    assert!(operate(&b, id, Operation::Release).await.unwrap());
    assert!(operate(&b, id, Operation::Cancel).await.unwrap());
    cluster.shop.open_gate();
    assert_eq!(b.settled(id).await, Status::Compensated);
    cluster.check(id, Status::Compensated).await;
    assert!(!operate(&b, id, Operation::Cancel).await.unwrap());
    assert_eq!(problem(operate(&b, id, Operation::Retry).await).status, 409);
    assert_eq!(problem(operate(&b, SagaId::derive("a", "b", "c"), Operation::Retry).await).status, 404);
}

async fn an_act_outlives_the_node_that_runs_the_saga(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let id = cluster.stuck(&a, "1", "reserve").await;
    // It gets no answer when it is asked again, either.
    cluster.shop.fault("reserve", Op::Action, Fault::StopBefore);
    a.engine.abort();
    // Nobody has the saga yet; whoever takes it carries the act out.
    assert!(operate(&b, id, Operation::Cancel).await.unwrap());
    cluster.shop.open_gate();
    assert_eq!(b.settled(id).await, Status::Compensated);
    cluster.check(id, Status::Compensated).await;
}

async fn what_waits_in_the_queue_is_run_by_whoever_has_room(cluster: Cluster) {
    let full = Config { in_flight: 1, ..config() };
    let (a, b) = (cluster.node(full.clone()).await, cluster.node(full).await);
    a.engine.upload(DEFINITION, BTreeMap::new(), "test").await.unwrap();
    let held = [cluster.stuck(&a, "a", "pay").await, cluster.stuck(&b, "b", "pay").await];
    let mut ids = Vec::new();
    for n in 0..6 {
        let accepted = a.start(&n.to_string()).await;
        assert_eq!(accepted.status, Status::Pending);
        ids.push(accepted.id);
    }
    assert_eq!(a.engine.in_flight(), 1, "what waits is in nobody's memory");
    assert_eq!(cluster.shop.asked("create", Op::Action), 2, "nothing is sent for what waits");
    let c = cluster.node(config()).await;
    for &id in &ids {
        let status = a.settled(id).await;
        assert_eq!(status, Status::Completed);
        cluster.check(id, status).await;
    }
    let by = |node: &Node| node.journal.written().iter().filter(|(saga, ..)| ids.contains(saga)).count();
    assert!(by(&c) > 0 && by(&b) == 0, "the third node has run them");
    cluster.shop.open_gate();
    for id in held {
        cluster.check(id, a.settled(id).await).await;
    }
}

async fn what_waits_in_the_queue_can_be_cancelled_anywhere(cluster: Cluster) {
    let full = Config { in_flight: 1, ..config() };
    let (a, b) = (cluster.node(full.clone()).await, cluster.node(full).await);
    a.engine.upload(DEFINITION, BTreeMap::new(), "test").await.unwrap();
    let held = [cluster.stuck(&a, "a", "pay").await, cluster.stuck(&b, "b", "pay").await];
    let id = a.start("1").await.id;
    assert!(operate(&b, id, Operation::Cancel).await.unwrap());
    assert_eq!(a.settled(id).await, Status::Compensated);
    cluster.check(id, Status::Compensated).await;
    assert_eq!(cluster.shop.asked("create", Op::Action), 2, "nothing was sent for it");
    cluster.shop.open_gate();
    for id in held {
        cluster.check(id, b.settled(id).await).await;
    }
}

async fn an_act_whose_caller_goes_away_leaves_nothing_behind(cluster: Cluster) {
    let full = Config { in_flight: 1, ..config() };
    let (a, b) = (cluster.node(full.clone()).await, cluster.node(full).await);
    a.engine.upload(DEFINITION, BTreeMap::new(), "test").await.unwrap();
    let held = [cluster.stuck(&a, "a", "pay").await, cluster.stuck(&b, "b", "pay").await];
    let id = a.start("1").await.id;
    // The saga is had from the queue, and its history does not come before the caller has gone.
    b.journal.hold_histories(true);
    let gone = tokio::time::timeout(Duration::from_millis(100), operate(&b, id, Operation::Retry)).await;
    assert!(gone.is_err());
    b.journal.hold_histories(false);
    assert_eq!(a.settled(id).await, Status::Completed);
    cluster.check(id, Status::Completed).await;
    cluster.shop.open_gate();
    for id in held {
        cluster.check(id, b.settled(id).await).await;
    }
}

async fn any_node_waits_for_any_saga(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let id = cluster.stuck(&a, "1", "pay").await;
    let still = b.engine.wait(id, Duration::from_millis(60)).await.unwrap();
    assert_eq!(still, Some(Status::Running));
    let before = b.journal.asked();
    let waiting = futures_util::future::join_all((0..50).map(|_| b.engine.wait(id, PATIENCE)));
    let opened = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.shop.open_gate();
    };
    let (statuses, ()) = tokio::join!(waiting, opened);
    assert!(statuses.into_iter().all(|status| status.unwrap() == Some(Status::Completed)));
    // One to find it for each who comes, then one look-up for all, beside the ticks.
    let asked = b.journal.asked() - before;
    assert!(asked < 50 + 60, "{asked} questions for 50 who wait");
    let unknown = SagaId::derive("a", "b", "c");
    assert_eq!(b.engine.wait(unknown, PATIENCE).await.unwrap(), None);
}

async fn one_node_leads_and_another_after_it(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    wait_for("a leader", PATIENCE, || async { a.engine.leader() || b.engine.leader() }).await;
    let (leader, other) = if a.engine.leader() { (a, b) } else { (b, a) };
    assert!(!other.engine.leader());
    leader.engine.abort();
    wait_for("the next leader", PATIENCE, || async { other.engine.leader() }).await;
    wait_for("the former one to know", PATIENCE, || async { !leader.engine.leader() }).await;
}

async fn while_the_journal_is_away_nothing_is_accepted_or_sent_and_then_it_goes_on(cluster: Cluster) {
    let (a, _) = cluster.pair().await;
    let patient = Config { lease: Duration::from_secs(30), ..config() };
    a.engine.drain().await;
    let a = cluster.node(patient).await;
    let id = cluster.stuck(&a, "1", "create").await;
    a.journal.set_away(true);
    // The reply comes; its commit does not, and nothing more is sent.
    cluster.shop.open_gate();
    wait_for("the engine to notice", PATIENCE, || async { a.engine.ready().is_err() }).await;
    assert_eq!(problem(a.engine.start(request("2")).await).status, 503);
    let (asked, rows) = (cluster.shop.arrived().len(), a.journal.appended());
    wait_for("more attempts to write", PATIENCE, || async { a.journal.appended() > rows + 2 }).await;
    assert_eq!(cluster.shop.arrived().len(), asked, "nothing is sent");
    a.journal.set_away(false);
    wait_for("the engine to go on", PATIENCE, || async { a.engine.ready().is_ok() }).await;
    assert_eq!(a.settled(id).await, Status::Completed);
    cluster.check(id, Status::Completed).await;
    let next = a.start("2").await.id;
    cluster.check(next, a.settled(next).await).await;
}

async fn a_definition_is_known_at_every_node(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let id = b.start("1").await.id;
    assert_eq!(b.settled(id).await, Status::Completed);
    a.engine.upload(&DEFINITION.replace("version: 1", "version: 2"), BTreeMap::new(), "test").await.unwrap();
    let named = b.engine.start(StartRequest { version: Some(2), ..request("2") }).await.unwrap();
    assert_eq!(b.engine.show(named.id).await.unwrap().unwrap().summary.version, 2);
    a.engine.upload(&DEFINITION.replace("version: 1", "version: 3"), BTreeMap::new(), "test").await.unwrap();
    // Without a version the newest that the node has heard of is run: it hears of it at its next tick.
    let mut versions = Vec::new();
    wait_for("the newest to be run", PATIENCE, || {
        let key = format!("n{}", versions.len());
        versions.push(key.clone());
        let engine = b.engine.clone();
        async move {
            let id = engine.start(request(&key)).await.unwrap().id;
            engine.show(id).await.unwrap().unwrap().summary.version == 3
        }
    })
    .await;
    // And a saga of it is taken up elsewhere.
    let id = cluster.stuck(&b, "last", "pay").await;
    b.engine.abort();
    assert_eq!(a.settled(id).await, Status::Completed);
    assert_eq!(problem(a.engine.start(StartRequest { version: Some(9), ..request("9") }).await).status, 404);
}

async fn a_start_is_known_at_every_node(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let id = cluster.stuck(&a, "1", "pay").await;
    let again = b.start("1").await;
    assert_eq!((again.id, again.existing), (id, true));
    let changed = StartRequest { input: json!({"no": "other", "card": "x"}), ..request("1") };
    assert_eq!(problem(b.engine.start(changed).await).status, 422);
    // At once at both: it is one saga, and both say so.
    let both = futures_util::future::join_all((0..20).flat_map(|n| {
        let key = format!("both-{n}");
        [(a.engine.clone(), key.clone()), (b.engine.clone(), key)]
            .map(|(engine, key)| async move { engine.start(request(&key)).await.unwrap() })
    }))
    .await;
    for pair in both.chunks(2) {
        assert_eq!(pair[0].id, pair[1].id);
        assert!(pair[0].existing != pair[1].existing, "one of them has started it: {pair:?}");
    }
    cluster.shop.open_gate();
    for pair in both.chunks(2) {
        assert_eq!(b.settled(pair[0].id).await, Status::Completed);
        cluster.check(pair[0].id, Status::Completed).await;
    }
    cluster.check(id, b.settled(id).await).await;
}

async fn a_poison_saga_delays_no_other_and_its_lane_is_kept(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    let ids =
        [cluster.stuck(&a, "1", "pay").await, cluster.stuck(&a, "2", "pay").await, cluster.stuck(&a, "3", "pay").await];
    b.journal.poison(ids[1]);
    a.engine.abort();
    for id in [ids[0], ids[2]] {
        let status = b.settled(id).await;
        assert_eq!(status, Status::Completed);
        cluster.check(id, status).await;
    }
    let held = b.engine.lanes();
    assert_eq!(held.len(), 2, "a lane is not given up for others to fail on");
    let refused = problem(operate(&b, ids[1], Operation::Cancel).await);
    assert_eq!(refused.status, 503);
    tokio::time::sleep(2 * LEASE).await;
    assert_eq!(b.engine.lanes(), held, "nor is it taken again and again");
    cluster.shop.open_gate();
    // A node that can read it takes it up.
    let c = cluster.node(config()).await;
    b.engine.drain().await;
    cluster.check(ids[1], c.settled(ids[1]).await).await;
}

async fn an_idle_node_asks_nothing_but_its_tick(cluster: Cluster) {
    let tick = Duration::from_millis(50);
    let node = cluster.node(Config { tick, ..config() }).await;
    node.engine.upload(DEFINITION, BTreeMap::new(), "test").await.unwrap();
    let id = node.start("1").await.id;
    node.settled(id).await;
    wait_for("rest", PATIENCE, || async { node.engine.in_flight() == 0 }).await;
    tokio::time::sleep(4 * tick).await;
    let (before, begun) = (node.journal.asked(), Instant::now());
    tokio::time::sleep(20 * tick).await;
    let asked = node.journal.asked() - before;
    let ticks = begun.elapsed().as_millis() / tick.as_millis() + 2;
    assert!(asked as u128 <= ticks, "{asked} questions in {ticks} ticks");
    assert!(asked >= 5, "it attends: {asked}");
}

async fn a_parked_saga_is_taken_up_wherever_the_operator_is(cluster: Cluster) {
    let (a, b) = cluster.pair().await;
    cluster.shop.fault("pay", Op::Action, Fault::Refuse);
    for _ in 0..4 {
        cluster.shop.fault("create", Op::Compensate, Fault::status(500));
    }
    let id = a.start("1").await.id;
    assert_eq!(b.settled(id).await, Status::Failed);
    assert!(!operate(&b, id, Operation::Cancel).await.unwrap());
    wait_for("it to rest again", PATIENCE, || async { b.engine.in_flight() == 0 }).await;
    // Both at once: whoever has it acts, and the other hears of it.
    let both = tokio::join!(operate(&a, id, Operation::Retry), operate(&b, id, Operation::Retry));
    let changed = [both.0, both.1].into_iter().filter(|it| matches!(it, Ok(true))).count();
    assert!(changed >= 1, "one of them has changed it");
    assert_eq!(a.settled(id).await, Status::Compensated);
    cluster.check(id, Status::Compensated).await;
}
