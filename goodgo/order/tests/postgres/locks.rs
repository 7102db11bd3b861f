//! Workers that share orders never wait for one another in a ring.

use std::time::Duration;

use goodgo_order::read_model;
use serde_json::json;
use steadfast::core::Event;
use steadfast::db::Backend;
use steadfast_testkit::wait_for;
use uuid::Uuid;

use super::read_model::event;
use super::support::shop;

const LIMIT: Duration = Duration::from_secs(10);

fn created(id: Uuid) -> Event {
    let payload = json!({
        "order_no": "1", "customer": "2", "placed_at": 3, "currency": "GBP", "total": 4, "lines": [],
    });
    event("order", &id.to_string(), "order.created.v1", 1, payload)
}

fn paid(id: Uuid) -> Event {
    event("payment", &id.to_string(), "payment.captured.v1", 1, json!({"order_id": id, "amount": 4}))
}

/// One worker holds an order and the payment of another order, a second worker the reverse: whoever waits for the lower row
/// does not hold the upper one meanwhile.
#[tokio::test]
async fn an_order_and_the_payment_of_another_are_locked_in_one_order() {
    let shop = shop().await;
    let (lower, upper) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let db = (*shop.read_model).clone();
    let mut tx = db.begin().await.unwrap();
    read_model::projection().apply(&mut tx, &[created(lower), created(upper)]).await.unwrap();
    tx.commit().await.unwrap();

    let held = "select order_id from order_summary where order_id = $1 for update nowait";
    let mut blocker = db.begin().await.unwrap();
    sqlx::query(held).bind(lower).execute(&mut *blocker).await.unwrap();
    let mut workers = tokio::task::JoinSet::new();
    workers.spawn({
        let db = db.clone();
        async move {
            let mut tx = db.begin().await.unwrap();
            read_model::projection().apply(&mut tx, &[created(upper), paid(lower)]).await.unwrap();
            tx.commit().await.unwrap();
        }
    });
    wait_for("the worker waits for the lower row", LIMIT, || async {
        let waiting =
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(Backend::readers(&db)).await.unwrap() > 0
    })
    .await;
    let mut other = db.begin().await.unwrap();
    sqlx::query(held).bind(upper).execute(&mut *other).await.expect("the upper row is free");
    other.rollback().await.unwrap();
    blocker.rollback().await.unwrap();
    workers.join_next().await.unwrap().unwrap();
}
