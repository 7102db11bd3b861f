//! Who may do what, with tokens that only this process can mint.

use axum::http::StatusCode;
use goodgo_pos::client::{Answer, Client, Limits, Request};
use serde_json::{Value, json};
use steadfast_core::problem;
use steadfast_testkit::wait_for;

use super::*;

struct Door {
    world: World,
    client: Client,
}

impl Door {
    fn token(&self, permissions: &[&str]) -> String {
        self.world.platform.keys.mint(Arc::new(System), "clerk", permissions).unwrap()
    }

    async fn ask(&self, request: Request) -> Answer {
        self.client.send(&request).await.unwrap()
    }
}

fn order() -> Value {
    json!({
        "order_no": "900001", "customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP",
        "card": "tok_visa", "lines": [{"product": "85123A", "quantity": 1, "unit_price": 2550, "stocked": true}],
    })
}

/// Where to look for what an answer has begun.
fn saga(answer: &Answer) -> String {
    format!("/v1/sagas/{}", answer.json::<Value>().unwrap()["saga_id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_asks_for_its_permission() {
    let door = Door { world: World::new(3).await, client: Client::new(Limits::default()) };
    let addresses = door.world.platform.addresses;
    let base = |address| format!("http://{address}");
    let (orders, payments) = (base(addresses.order), base(addresses.payment));
    let (inventory, sagas) = (base(addresses.inventory), base(addresses.orchestrator));
    let none = door.token(&[]);

    let without = [
        ("order.place", Request::post(&orders, "/v1/orders", &order())),
        ("order.return", Request::post(&orders, "/v1/returns", &json!({}))),
        ("payment.adjust", Request::post(&payments, "/v1/accounts/17850/adjustments", &json!({}))),
        ("stock.adjust", Request::post(&inventory, "/v1/stock/85123A/adjustments", &json!({}))),
        ("product.edit", Request::put(&inventory, "/v1/products/85123A", &json!({}))),
        ("order.place", Request::post(&sagas, "/v1/sagas/place_order", &json!({"input": {}}))),
        (
            "saga.operate",
            Request::post(&sagas, "/v1/sagas/00000000-0000-7000-8000-000000000000/cancel", &json!({"reason": "x"})),
        ),
        ("saga.define", Request::post(&sagas, "/v1/definitions", &json!({"definition": "saga: x"}))),
        ("saga.read", Request::get(&sagas, "/v1/sagas")),
    ];
    for (permission, request) in without {
        let named = format!("{request:?}");
        let answer = door.ask(request.bearer(&none).key("k-1")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{named}: {}", answer.detail());
        assert!(answer.is_problem(&problem::FORBIDDEN), "{named}");
        assert!(answer.detail().contains(permission), "{named} names {permission}: {}", answer.detail());
    }

    // Who may place orders, but not have payments processed, comes as far as the payment; then all is taken back.
    let half = door.token(&["order.place"]);
    let place = |key: &str| Request::post(&orders, "/v1/orders", &order()).key(key);
    let placed = door.ask(place("k-2").bearer(&half)).await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.detail());
    let path = saga(&placed);
    wait_for("the saga is taken back for lack of a permission", Duration::from_secs(10), || async {
        let shown: Value = door.ask(Request::get(&sagas, &path).bearer(&half)).await.json().unwrap();
        shown["cause"] == "permission" && shown["status"] == "compensated"
    })
    .await;
    assert_eq!(count(&door.world.platform.stores.payment, "select count(*) from payment").await, 0);

    // A stranger's saga is absent, one's own is not.
    let clerk = door.token(&["order.place", "payment.process"]);
    let placed = door.ask(place("k-3").bearer(&clerk).header("prefer", "wait=10")).await;
    assert_eq!(placed.status, StatusCode::CREATED, "{}", placed.detail());
    let path = saga(&placed);
    assert_eq!(door.ask(Request::get(&sagas, &path).bearer(&clerk)).await.status, StatusCode::OK);
    let stranger = door.world.platform.keys.mint(Arc::new(System), "stranger", &["order.place"]).unwrap();
    assert_eq!(door.ask(Request::get(&sagas, &path).bearer(&stranger)).await.status, StatusCode::NOT_FOUND);
    door.world.end().await;
}

/// A user's token opens no saga route, however much it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saga_routes_are_open_to_the_orchestrator_only() {
    let door = Door { world: World::new(3).await, client: Client::new(Limits::default()) };
    let addresses = door.world.platform.addresses;
    let all = door.token(&["order.place", "order.return", "payment.process", "saga.operate"]);
    let routes = [
        (addresses.order, ["/saga/orders", "/saga/orders/cancel", "/saga/orders/confirm", "/saga/returns"].as_slice()),
        (addresses.payment, &["/saga/payments", "/saga/payments/refund", "/saga/refunds"]),
        (
            addresses.inventory,
            &["/saga/reservations", "/saga/reservations/release", "/saga/reservations/commit", "/saga/restocks"],
        ),
    ];
    let key = "01890000-0000-7000-8000-000000000000:process_payment:action";
    for (address, paths) in routes {
        for path in paths {
            for bearer in [None, Some(&all)] {
                let request = Request::post(&format!("http://{address}"), *path, &json!({})).key(key);
                let request = bearer.into_iter().fold(request, |request, token| request.bearer(token));
                let answer = door.ask(request).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}: {}", answer.detail());
                assert!(answer.is_problem(&problem::UNAUTHENTICATED), "{path}");
            }
        }
    }
    assert_eq!(count(&door.world.platform.stores.payment, "select count(*) from payment").await, 0);
    door.world.end().await;
}
