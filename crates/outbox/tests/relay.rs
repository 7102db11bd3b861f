//! Publishing: all of it, in order, from many sources, by hint or by looking.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use steadfast_bus::{Consumer, Error, Start, Topics};
use steadfast_outbox::{Sink, Source};
use steadfast_testkit::wait_for;
use tokio::task::JoinSet;

use crate::support::{Judged, LIMIT, Running, Shop, config, delivered, event, log, on_both, sequences};

on_both!(
    an_aggregates_events_arrive_in_order_from_concurrent_writers,
    two_sources_flow_into_one_log_and_name_themselves,
    what_another_process_writes_is_found_by_looking,
    a_hint_saves_the_wait_also_before_the_commit,
    a_log_that_is_away_is_nobodys_fault,
    an_event_that_an_operator_unmarks_is_published_again,
);

/// Writers that each bump the version of random aggregates, some of them rolling back.
async fn write_concurrently(shop: &Arc<Shop>, writers: u64, each: u64, aggregates: u64) {
    shop.execute("create table thing (id text primary key, version bigint not null)").await;
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let shop = Arc::clone(shop);
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(writer);
            for _ in 0..each {
                let id = format!("o-{}", random.u64(..aggregates));
                let mut tx = shop.begin().await;
                let version = tx.bump(&id).await;
                tx.append(&[event(&id, version)]).await.expect("an event");
                if random.u8(..8) == 0 { tx.rollback().await } else { tx.commit().await }
            }
        });
    }
    tasks.join_all().await;
}

async fn an_aggregates_events_arrive_in_order_from_concurrent_writers(shop: Shop) {
    let (log, _keep) = log().await;
    let running = Running::start(vec![shop.source("shop")], log.clone(), config());
    let shop = Arc::new(shop);
    write_concurrently(&shop, 8, 40, 12).await;
    shop.all_marked().await;
    running.stop().await;
    let events = delivered(&log).await;
    assert_eq!(i64::try_from(events.len()).expect("it succeeds"), shop.number("select count(*) from outbox").await);
    for (id, numbers) in sequences(&events) {
        assert_eq!(numbers, (1..=i64::try_from(numbers.len()).expect("it succeeds")).collect::<Vec<_>>(), "{id}");
    }
    shop.assert_sound().await;
}

async fn two_sources_flow_into_one_log_and_name_themselves(shop: Shop) {
    let (orders, payments, (log, _keep)) = (&shop, shop.another().await, log().await);
    let sources = vec![orders.source("order"), payments.source("payment")];
    let running = Running::start(sources, log.clone(), config());
    for n in 1..=30 {
        orders.commit(&[event("o-1", n)]).await;
        payments.commit(&[event("p-1", n)]).await;
    }
    orders.all_marked().await;
    payments.all_marked().await;
    running.stop().await;
    let numbers = sequences(&delivered(&log).await);
    assert_eq!(numbers["o-1"], (1..=30).collect::<Vec<_>>());
    assert_eq!(numbers["p-1"], numbers["o-1"]);
    for delivered in log.consumer(Topics::All, Start::Beginning).poll(100, Duration::ZERO).await.expect("it succeeds") {
        let source = if delivered.record.key == "o-1" { "/order" } else { "/payment" };
        assert_eq!(delivered.record.header("ce_source"), Some(source));
        assert_eq!(delivered.topic, "order.changed.v1");
    }
}

async fn what_another_process_writes_is_found_by_looking(shop: Shop) {
    let (log, _keep) = log().await;
    let running = Running::start(vec![Source::new("shop", shop.reopen().await)], log.clone(), config());
    for n in 1..=3 {
        shop.commit(&[event("o-1", n)]).await;
        shop.all_marked().await;
    }
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["o-1"], [1, 2, 3]);
}

async fn a_hint_saves_the_wait_also_before_the_commit(shop: Shop) {
    let (log, _keep) = log().await;
    // Without hints nothing would be found within the test's time.
    let pause = Duration::from_mins(10);
    let slow = steadfast_outbox::Config { poll_first: pause, poll_last: pause, ..config() };
    let source = shop.source("shop");
    let hint = source.hint.clone();
    let running = Running::start(vec![source], log.clone(), slow);
    wait_for("the lane is held", LIMIT, || async { shop.number("select min(epoch) from outbox_lane").await == 1 })
        .await;
    shop.commit(&[event("o-1", 1)]).await;
    hint.notify();
    shop.all_marked().await;
    running.stop().await;

    let source = shop.source("shop");
    let sink = Sink::with_hint(source.hint.clone());
    let running = Running::start(vec![source], log.clone(), config());
    let mut tx = shop.begin().await;
    tx.sink(&sink, &[event("o-1", 2)]).await;
    tx.commit().await;
    shop.all_marked().await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["o-1"], [1, 2]);
}

async fn a_log_that_is_away_is_nobodys_fault(shop: Shop) {
    let (log, _keep) = log().await;
    let events: Vec<_> = (1..=25).flat_map(|n| [event("a", n), event("b", n)]).collect();
    shop.commit(&events).await;
    let calls = AtomicU32::new(0);
    let away = Judged::new(&log, move |_| {
        // Away for the first hundred records and again in the middle of a batch.
        let call = calls.fetch_add(1, Ordering::SeqCst);
        if call < 100 || (113..140).contains(&call) { Err(Error::Unavailable("away".into())) } else { Ok(()) }
    });
    let running = Running::start(vec![shop.source("shop")], away, config());
    shop.all_marked().await;
    running.stop().await;
    assert_eq!(shop.number("select count(*) from outbox_parked").await, 0);
    let numbers = sequences(&delivered(&log).await);
    assert_eq!(numbers["a"], (1..=25).collect::<Vec<_>>());
    assert_eq!(numbers["b"], numbers["a"]);
}

async fn an_event_that_an_operator_unmarks_is_published_again(shop: Shop) {
    let (log, _keep) = log().await;
    shop.commit(&[event("o-1", 1), event("o-1", 2)]).await;
    let swept = steadfast_outbox::Config { sweep: Duration::from_millis(5), ..config() };
    let running = Running::start(vec![shop.source("shop")], log.clone(), swept);
    shop.all_marked().await;
    shop.execute("update outbox set published_at = null where sequence = 1").await;
    shop.all_marked().await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["o-1"], [1, 2, 1]);
}
