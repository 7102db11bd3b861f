//! Money that goes back.

use http::StatusCode;
use serde_json::{Value, json};
use steadfast::core::Op;

use super::payments::capture;
use super::support::{Call, saga, shop};

fn refund(n: u32, order: Option<u32>, amount: i64) -> Call {
    let order = order.map_or(Value::Null, |order| saga(order).to_string().into());
    Call {
        path: "/saga/refunds",
        scope: "order.return",
        saga: saga(n),
        step: "refund_payment",
        op: Op::Action,
        known: "done",
        body: json!({"return_id": saga(n).to_string(), "order_id": order, "customer": "17850", "amount": amount}),
    }
}

#[tokio::test]
async fn an_order_is_refunded_in_parts_and_never_beyond_what_was_paid() {
    let shop = shop().await;
    shop.saga(&capture(1, 100, "tok_visa")).await;
    for replayed in [false, true] {
        let part = shop.saga(&refund(2, Some(1), 60)).await;
        assert_eq!((part.status, part.replayed()), (StatusCode::CREATED, replayed), "{part:?}");
    }
    let beyond = shop.saga(&refund(3, Some(1), 41)).await;
    assert_eq!((beyond.status, beyond.problem()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"), "for an operator");
    assert_eq!(shop.saga(&refund(4, Some(1), 40)).await.status, StatusCode::CREATED);
    assert_eq!(shop.count("select refunded from payment where status = 'refunded' and version = 3").await, 100);
    assert_eq!(shop.count("select sum(amount) from ledger").await, 0);
    assert_eq!(shop.events("payment.refunded.v1").await, 2);
    shop.is_whole().await;
}

#[tokio::test]
async fn a_return_alone_is_refunded_from_the_till() {
    let shop = shop().await;
    for replayed in [false, true] {
        let alone = shop.saga(&refund(1, None, 250)).await;
        assert_eq!((alone.status, alone.replayed()), (StatusCode::CREATED, replayed), "{alone:?}");
    }
    assert_eq!(shop.count("select sum(amount) from ledger where kind = 'refund' and order_id is null").await, -250);
    let own = "select count(*) from outbox where event_type = 'payment.refunded.v1'
        and aggregate_id = payload ->> 'return_id' and sequence = 1";
    assert_eq!(shop.count(own).await, 1);
    assert_eq!(shop.saga(&refund(2, None, 0)).await.problem(), "invalid-request");
    shop.is_whole().await;
}
