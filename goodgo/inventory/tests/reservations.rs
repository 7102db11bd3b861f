//! Reserve, then release or commit.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use steadfast::core::{Op, SagaId};

use super::support::{Call, opening, saga, shop};

fn body(id: SagaId, lines: &[(&str, i64)]) -> Value {
    let lines: Vec<Value> = lines.iter().map(|(product, n)| json!({"product": product, "quantity": n})).collect();
    json!({"order_id": id.to_string(), "lines": lines})
}

pub(crate) fn reserve(n: u32, lines: &[(&str, i64)]) -> Call {
    Call {
        path: "/saga/reservations",
        scope: "order.place",
        saga: saga(n),
        step: "reserve_inventory",
        op: Op::Action,
        known: "done",
        body: body(saga(n), lines),
    }
}

pub(crate) fn release(n: u32) -> Call {
    let body = json!({"order_id": saga(n).to_string()});
    Call { path: "/saga/reservations/release", op: Op::Compensate, body, ..reserve(n, &[]) }
}

fn commit(n: u32) -> Call {
    let body = json!({"order_id": saga(n).to_string()});
    Call { path: "/saga/reservations/commit", step: "commit_stock", body, ..reserve(n, &[]) }
}

#[tokio::test]
async fn what_is_reserved_is_committed_once() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5), opening("b", 5)]).await.unwrap();
    let call = reserve(1, &[("a", 2), ("b", 1)]);
    let first = shop.saga(&call).await;
    assert_eq!((first.status, first.replayed()), (StatusCode::CREATED, false), "{first:?}");
    assert_eq!((shop.level("a").await, shop.level("b").await), ((5, 2, 2), (5, 1, 2)));
    let again = shop.saga(&call).await;
    assert_eq!((again.status, again.replayed(), &again.body), (StatusCode::CREATED, true, &first.body));
    for replayed in [false, true] {
        let done = shop.saga(&commit(1)).await;
        assert_eq!((done.status, done.replayed()), (StatusCode::NO_CONTENT, replayed));
    }
    assert_eq!((shop.level("a").await, shop.level("b").await), ((3, 0, 3), (4, 0, 3)));
    assert_eq!(shop.events("stock.reserved.v1").await + shop.events("stock.committed.v1").await, 4);
    let named = "select count(*) from outbox where event_type = 'stock.committed.v1'
        and cast(headers as text) like '%traceparent%' and cast(headers as text) like '%saga%' and payload ->> 'order_id' is not null";
    assert_eq!(shop.count(named).await, 2, "events say whose they are");
    assert_eq!(shop.count("select count(*) from reservation where status = 'committed' and version = 2").await, 1);
    shop.is_whole().await;
}

#[tokio::test]
async fn all_lines_or_none() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5), opening("b", 1)]).await.unwrap();
    let call = reserve(1, &[("a", 1), ("b", 2), ("c", 1)]);
    for replayed in [false, true] {
        let refused = shop.saga(&call).await;
        assert_eq!((refused.status, refused.replayed()), (StatusCode::UNPROCESSABLE_ENTITY, replayed));
        assert_eq!(refused.problem(), "refused");
        assert_eq!(refused.body["products"], json!(["b", "c"]));
        assert_eq!(refused.body["detail"], "b is out of stock; c is not sold here");
    }
    assert_eq!((shop.level("a").await, shop.level("b").await), ((5, 0, 1), (1, 0, 1)));
    assert_eq!(shop.count("select count(*) from reservation").await, 0, "the refusal took its row back");
    // Nothing is to be released of what was refused.
    let released = shop.saga(&release(1)).await;
    assert_eq!(released.status, StatusCode::NO_CONTENT);
    shop.is_whole().await;
}

#[tokio::test]
async fn a_release_gives_back_once() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    shop.saga(&reserve(1, &[("a", 5)])).await;
    for replayed in [false, true] {
        let released = shop.saga(&release(1)).await;
        assert_eq!((released.status, released.replayed()), (StatusCode::NO_CONTENT, replayed));
    }
    assert_eq!(shop.level("a").await, (5, 0, 3));
    assert_eq!(shop.saga(&reserve(2, &[("a", 5)])).await.status, StatusCode::CREATED, "it is free again");
    shop.is_whole().await;
}

#[tokio::test]
async fn what_was_released_before_it_arrived_never_happens() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    let early = Call { known: "unknown", ..release(1) };
    assert_eq!(shop.saga(&early).await.status, StatusCode::NO_CONTENT);
    let late = shop.saga(&reserve(1, &[("a", 1)])).await;
    assert_eq!((late.status, late.problem()), (StatusCode::CONFLICT, "voided"));
    assert_eq!(shop.level("a").await, (5, 0, 1));
}

#[tokio::test]
async fn a_commit_without_a_reservation_is_for_an_operator() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    for _ in 0..2 {
        let lost = shop.saga(&commit(1)).await;
        assert_eq!((lost.status, lost.problem()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"));
    }
    assert_eq!(shop.count("select count(*) from saga_barrier").await, 0, "nothing is remembered of it");
}

#[tokio::test]
async fn lines_that_are_none_are_refused() {
    let shop = shop().await;
    for lines in [vec![], vec![("a", 0)], vec![("", 1)]] {
        let refused = shop.saga(&reserve(1, &lines)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{lines:?}");
        assert!(refused.body["detail"].as_str().unwrap().starts_with("lines"), "{refused:?}");
    }
}

#[tokio::test]
async fn only_the_orchestrator_calls_and_only_for_its_step() {
    let shop = shop().await;
    let call = reserve(1, &[("a", 1)]);
    let wrong = shop.saga(&Call { scope: "order.return", ..call.clone() }).await;
    assert_eq!((wrong.status, wrong.problem()), (StatusCode::FORBIDDEN, "forbidden"));
    let user = shop.user(http::Method::POST, call.path, &["order.place"], &[("idempotency-key", "k")], Some(call.body));
    assert_eq!(user.await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_hundred_at_once_sell_what_is_there_and_no_more() {
    let shop = Arc::new(shop().await);
    shop.service.stock_up(&[opening("a", 40), opening("b", 1_000)]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move { shop.saga(&reserve(n, &[("b", 1), ("a", 1)])).await.status });
    }
    let statuses = tasks.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CREATED).count(), 40);
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::UNPROCESSABLE_ENTITY).count(), 60);
    assert_eq!((shop.level("a").await, shop.level("b").await.1), ((40, 40, 41), 40));
    shop.is_whole().await;
}
