//! The steps of `return_order`.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use steadfast::core::Op;

use super::orders::{bought, create};
use super::support::{Call, line, saga, shop};

pub(crate) fn record(n: u32, order: Option<u32>, amount: i64, lines: &[Value]) -> Call {
    let order = order.map_or(Value::Null, |order| saga(order).to_string().into());
    Call {
        path: "/saga/returns",
        scope: "order.return",
        saga: saga(n),
        step: "create_return",
        op: Op::Action,
        known: "done",
        body: json!({
            "return_id": saga(n).to_string(), "return_no": format!("C{n}"), "order_id": order, "customer": "17850",
            "placed_at": "2010-12-02T10:00:00Z", "amount": amount, "lines": lines,
        }),
    }
}

fn cancel(n: u32) -> Call {
    let body = json!({"return_id": saga(n).to_string()});
    Call { path: "/saga/returns/cancel", op: Op::Compensate, body, ..record(n, None, 0, &[]) }
}

pub(crate) fn confirm(n: u32) -> Call {
    let body = json!({"return_id": saga(n).to_string()});
    Call { path: "/saga/returns/confirm", step: "confirm_return", body, ..record(n, None, 0, &[]) }
}

#[tokio::test]
async fn a_return_is_recorded_and_confirmed_once() {
    let shop = shop().await;
    bought(&shop, 1, 50, &[line("a", 5, 10)]).await;
    let call = record(2, Some(1), 20, &[line("a", 2, 10)]);
    for replayed in [false, true] {
        let recorded = shop.saga(&call).await;
        assert_eq!((recorded.status, recorded.replayed()), (StatusCode::CREATED, replayed), "{recorded:?}");
    }
    for replayed in [false, true] {
        let confirmed = shop.saga(&confirm(2)).await;
        assert_eq!((confirmed.status, confirmed.replayed()), (StatusCode::OK, replayed), "{confirmed:?}");
    }
    assert_eq!(shop.count("select returned from orders where version = 3").await, 20);
    assert_eq!(shop.count("select count(*) from returns where status = 'confirmed' and version = 2").await, 1);
    assert_eq!(shop.saga(&cancel(2)).await.problem(), "internal", "what is confirmed is not cancelled");
    shop.is_whole().await;
}

#[tokio::test]
async fn neither_more_money_nor_more_goods_come_back_than_went_out() {
    let shop = shop().await;
    bought(&shop, 1, 50, &[line("a", 2, 10), line("b", 3, 10)]).await;
    shop.saga(&record(2, Some(1), 30, &[line("a", 1, 10), line("b", 2, 10)])).await;
    for (n, call, detail) in [
        (3, record(3, Some(1), 21, &[line("a", 1, 10), line("b", 1, 11)]), "only 20 thousandths"),
        (4, record(4, Some(1), 1, &[line("a", 2, 1)]), "only 1 of a"),
        (5, record(5, Some(1), 1, &[line("c", 1, 1)]), "only 0 of c"),
        (6, record(6, Some(1), 11, &[line("a", 1, 10)]), "must be from 0 to 10"),
        (7, record(7, Some(99), 1, &[line("a", 1, 10)]), "there is no order"),
    ] {
        for replayed in [false, true] {
            let refused = shop.saga(&call).await;
            assert_eq!((refused.status, refused.replayed()), (StatusCode::UNPROCESSABLE_ENTITY, replayed), "{n}");
            assert_eq!(refused.problem(), "refused");
            assert!(refused.body["detail"].as_str().unwrap().contains(detail), "{refused:?}");
        }
        assert_eq!(shop.saga(&cancel(n)).await.status, StatusCode::NO_CONTENT, "nothing is to be taken back");
    }
    assert_eq!(shop.saga(&record(8, Some(1), 20, &[line("a", 1, 10), line("b", 1, 10)])).await.status, 201);
    assert_eq!(shop.count("select returned from orders").await, 50);
    shop.is_whole().await;
}

#[tokio::test]
async fn a_cancelled_return_gives_its_claim_back() {
    let shop = shop().await;
    bought(&shop, 1, 20, &[line("a", 2, 10)]).await;
    shop.saga(&record(2, Some(1), 20, &[line("a", 2, 10)])).await;
    for replayed in [false, true] {
        let cancelled = shop.saga(&cancel(2)).await;
        assert_eq!((cancelled.status, cancelled.replayed()), (StatusCode::OK, replayed), "{cancelled:?}");
    }
    assert_eq!(shop.count("select returned from orders").await, 0);
    assert_eq!(shop.events("order.return_released.v1").await, 1);
    assert_eq!(shop.saga(&record(3, Some(1), 20, &[line("a", 2, 10)])).await.status, StatusCode::CREATED);
    shop.is_whole().await;
}

#[tokio::test]
async fn what_is_not_confirmed_is_not_returned() {
    let shop = shop().await;
    shop.saga(&create(1, 10, &[line("a", 1, 10)])).await;
    let refused = shop.saga(&record(2, Some(1), 10, &[line("a", 1, 10)])).await;
    assert_eq!(refused.body["detail"], "the order is created: only a confirmed order can be returned");
}

#[tokio::test]
async fn goods_of_no_order_come_back_alone_and_free_ones_for_nothing() {
    let shop = shop().await;
    let alone = shop.saga(&record(1, None, 250, &[line("a", 1, 250)])).await;
    assert_eq!(alone.status, StatusCode::CREATED, "{alone:?}");
    assert_eq!(shop.saga(&confirm(1)).await.status, StatusCode::OK);
    bought(&shop, 2, 0, &[line("a", 1, 0)]).await;
    assert_eq!(shop.saga(&record(3, Some(2), 0, &[line("a", 1, 0)])).await.status, StatusCode::CREATED);
    shop.is_whole().await;
}

#[tokio::test]
async fn of_twenty_returns_at_once_only_those_that_fit_are_taken() {
    let shop = Arc::new(shop().await);
    bought(&shop, 1, 50, &[line("a", 5, 10)]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 100..120 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move { shop.saga(&record(n, Some(1), 10, &[line("a", 1, 10)])).await.status });
    }
    let taken = tasks.join_all().await.into_iter().filter(|status| *status == StatusCode::CREATED).count();
    assert_eq!(taken, 5);
    assert_eq!(shop.count("select returned from orders").await, 50);
    shop.is_whole().await;
}
