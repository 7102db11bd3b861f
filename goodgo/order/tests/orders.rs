//! The steps of `place_order`.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use steadfast::core::Op;

use super::support::{Call, Shop, line, saga, shop};

pub(crate) fn create(n: u32, total: i64, lines: &[Value]) -> Call {
    Call {
        path: "/saga/orders",
        scope: "order.place",
        saga: saga(n),
        step: "create_order",
        op: Op::Action,
        known: "done",
        body: json!({
            "order_id": saga(n).to_string(), "order_no": format!("5363{n}"), "customer": "17850",
            "placed_at": "2010-12-01T08:26:00Z", "lines": lines, "total": total, "currency": "GBP",
        }),
    }
}

pub(crate) fn confirm(n: u32) -> Call {
    let body = json!({"order_id": saga(n).to_string(), "payment_id": "p"});
    Call { path: "/saga/orders/confirm", step: "confirm_order", body, ..create(n, 0, &[]) }
}

fn cancel(n: u32) -> Call {
    let body = json!({"order_id": saga(n).to_string()});
    Call { path: "/saga/orders/cancel", op: Op::Compensate, body, ..create(n, 0, &[]) }
}

/// An order that is confirmed.
pub(crate) async fn bought(shop: &Shop, n: u32, total: i64, lines: &[Value]) {
    assert_eq!(shop.saga(&create(n, total, lines)).await.status, StatusCode::CREATED);
    assert_eq!(shop.saga(&confirm(n)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_order_is_created_and_confirmed_once() {
    let shop = shop().await;
    let call = create(1, 2_650, &[line("a", 2, 1_000), line("a", 1, 0), line("POST", 1, 650)]);
    let first = shop.saga(&call).await;
    assert_eq!((first.status, first.replayed()), (StatusCode::CREATED, false), "{first:?}");
    assert_eq!(first.body, json!({"order_id": saga(1).to_string(), "status": "created"}));
    let again = shop.saga(&call).await;
    assert_eq!((again.status, again.replayed(), &again.body), (StatusCode::CREATED, true, &first.body));
    for replayed in [false, true] {
        let confirmed = shop.saga(&confirm(1)).await;
        assert_eq!((confirmed.status, confirmed.replayed()), (StatusCode::OK, replayed));
        assert_eq!(confirmed.body["status"], "confirmed");
    }
    assert_eq!(shop.count("select count(*) from orders where status = 'confirmed' and version = 2").await, 1);
    assert_eq!(shop.count("select sum(quantity * unit_price) from order_line").await, 2_650);
    assert_eq!(shop.count("select count(*) from order_line where stocked").await, 2);
    assert_eq!(shop.count("select placed_at from orders").await, 1_291_191_960_000);
    let named = "select count(*) from outbox where cast(headers as text) like '%traceparent%' and cast(headers as text) like '%saga%'";
    assert_eq!(shop.count(named).await, 2, "events say whose they are");
    shop.is_whole().await;
}

#[tokio::test]
async fn an_order_that_comes_to_nothing_is_an_order() {
    let shop = shop().await;
    bought(&shop, 1, 0, &[line("a", 3, 0)]).await;
    shop.is_whole().await;
}

#[tokio::test]
async fn a_cancelled_order_stays_cancelled() {
    let shop = shop().await;
    shop.saga(&create(1, 10, &[line("a", 1, 10)])).await;
    for replayed in [false, true] {
        let cancelled = shop.saga(&cancel(1)).await;
        assert_eq!((cancelled.status, cancelled.replayed()), (StatusCode::OK, replayed));
    }
    let late = shop.saga(&confirm(1)).await;
    assert_eq!((late.status, late.problem()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"), "for an operator");
    assert_eq!(shop.events("order.cancelled.v1").await, 1);
    assert_eq!(shop.count("select count(*) from orders where status = 'cancelled' and version = 2").await, 1);
    shop.is_whole().await;
}

#[tokio::test]
async fn what_was_cancelled_before_it_arrived_never_happens() {
    let shop = shop().await;
    assert_eq!(shop.saga(&Call { known: "unknown", ..cancel(1) }).await.status, StatusCode::NO_CONTENT);
    let late = shop.saga(&create(1, 10, &[line("a", 1, 10)])).await;
    assert_eq!((late.status, late.problem()), (StatusCode::CONFLICT, "voided"));
    assert_eq!(shop.count("select count(*) from orders").await, 0);
}

#[tokio::test]
async fn an_order_that_does_not_add_up_is_refused() {
    let shop = shop().await;
    for (call, field) in [
        (create(1, 11, &[line("a", 1, 10)]), "total"),
        (create(2, 0, &[]), "lines"),
        (create(3, 0, &[line("a", 0, 1)]), "lines[0].quantity"),
    ] {
        for replayed in [false, true] {
            let refused = shop.saga(&call).await;
            assert_eq!((refused.status, refused.replayed()), (StatusCode::UNPROCESSABLE_ENTITY, replayed));
            assert!(refused.body["detail"].as_str().unwrap().starts_with(field), "{refused:?}");
        }
    }
    let other = Call { saga: saga(9), ..create(4, 10, &[line("a", 1, 10)]) };
    assert_eq!(shop.saga(&create(4, 10, &[line("a", 1, 10)])).await.status, StatusCode::CREATED);
    assert_eq!(shop.saga(&other).await.problem(), "refused", "another saga cannot take an order's id");
    shop.is_whole().await;
}

#[tokio::test]
async fn only_the_orchestrator_calls_and_only_for_its_step() {
    let shop = shop().await;
    let call = create(1, 10, &[line("a", 1, 10)]);
    assert_eq!(shop.saga(&Call { scope: "order.return", ..call.clone() }).await.problem(), "forbidden");
    let user = shop.user(Method::POST, call.path, &["order.place"], &[("idempotency-key", "k")], Some(call.body));
    assert_eq!(user.await.problem(), "unauthenticated");
}
