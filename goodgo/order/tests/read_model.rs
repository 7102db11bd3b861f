//! The read side: from the events that the services write to what queries answer.

use goodgo_order::read_model;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use steadfast::core::{Event, EventId, Timestamp};
use steadfast::db::Backend;

use super::orders::{bought, create};
use super::returns::{confirm, record};
use super::support::{Shop, line, saga, shop};

type Row = (Vec<u8>, String, String, String, i64, String, i64);

/// The events that the service has written, as a relay would deliver them.
async fn written(shop: &Shop) -> Vec<Event> {
    let rows: Vec<Row> = sqlx::query_as(super::WRITTEN).fetch_all(Backend::readers(&*shop.db)).await.unwrap();
    let event = |(id, aggregate_type, aggregate_id, event_type, sequence, payload, created_at): Row| Event {
        event_id: EventId::from_slice(&id).unwrap(),
        aggregate_type,
        aggregate_id,
        event_type,
        sequence,
        payload: serde_json::from_str(&payload).unwrap(),
        created_at: Timestamp::from_millis(created_at),
        saga: None,
        traceparent: None,
    };
    rows.into_iter().map(event).collect()
}

pub(crate) fn event(aggregate_type: &str, id: &str, event_type: &str, sequence: i64, payload: Value) -> Event {
    Event {
        event_id: EventId::from_parts(Timestamp::from_millis(1), [0; 10]),
        aggregate_type: aggregate_type.to_owned(),
        aggregate_id: id.to_owned(),
        event_type: event_type.to_owned(),
        sequence,
        payload,
        created_at: Timestamp::from_millis(1),
        saga: None,
        traceparent: None,
    }
}

async fn apply(shop: &Shop, events: &[Event]) {
    let mut tx = shop.read_model.begin().await.unwrap();
    read_model::projection().apply(&mut tx, events).await.unwrap();
    tx.commit().await.unwrap();
}

async fn get(shop: &Shop, path: &str) -> (StatusCode, Value) {
    let answer = shop.user(Method::GET, path, &[], &[], None).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn an_order_is_shown_once_it_was_heard_of_with_its_money() {
    let shop = shop().await;
    let (id, path) = (saga(1).to_string(), format!("/v1/orders/{}", saga(1)));
    let paid = json!({"order_id": id, "amount": 50});
    apply(&shop, &[event("payment", &id, "payment.captured.v1", 1, paid)]).await;
    assert_eq!(get(&shop, &path).await.0, StatusCode::NOT_FOUND, "only its payment was heard of");
    bought(&shop, 1, 50, &[line("a", 3, 10), line("POST", 1, 20)]).await;
    apply(&shop, &written(&shop).await).await;
    let (status, shown) = get(&shop, &path).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    let expected = json!({
        "order_id": id, "order_no": "53631", "customer": "17850", "placed_at": "2010-12-01T08:26:00Z",
        "currency": "GBP", "status": "confirmed", "total": 50, "paid": 50, "refunded": 0, "returned": 0,
        "lines": [line("a", 3, 10), line("POST", 1, 20)],
    });
    assert_eq!(shown, expected);
    assert_eq!(get(&shop, "/v1/orders/none").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn sales_count_what_was_confirmed_less_what_came_back() {
    let shop = shop().await;
    bought(&shop, 1, 50, &[line("a", 3, 10), line("a", 1, 0), line("b", 1, 20)]).await;
    bought(&shop, 2, 30, &[line("a", 1, 30)]).await;
    shop.saga(&create(3, 1_000, &[line("a", 1, 1_000)])).await;
    shop.saga(&record(4, Some(1), 20, &[line("a", 2, 10)])).await;
    shop.saga(&confirm(4)).await;
    shop.saga(&record(5, Some(1), 20, &[line("b", 1, 20)])).await;
    let refunded = json!({"order_id": saga(1).to_string(), "amount": 20});
    let mut events = written(&shop).await;
    events.push(event("payment", &saga(1).to_string(), "payment.refunded.v1", 2, refunded));
    apply(&shop, &events).await;
    let sold = json!([
        {"product": "a", "quantity": 5, "revenue": 60},
        {"product": "b", "quantity": 1, "revenue": 20},
    ]);
    assert_eq!(get(&shop, "/v1/sales?day=2010-12-01").await.1, json!({"day": "2010-12-01", "products": sold}));
    let back = json!([{"product": "a", "quantity": -2, "revenue": -20}]);
    assert_eq!(get(&shop, "/v1/sales?day=2010-12-02").await.1["products"], back);
    let shown = get(&shop, &format!("/v1/orders/{}", saga(1))).await.1;
    assert_eq!((&shown["returned"], &shown["refunded"]), (&json!(20), &json!(20)));
    for bad in ["/v1/sales", "/v1/sales?day=today", "/v1/sales?day=2010-12-1x", "/v1/sales?day=1&day=2"] {
        let answer = shop.user(Method::GET, bad, &[], &[], None).await;
        assert_eq!(answer.problem(), "invalid-request", "{bad}");
    }
}

#[tokio::test]
async fn the_last_event_of_a_product_says_what_is_there() {
    let shop = shop().await;
    let level = |sequence, on_hand, reserved| {
        let payload = json!({"product": "a", "quantity": 1, "on_hand": on_hand, "reserved": reserved});
        event("stock", "a", "stock.reserved.v1", sequence, payload)
    };
    apply(&shop, &[level(1, 5, 0), level(2, 5, 2)]).await;
    assert_eq!(get(&shop, "/v1/stock-view/a").await.1, json!({"product": "a", "on_hand": 5, "reserved": 2}));
    apply(&shop, &[level(3, 3, 0)]).await;
    assert_eq!(get(&shop, "/v1/stock-view/a").await.1["on_hand"], 3);
    assert_eq!(get(&shop, "/v1/stock-view/z").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_fails_alone() {
    let shop = shop().await;
    let mut tx = shop.read_model.begin().await.unwrap();
    let bad = event("order", &saga(1).to_string(), "order.created.v1", 1, json!({"total": "much"}));
    assert!(read_model::projection().apply(&mut tx, &[bad]).await.is_err());
}
