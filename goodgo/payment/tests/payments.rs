//! Capture, and void.

use http::{Method, StatusCode};
use serde_json::json;
use steadfast::core::Op;

use super::support::{Call, saga, shop};

pub(crate) fn capture(n: u32, amount: i64, card: &str) -> Call {
    let id = saga(n).to_string();
    Call {
        path: "/saga/payments",
        scope: "payment.process",
        saga: saga(n),
        step: "process_payment",
        op: Op::Action,
        known: "done",
        body: json!({"order_id": id, "customer": "17850", "amount": amount, "card": card}),
    }
}

fn void(n: u32) -> Call {
    let body = json!({"order_id": saga(n).to_string()});
    Call { path: "/saga/payments/refund", op: Op::Compensate, body, ..capture(n, 0, "") }
}

#[tokio::test]
async fn a_payment_is_captured_once_and_shown() {
    let shop = shop().await;
    let first = shop.saga(&capture(1, 15_300, "tok_visa")).await;
    assert_eq!((first.status, first.replayed()), (StatusCode::CREATED, false), "{first:?}");
    let again = shop.saga(&capture(1, 15_300, "tok_visa")).await;
    assert_eq!((again.status, again.replayed(), &again.body), (StatusCode::CREATED, true, &first.body));
    let path = format!("/v1/payments/{}", saga(1));
    let shown = shop.user(Method::GET, &path, &[], &[], None).await;
    let expected = json!({
        "order_id": saga(1).to_string(), "payment_id": first.body["payment_id"], "customer": "17850",
        "amount": 15_300, "refunded": 0, "status": "captured",
    });
    assert_eq!(shown.body, expected);
    for nothing in [format!("/v1/payments/{}", saga(2)), "/v1/payments/x".to_owned()] {
        assert_eq!(shop.user(Method::GET, &nothing, &[], &[], None).await.problem(), "not-found");
    }
    assert_eq!(shop.events("payment.captured.v1").await, 1);
    assert_eq!(
        shop.count("select count(*) from outbox where cast(payload as text) like '%tok_%'").await,
        0,
        "no card travels"
    );
    shop.is_whole().await;
}

#[tokio::test]
async fn a_declined_card_is_a_refusal_and_leaves_nothing() {
    let shop = shop().await;
    for replayed in [false, true] {
        let declined = shop.saga(&capture(1, 100, "tok_declined")).await;
        assert_eq!((declined.status, declined.replayed()), (StatusCode::PAYMENT_REQUIRED, replayed));
        assert_eq!(declined.problem(), "refused");
    }
    assert_eq!(shop.saga(&void(1)).await.status, StatusCode::NO_CONTENT, "nothing is to be taken back");
    assert_eq!(shop.count("select (select count(*) from payment) + (select count(*) from ledger)").await, 0);
    for amount in [0, -5] {
        assert_eq!(shop.saga(&capture(2, amount, "tok_visa")).await.problem(), "refused");
    }
}

#[tokio::test]
async fn a_void_gives_all_of_it_back_once() {
    let shop = shop().await;
    shop.saga(&capture(1, 15_300, "tok_visa")).await;
    for replayed in [false, true] {
        let voided = shop.saga(&void(1)).await;
        assert_eq!((voided.status, voided.replayed()), (StatusCode::OK, replayed), "{voided:?}");
        assert_eq!(voided.body["status"], "voided");
    }
    assert_eq!(shop.count("select sum(amount) from ledger").await, 0);
    assert_eq!(shop.count("select count(*) from ledger").await, 2);
    assert_eq!(shop.count("select version from payment where status = 'voided'").await, 2);
    shop.is_whole().await;
}

#[tokio::test]
async fn what_was_voided_before_it_arrived_never_happens() {
    let shop = shop().await;
    assert_eq!(shop.saga(&Call { known: "unknown", ..void(1) }).await.status, StatusCode::NO_CONTENT);
    let late = shop.saga(&capture(1, 100, "tok_visa")).await;
    assert_eq!((late.status, late.problem()), (StatusCode::CONFLICT, "voided"));
    assert_eq!(shop.count("select count(*) from ledger").await, 0);
    let lost = shop.saga(&void(2)).await;
    assert_eq!(lost.problem(), "action-not-found", "a restored database must not swallow a refund");
}

#[tokio::test]
async fn an_order_is_paid_for_once_whichever_saga_asks() {
    let shop = shop().await;
    shop.saga(&capture(1, 100, "tok_visa")).await;
    let other = Call { saga: saga(2), ..capture(1, 100, "tok_visa") };
    assert_eq!(shop.saga(&other).await.problem(), "refused");
    let wrong = Call { scope: "order.place", ..capture(3, 100, "tok_visa") };
    assert_eq!(shop.saga(&wrong).await.problem(), "forbidden");
    shop.is_whole().await;
}
