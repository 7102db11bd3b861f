//! Five ways to break consistency, each of which the check must find, beside a run that is not broken.

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use steadfast_core::Op;
use steadfast_core::header::IDEMPOTENCY_KEY;

use super::super::super::embedded::Stores;
use super::*;

/// Replays, waits for rest, checks.
async fn found(world: World, rest: Duration) -> Checked {
    let ran = world.replay().await;
    world.rest(rest).await;
    let checked = world.check(&ran).await;
    world.end().await;
    checked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sabotage_nothing_is_violated() {
    let world = World::with(ORDERS, 0.5, |router| router).await;
    let ran = world.replay().await;
    assert!(world.rest(REST).await, "a platform that is not broken comes to rest");
    let checked = world.check(&ran).await;
    assert_eq!(checked.violations, []);
    assert_eq!((checked.ends.orders, checked.ends.pending, checked.ends.failed), (ORDERS as u64, 0, 0));
    // Else the other tests would have nothing to break.
    assert!(checked.ends.completed > 20 && checked.ends.compensated > 3, "{:?}", checked.ends);
    assert!(world.faults.counts().lost_replies > 5, "{:?}", world.faults.counts());
    world.end().await;
}

/// Repeats find no record of what was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_that_is_skipped_is_found() {
    const FORGET: &str = "create trigger forget after insert on saga_barrier
        begin delete from saga_barrier where no = new.no; end";
    let world = World::with(ORDERS, 0.9, |router| router).await;
    execute(&world.platform.stores.payment, &[FORGET]).await;
    execute(&world.platform.stores.inventory, &[FORGET]).await;
    let checked = found(world, UNREST).await;
    let broken = broken(&checked);
    assert!(broken.contains("money") && broken.contains("stock"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_dropped_is_found() {
    let world = World::new(ORDERS).await;
    let drop = [
        "create table dropped (type text)",
        "create trigger drop_one before insert on event_log
         when new.headers like '%payment.captured.v1%' and not exists (select 1 from dropped)
         begin insert into dropped values (new.headers); select raise(ignore); end",
    ];
    execute(&world.platform.stores.log, &drop).await;
    let ran = world.replay().await;
    world.rest(UNREST).await;
    assert_eq!(count(&world.platform.stores.log, "select count(*) from dropped").await, 1);
    let checked = world.check(&ran).await;
    assert_eq!(broken(&checked), ["events", "read_model"].into(), "{:?}", checked.violations);
    let dropped = checked.violations.iter().filter(|it| it.detail.contains("is committed and not in the log"));
    assert_eq!(dropped.count(), 1, "{:?}", checked.violations);
    world.end().await;
}

/// Goods leave, and the row says that they are still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_is_lost_is_found() {
    let world = World::new(ORDERS).await;
    let lose = [
        "create table lost (product text)",
        "create trigger lose_one after update on stock
         when new.on_hand < old.on_hand and not exists (select 1 from lost)
         begin
             insert into lost values (new.product);
             update stock set on_hand = old.on_hand, reserved = old.reserved where product = new.product;
         end",
    ];
    execute(&world.platform.stores.inventory, &lose).await;
    let ran = world.replay().await;
    assert!(world.rest(REST).await, "the loss is silent");
    assert_eq!(count(&world.platform.stores.inventory, "select count(*) from lost").await, 1);
    let checked = world.check(&ran).await;
    assert!(broken(&checked).contains("stock"), "{:?}", checked.violations);
    assert!(!broken(&checked).contains("money"), "{:?}", checked.violations);
    world.end().await;
}

/// The read model keeps its rows, and its projector forgets how far it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_that_is_applied_twice_is_found() {
    // So few that the report has room for each kind of row.
    let world = World::new(20).await;
    let ran = world.replay().await;
    assert!(world.rest(REST).await);
    assert_eq!(world.check(&ran).await.violations, []);
    let (plan, faults) = (Arc::clone(&world.plan), world.faults.clone());
    let folder = world.end().await;
    let stores = Stores::open(folder.path()).await.unwrap();
    execute(&stores.read_model, &["delete from checkpoint", "delete from aggregate_sequence"]).await;
    drop(stores);
    let platform = Platform::start(folder.path(), 0, false, &plan.products, &|router| router).await.unwrap();
    let world = World { folder, plan, faults, platform };
    assert!(world.rest(REST).await, "it projects everything again");
    let checked = world.check(&ran).await;
    assert_eq!(broken(&checked), ["read_model"].into(), "{:?}", checked.violations);
    for table in ["order_summary", "sales_by_day"] {
        assert!(checked.violations.iter().any(|it| it.detail.starts_with(table)), "{:?}", checked.violations);
    }
    world.end().await;
}

/// Says that it took money back, and keeps it.
async fn keep_the_money(request: Request, next: Next) -> Response {
    let key = request.headers().get(IDEMPOTENCY_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
    let is_compensation = key.trim_matches('"').ends_with(&format!(":{}", Op::Compensate.as_str()));
    if is_compensation && request.uri().path() == "/saga/payments/refund" {
        return axum::Json(serde_json::json!({})).into_response();
    }
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compensation_that_is_skipped_is_found() {
    let world = World::with(ORDERS, 0.0, |router| router.layer(from_fn(keep_the_money))).await;
    let ran = world.replay().await;
    assert!(world.rest(REST).await, "the orchestrator believes it");
    assert!(count(&world.platform.stores.payment, "select count(*) from payment").await > 0);
    let checked = world.check(&ran).await;
    assert!(checked.ends.compensated > 0);
    assert!(broken(&checked).contains("money"), "{:?}", checked.violations);
    assert!(!broken(&checked).contains("stock"), "{:?}", checked.violations);
    world.end().await;
}
