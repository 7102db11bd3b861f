//! Opening and adjusting stock.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use steadfast::core::Op;
use steadfast::locking::Quota;

use super::expire;
use super::support::{Answered, Call, Shop, opening, saga, shop, shop_with};

async fn adjust(shop: &Shop, key: &str, product: &str, quantity: i64) -> Answered {
    let body = json!({"reference": "C536383", "quantity": quantity, "reason": "damaged"});
    send(shop, key, product, &["stock.adjust"], body).await
}

async fn send(shop: &Shop, key: &str, product: &str, permissions: &[&str], body: Value) -> Answered {
    let path = format!("/v1/stock/{product}/adjustments");
    shop.user(Method::POST, &path, permissions, &[("idempotency-key", key)], Some(body)).await
}

#[tokio::test]
async fn stock_is_opened_once() {
    let shop = shop().await;
    let all: Vec<_> = (0..1_100).map(|n| opening(&format!("p-{n}"), n)).collect();
    assert_eq!(shop.service.stock_up(&all).await.unwrap(), 1_100);
    assert_eq!(shop.service.stock_up(&all).await.unwrap(), 0);
    assert_eq!(shop.service.stock_up(&[opening("new", 1), opening("new", 2)]).await.unwrap(), 1);
    assert_eq!(shop.level("p-7").await, (7, 0, 1));
    assert_eq!(shop.events("product.listed.v1").await, 1_101);
    shop.is_whole().await;
}

#[tokio::test]
async fn a_write_off_happens_once_and_never_takes_what_is_promised() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    let reserve = Call {
        path: "/saga/reservations",
        scope: "order.place",
        saga: saga(1),
        step: "reserve_inventory",
        op: Op::Action,
        known: "done",
        body: json!({"order_id": saga(1).to_string(), "lines": [{"product": "a", "quantity": 3}]}),
    };
    shop.saga(&reserve).await;
    for replayed in [false, true] {
        let done = adjust(&shop, "k-1", "a", -2).await;
        assert_eq!((done.status, done.replayed()), (StatusCode::CREATED, replayed), "{done:?}");
        assert_eq!(done.body, json!({"product": "a", "reference": "C536383", "quantity": -2}));
    }
    let refused = adjust(&shop, "k-2", "a", -1).await;
    assert_eq!((refused.status, refused.problem()), (StatusCode::CONFLICT, "refused"));
    assert_eq!(adjust(&shop, "k-3", "a", 4).await.status, StatusCode::CREATED);
    assert_eq!(shop.level("a").await, (7, 3, 4));
    assert_eq!(shop.events("stock.adjusted.v1").await, 2);
    assert_eq!(adjust(&shop, "k-1", "a", -1).await.problem(), "idempotency-mismatch");
    assert_eq!(adjust(&shop, "k-4", "z", -1).await.status, StatusCode::NOT_FOUND);
    shop.is_whole().await;
}

#[tokio::test]
async fn what_is_not_well_formed_is_told() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    let good = json!({"reference": "r", "quantity": 1, "reason": "found"});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (body, problem) in [
        (with("version", json!(1)), "version-in-body"),
        (with("quantity", json!(0)), "invalid-request"),
        (with("reference", json!("")), "invalid-request"),
        (with("colour", json!("red")), "invalid-request"),
    ] {
        assert_eq!(send(&shop, "k", "a", &["stock.adjust"], body).await.problem(), problem);
    }
    assert_eq!(send(&shop, "k", "a", &["product.edit"], good.clone()).await.problem(), "forbidden");
    let path = "/v1/stock/a/adjustments";
    let keyless = shop.user(Method::POST, path, &["stock.adjust"], &[], Some(good)).await;
    assert_eq!((keyless.status, keyless.problem()), (StatusCode::BAD_REQUEST, "idempotency-key-missing"));
    let lost = shop.user(Method::GET, "/v1/nothing", &[], &[], None).await;
    assert_eq!(lost.problem(), "not-found");
    assert_eq!(shop.level("a").await, (5, 0, 1));
}

#[tokio::test]
async fn updates_are_limited_and_a_replay_costs_nothing() {
    let shop = shop_with(Quota { name: "updates", burst: 2, window: Duration::from_mins(1) }).await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    for (key, status) in [("1", 201), ("1", 201), ("1", 201), ("2", 201), ("3", 429), ("2", 201)] {
        let answer = adjust(&shop, key, "a", 1).await;
        assert_eq!(answer.status.as_u16(), status, "{key}");
        if status == 429 {
            assert_eq!(answer.problem(), "rate-limited");
            assert!(answer.headers.contains_key("retry-after") && answer.headers.contains_key("ratelimit"));
        }
    }
    assert_eq!(shop.level("a").await, (7, 0, 3));
}

#[tokio::test]
async fn a_token_ends() {
    let shop = shop().await;
    let bearerless = http::Request::get("/v1/products/a").body(axum::body::Body::empty()).unwrap();
    let answer = shop.send(bearerless).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    shop.advance(Duration::from_secs(90));
    let late = Call {
        path: "/saga/restocks",
        scope: "order.return",
        saga: saga(1),
        step: "restock",
        op: Op::Action,
        known: "done",
        body: json!({}),
    };
    assert_eq!(shop.saga(&late).await.problem(), "unauthenticated", "a call's token is good for a minute");
}

#[tokio::test]
async fn keys_that_have_expired_are_removed() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    adjust(&shop, "k", "a", 1).await;
    shop.service.clean().await.unwrap();
    assert_eq!(shop.count("select count(*) from idempotency_record").await, 1);
    shop.advance(Duration::from_hours(25));
    expire(&shop.db).await;
    shop.service.clean().await.unwrap();
    assert_eq!(shop.count("select count(*) from idempotency_record").await, 0);
}
