//! One product that everybody wants, two replicas over one database, reservations through the route. The stock is a fifth of
//! what the lane itself is tested with, since each piece costs a whole request, unoptimised.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use goodgo_inventory::{Hot, Service, UPDATES};
use http::StatusCode;
use serde_json::Value;
use steadfast_testkit::wait_for;
use tokio::task::JoinSet;

use super::Db;
use super::reservations::{release, reserve};
use super::support::{Answered, Call, Shop, config, opening, send, shop};

const STOCK: i64 = 2_000;
const CLIENTS: u32 = 256;

/// Every reservation goes by the lane.
fn always() -> Hot {
    Hot { at_once: 1, ..Hot::default() }
}

async fn replica(shop: &Shop, hot: Hot) -> Service<Db> {
    Service::open_with(shop.db.reopen().await, config(&shop.clock, UPDATES), hot).await.unwrap()
}

/// Asks until somebody knows: a call that is under way elsewhere is asked for again, as the orchestrator does.
async fn insist(router: &Router, call: &Call) -> Answered {
    for _ in 0..2_000 {
        let answer = send(router, call.request()).await;
        let again = answer.status == StatusCode::SERVICE_UNAVAILABLE
            || (answer.status == StatusCode::CONFLICT && answer.problem() == "in-flight");
        if !again {
            return answer;
        }
        // What is waited for is the end of another's transaction.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("no answer to {}", call.saga);
}

/// Transactions that have written the reservations which are there.
async fn commits(shop: &Shop) -> i64 {
    shop.count("select count(distinct xmin::text) from reservation").await
}

async fn wait_for_a_waiter(shop: &Shop) {
    wait_for("a batch that waits for the product's row", Duration::from_secs(5), || async {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        shop.count(waiting).await > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_sell_one_product_to_256_clients_whole_and_fairly() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("lamp", STOCK)]).await.unwrap();
    let replicas = [replica(&shop, Hot::default()).await, replica(&shop, Hot::default()).await];
    let next = Arc::new(AtomicU32::new(0));
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let (router, next) = (replicas[n as usize % 2].router(), Arc::clone(&next));
        clients.spawn(async move {
            let mut answers: Vec<(u32, Value)> = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let answer = insist(&router, &reserve(n, &[("lamp", 1)])).await;
                match answer.status {
                    StatusCode::CREATED => answers.push((n, answer.body)),
                    StatusCode::UNPROCESSABLE_ENTITY => {
                        assert_eq!(answer.headers["saga-outcome"], "refused");
                        assert_eq!(answer.body["detail"], "lamp is out of stock");
                        return (answers, (n, answer.body));
                    }
                    _ => panic!("{answer:?}"),
                }
            }
        });
    }
    let ended = clients.join_all().await;
    let served: Vec<usize> = ended.iter().map(|(answers, _)| answers.len()).collect();
    assert_eq!(served.iter().sum::<usize>(), usize::try_from(STOCK).unwrap());
    assert_eq!(shop.level("lamp").await, (STOCK, STOCK, STOCK + 1), "sold and left add up, one version each");
    let numbered = "select count(*) from outbox where event_type = 'stock.reserved.v1' and sequence between 2 and 2001
        and (payload ->> 'reserved')::bigint = sequence - 1";
    assert_eq!(shop.count(numbered).await, STOCK, "each event tells the level at its own version");
    shop.is_whole().await;
    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
    assert!(most <= &(least * 2 + 2), "{least} to {most}: {served:?}");
    let commits = commits(&shop).await;
    assert!(commits < STOCK / 4, "{commits} commits for {STOCK} reservations");
    // Whatever was said, served or refused, any replica says again.
    for (answers, refused) in ended.iter().take(8) {
        for (status, (n, body)) in answers.iter().take(2).map(|it| (201, it)).chain([(422, refused)]) {
            for router in replicas.iter().map(Service::router) {
                let again = insist(&router, &reserve(*n, &[("lamp", 1)])).await;
                assert_eq!((again.status.as_u16(), again.replayed(), &again.body), (status, true, body));
            }
        }
    }
}

#[tokio::test]
async fn what_is_cold_goes_the_ordinary_way_and_what_is_hot_in_one_commit() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 50)]).await.unwrap();
    let router = replica(&shop, Hot::default()).await.router();
    for n in 0..5 {
        assert_eq!(send(&router, reserve(n, &[("a", 1)]).request()).await.status, StatusCode::CREATED);
    }
    assert_eq!(commits(&shop).await, 5);
    let hot = replica(&shop, always()).await.router();
    let mut tasks = JoinSet::new();
    for n in 10..30 {
        let hot = hot.clone();
        tasks.spawn(async move { send(&hot, reserve(n, &[("a", 1)]).request()).await.status });
    }
    assert!(tasks.join_all().await.iter().all(|status| *status == StatusCode::CREATED));
    let hot_commits = commits(&shop).await - 5;
    assert!(hot_commits <= 4, "{hot_commits} commits for 20 that came at once");
    shop.is_whole().await;
}

#[tokio::test]
async fn lines_of_an_order_are_all_or_none_in_a_batch_too() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5), opening("b", 3)]).await.unwrap();
    let router = replica(&shop, always()).await.router();
    let orders = [
        reserve(1, &[("a", 1), ("b", 1), ("a", 1)]),
        reserve(2, &[("b", 5), ("c", 1)]),
        reserve(3, &[("a", 4)]),
        reserve(4, &[("b", 2)]),
        reserve(5, &[("a", 0)]),
    ];
    let mut tasks = JoinSet::new();
    for (n, call) in orders.into_iter().enumerate() {
        let router = router.clone();
        tasks.spawn(async move { (n, send(&router, call.request()).await) });
    }
    let answers: HashMap<usize, Answered> = tasks.join_all().await.into_iter().collect();
    assert_eq!(answers[&1].body["detail"], "b is out of stock; c is not sold here");
    assert!(answers[&4].body["detail"].as_str().unwrap().starts_with("lines"), "{:?}", answers[&4]);
    let done = |n: usize| answers[&n].status == StatusCode::CREATED;
    assert!(done(3) && done(0) != done(2), "of the first and the third, who came first: {answers:?}");
    let expected = if done(0) { ((5, 2, 2), (3, 3, 3)) } else { ((5, 4, 2), (3, 2, 2)) };
    assert_eq!((shop.level("a").await, shop.level("b").await), expected);
    let lines = shop.count("select sum(quantity) from reservation_line").await;
    assert_eq!(lines, shop.count("select sum(reserved) from stock").await);
    shop.is_whole().await;
}

#[tokio::test]
async fn one_call_that_comes_many_times_at_once_reserves_once() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 50)]).await.unwrap();
    let replicas = [replica(&shop, always()).await.router(), replica(&shop, always()).await.router()];
    let mut tasks = JoinSet::new();
    for n in 0..40_u32 {
        let router = replicas[n as usize % 2].clone();
        tasks.spawn(async move { insist(&router, &reserve(n % 4, &[("a", 1)])).await });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|it| it.status == StatusCode::CREATED), "{answers:?}");
    assert_eq!(answers.iter().filter(|it| !it.replayed()).count(), 4);
    assert_eq!(shop.level("a").await, (50, 4, 5));
    // Another call for the same order is refused, as it is where nothing is hot.
    let twice = Call { step: "reserve_again", ..reserve(1, &[("a", 1)]) };
    let refused = insist(&replicas[0], &twice).await;
    assert_eq!((refused.status, refused.problem()), (StatusCode::UNPROCESSABLE_ENTITY, "refused"));
    shop.is_whole().await;
}

#[tokio::test]
async fn one_that_cannot_be_written_is_found_and_the_others_are_reserved() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 50)]).await.unwrap();
    let router = replica(&shop, always()).await.router();
    let poison = reserve(7, &[("a", 1)]);
    let refuse = format!(
        "alter table reservation add constraint poison check (order_id <> '{}')",
        poison.body["order_id"].as_str().unwrap()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(shop.db.pool()).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let router = router.clone();
        tasks.spawn(async move { (n, send(&router, reserve(n, &[("a", 1)]).request()).await) });
    }
    for (n, answer) in tasks.join_all().await {
        assert_eq!(answer.status == StatusCode::CREATED, n != 7, "{n}: {answer:?}");
    }
    assert_eq!(shop.level("a").await, (50, 15, 16));
    shop.is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compensations_that_meet_their_reservations_leave_nothing_reserved() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 1_000)]).await.unwrap();
    let replicas = [replica(&shop, always()).await.router(), replica(&shop, always()).await.router()];
    let mut tasks = JoinSet::new();
    for n in 0..100 {
        let (here, there) = (replicas[0].clone(), replicas[1].clone());
        tasks.spawn(async move {
            let early = Call { known: "unknown", ..release(n) };
            let take = reserve(n, &[("a", 1)]);
            let (reserved, released) = tokio::join!(insist(&here, &take), insist(&there, &early));
            assert_eq!(released.status, StatusCode::NO_CONTENT, "{released:?}");
            match reserved.status {
                // It was done, and taken back after that.
                StatusCode::CREATED => 1,
                StatusCode::CONFLICT => {
                    assert_eq!(reserved.problem(), "voided");
                    0
                }
                _ => panic!("{reserved:?}"),
            }
        });
    }
    let done: i64 = tasks.join_all().await.into_iter().sum();
    assert_eq!(shop.level("a").await, (1_000, 0, 1 + 2 * done), "whatever was reserved was released");
    assert_eq!(shop.count("select count(*) from reservation where status <> 'released'").await, 0);
    assert_eq!(shop.count("select count(*) from saga_barrier where state = 3").await, 100 - done);
    shop.is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_in_the_middle_of_a_batch_loses_nothing() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 50)]).await.unwrap();
    let dying = replica(&shop, always()).await;
    let mut held = shop.db.begin().await.unwrap();
    sqlx::query("select 1 from stock where product = 'a' for update").execute(&mut *held).await.unwrap();
    let mut callers = JoinSet::new();
    for n in 0..20 {
        let router = dying.router();
        callers.spawn(async move { send(&router, reserve(n, &[("a", 1)]).request()).await });
    }
    wait_for_a_waiter(&shop).await;
    // The process is gone: its service, its connections, and whoever waited for it.
    drop(dying);
    callers.shutdown().await;
    held.commit().await.unwrap();
    let heir = replica(&shop, always()).await.router();
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let heir = heir.clone();
        tasks.spawn(async move { insist(&heir, &reserve(n, &[("a", 1)])).await.status });
    }
    assert!(tasks.join_all().await.iter().all(|status| *status == StatusCode::CREATED));
    assert_eq!(shop.level("a").await, (50, 20, 21));
    shop.is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_ends_in_order_commits_what_was_asked_for() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 50)]).await.unwrap();
    let ending = replica(&shop, always()).await;
    let mut held = shop.db.begin().await.unwrap();
    sqlx::query("select 1 from stock where product = 'a' for update").execute(&mut *held).await.unwrap();
    let mut callers = JoinSet::new();
    for n in 0..20 {
        let router = ending.router();
        callers.spawn(async move { send(&router, reserve(n, &[("a", 1)]).request()).await });
    }
    wait_for_a_waiter(&shop).await;
    // Whoever asked has hung up; what was asked for is on its way.
    callers.shutdown().await;
    let drained = async {
        let release = async { held.commit().await.unwrap() };
        tokio::join!(ending.drain(), release);
    };
    tokio::time::timeout(Duration::from_secs(5), drained).await.unwrap();
    let asked = shop.level("a").await.1;
    assert!(asked > 0 && shop.level("a").await == (50, asked, asked + 1));
    let late = send(&ending.router(), reserve(99, &[("a", 1)]).request()).await;
    assert_eq!((late.status, late.problem()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    assert!(late.headers.contains_key("retry-after"));
    shop.is_whole().await;
}
