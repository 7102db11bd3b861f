//! Goods that come back.

use http::StatusCode;
use serde_json::json;
use steadfast::core::Op;

use super::support::{Call, opening, saga, shop};

fn restock(n: u32, quantity: i64) -> Call {
    Call {
        path: "/saga/restocks",
        scope: "order.return",
        saga: saga(n),
        step: "restock",
        op: Op::Action,
        known: "done",
        body: json!({"return_id": saga(n).to_string(), "lines": [
            {"product": "a", "quantity": quantity}, {"product": "never-listed", "quantity": 1},
        ]}),
    }
}

#[tokio::test]
async fn goods_come_back_once_whatever_they_are() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    for replayed in [false, true] {
        let answer = shop.saga(&restock(1, 2)).await;
        assert_eq!((answer.status, answer.replayed()), (StatusCode::NO_CONTENT, replayed), "{answer:?}");
    }
    assert_eq!(shop.level("a").await, (7, 0, 2));
    assert_eq!(shop.level("never-listed").await, (1, 0, 2), "opened, then returned");
    assert_eq!(shop.events("stock.returned.v1").await, 2);
    assert_eq!(
        shop.count("select count(*) from stock_movement where kind = 'returned' and return_id is not null").await,
        2
    );
    shop.is_whole().await;
}

#[tokio::test]
async fn a_fault_is_never_remembered() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    assert_eq!(shop.saga(&restock(1, 0)).await.problem(), "invalid-request");
    assert_eq!(shop.saga(&restock(1, 1)).await.status, StatusCode::NO_CONTENT);
}
