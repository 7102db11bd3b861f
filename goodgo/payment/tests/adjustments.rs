//! Bookings on accounts: the form of idempotency for money.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{Answered, Shop, shop};

async fn adjust(shop: &Shop, key: &str, body: Value) -> Answered {
    let path = "/v1/accounts/17850/adjustments";
    shop.user(Method::POST, path, &["payment.adjust"], &[("idempotency-key", key)], Some(body)).await
}

fn body(amount: i64) -> Value {
    json!({"reference": "A563185", "amount": amount, "reason": "bad debt"})
}

#[tokio::test]
async fn an_adjustment_is_booked_once() {
    let shop = shop().await;
    let first = adjust(&shop, "A563185", body(-11_062_060)).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    let again = adjust(&shop, "A563185", body(-11_062_060)).await;
    assert_eq!((again.status, again.replayed(), &again.body), (StatusCode::CREATED, true, &first.body));
    assert_eq!(adjust(&shop, "A563185", body(1)).await.problem(), "idempotency-mismatch");
    let second = adjust(&shop, "A563186", body(11_062_060)).await;
    assert_eq!(second.body["balance"], 0);
    assert_eq!(shop.count("select count(*) from ledger where kind = 'adjustment'").await, 2);
    assert_eq!(shop.count("select version from account where customer = '17850' and balance = 0").await, 2);
    assert_eq!(shop.events("account.adjusted.v1").await, 2);
    assert_eq!(steadfast::outbox::Outbox::from((*shop.db).clone()).verify().await.unwrap(), []);
}

#[tokio::test]
async fn twenty_at_once_with_one_key_are_one() {
    let shop = Arc::new(shop().await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move { adjust(&shop, "k", body(5)).await });
    }
    let answers = tasks.join_all().await;
    // Who comes while the first is under way waits for it, or is told to come again.
    let (answered, told): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::CREATED);
    assert!(told.iter().all(|answer| answer.problem() == "in-flight"), "{answers:?}");
    assert_eq!(answered.iter().filter(|answer| !answer.replayed()).count(), 1);
    assert_eq!(shop.count("select sum(amount) from ledger").await, 5);
}

#[tokio::test]
async fn what_is_not_well_formed_is_told() {
    let shop = shop().await;
    let with = |field: &str, value: Value| {
        let mut body = body(1);
        body[field] = value;
        body
    };
    for (body, problem) in [
        (with("amount", json!(0)), "invalid-request"),
        (with("amount", json!("1")), "invalid-request"),
        (with("reason", json!("")), "invalid-request"),
        (with("version", json!(1)), "version-in-body"),
        (with("colour", json!(1)), "invalid-request"),
    ] {
        assert_eq!(adjust(&shop, "k", body).await.problem(), problem);
    }
    let path = "/v1/accounts/17850/adjustments";
    let key = [("idempotency-key", "k")];
    assert_eq!(shop.user(Method::POST, path, &["x"], &key, Some(body(1))).await.problem(), "forbidden");
    let keyless = shop.user(Method::POST, path, &["payment.adjust"], &[], Some(body(1))).await;
    assert_eq!(keyless.problem(), "idempotency-key-missing");
    let long = format!("/v1/accounts/{}/adjustments", "x".repeat(65));
    let long = shop.user(Method::POST, &long, &["payment.adjust"], &key, Some(body(1))).await;
    assert_eq!(long.problem(), "invalid-request");
    assert_eq!(shop.count("select count(*) from ledger").await, 0);
}
