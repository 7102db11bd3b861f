//! Products, edited under an entity tag.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{Answered, Shop, opening, shop};

async fn show(shop: &Shop, headers: &[(&str, &str)]) -> Answered {
    shop.user(Method::GET, "/v1/products/a", &[], headers, None).await
}

async fn edit(shop: &Shop, key: &str, etag: Option<&str>, body: Value) -> Answered {
    let mut headers = vec![("idempotency-key", key)];
    headers.extend(etag.map(|etag| ("if-match", etag)));
    shop.user(Method::PUT, "/v1/products/a", &["product.edit"], &headers, Some(body)).await
}

fn etag(answer: &Answered) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn of_two_editors_the_second_sees_the_conflict() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    let read = show(&shop, &[]).await;
    assert_eq!(read.body, json!({"product": "a", "description": "a a", "price": 2_550}), "no version is shown");
    let tag = etag(&read);
    let first = edit(&shop, "k-1", Some(&tag), json!({"description": "lantern", "price": 3_000})).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    let second = edit(&shop, "k-2", Some(&tag), json!({"description": "lamp", "price": 1})).await;
    assert_eq!((second.status, second.problem()), (StatusCode::PRECONDITION_FAILED, "version-mismatch"));
    let again = edit(&shop, "k-1", Some(&tag), json!({"description": "lantern", "price": 3_000})).await;
    assert_eq!((again.status, again.replayed(), etag(&again)), (StatusCode::OK, true, etag(&first)));
    let third = edit(&shop, "k-3", Some(&etag(&first)), json!({"description": "lamp", "price": 1})).await;
    assert_eq!(third.status, StatusCode::OK);
    assert_eq!(show(&shop, &[]).await.body["description"], "lamp");
    assert_eq!(shop.events("product.changed.v1").await, 2);
    shop.is_whole().await;
}

#[tokio::test]
async fn an_edit_that_changes_nothing_makes_no_version() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    let tag = etag(&show(&shop, &[]).await);
    let same = edit(&shop, "k", Some(&tag), json!({"description": "a a", "price": 2_550})).await;
    assert_eq!((same.status, etag(&same)), (StatusCode::OK, tag.clone()));
    assert_eq!(shop.events("product.changed.v1").await, 0);
    let fresh = show(&shop, &[("if-none-match", &tag)]).await;
    assert_eq!(fresh.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn an_edit_must_name_what_it_is_based_on() {
    let shop = shop().await;
    shop.service.stock_up(&[opening("a", 5)]).await.unwrap();
    let good = json!({"description": "lantern", "price": 1});
    let tag = etag(&show(&shop, &[]).await);
    assert_eq!(edit(&shop, "k-1", None, good.clone()).await.problem(), "precondition-required");
    assert_eq!(edit(&shop, "k-2", Some("*"), good.clone()).await.problem(), "precondition-required");
    let version = json!({"description": "lantern", "price": 1, "version": 1});
    assert_eq!(edit(&shop, "k-3", Some(&tag), version).await.problem(), "version-in-body");
    for bad in [json!({"description": "x"}), json!({"description": "x", "price": -1}), json!([])] {
        assert_eq!(edit(&shop, "k-4", Some(&tag), bad).await.problem(), "invalid-request");
    }
    let forbidden = shop
        .user(
            Method::PUT,
            "/v1/products/a",
            &["stock.adjust"],
            &[("idempotency-key", "k-5"), ("if-match", &tag)],
            Some(good),
        )
        .await;
    assert_eq!(forbidden.problem(), "forbidden");
    let absent = shop.user(Method::GET, "/v1/products/z", &[], &[], None).await;
    assert_eq!((absent.status, absent.problem()), (StatusCode::NOT_FOUND, "not-found"));
    let unreadable = shop.user(Method::GET, "/v1/products/%ff", &[], &[], None).await;
    assert_eq!((unreadable.status, unreadable.problem()), (StatusCode::NOT_FOUND, "not-found"));
}
