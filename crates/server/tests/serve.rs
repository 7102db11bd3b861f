//! `steadfast demo --serve`: a platform that stays up, as a client of its services sees it.

use std::path::Path;

use goodgo_pos::client::{Answer, Request};
use serde_json::{Value, json};
use steadfast_core::problem::{self, Type};
use steadfast_testkit::wait_for;

use crate::metrics::Scraped;
use crate::support::Served;

fn order(number: &str) -> Value {
    json!({
        "order_no": number, "customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP",
        "card": "tok_visa", "lines": [{"product": "85123A", "quantity": 1, "unit_price": 2550, "stocked": true}],
    })
}

#[track_caller]
fn assert_problem(answer: &Answer, kind: &Type, part: &str) {
    let detail = answer.detail();
    assert!(answer.is_problem(kind), "{} instead of {}: {detail}", answer.status, kind.uri());
    assert_eq!(answer.status.as_u16(), answer.json::<Value>().unwrap()["status"], "{detail}");
    assert!(detail.contains(part), "{part:?} in {detail:?}");
}

#[tokio::test]
async fn it_serves_metrics_and_health_and_drains() {
    let served = Served::start(&["--orders", "40", "--failure-rate", "0.3"]).await;
    for service in ["orchestrator", "order"] {
        let scraped = Scraped::of(&served, service).await;
        scraped.assert_complete();
        assert!(scraped.sum("saga_executions_total") >= 40.0);
        assert!(scraped.sum("saga_compensations_total") > 0.0);
        assert!(scraped.sum("outbox_events_total") > 40.0);
        let unpublished = scraped.sum("outbox_events_total") - scraped.sum("outbox_published_total");
        assert!(unpublished.abs() < 0.5, "at rest: {unpublished}");
        assert!(scraped.sum("idempotency_checks_total") >= 40.0);
        assert!(scraped.sum("idempotency_hits_total") > 0.0, "tills send orders twice");
        assert!(scraped.sum("optimistic_lock_attempts_total") > 40.0);
        assert!(scraped.sum("saga_invariant_violations_total") < 0.5);
        assert!(scraped.sum("saga_pending_count") < 0.5, "at rest");
    }
    for path in ["/healthz", "/readyz"] {
        let answer = served.get("orchestrator", path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.detail());
    }
    let address = served.base("order");
    let ran = served.end("-TERM").await;
    ran.consistent();
    assert_eq!(ran.stderr, "", "it ends without a word");
    let authority = address.trim_start_matches("http://");
    assert!(tokio::net::TcpStream::connect(authority).await.is_err(), "nobody listens any more");
}

/// The child has the orchestrator's metrics, the parent the services'; Ctrl-C ends both.
#[tokio::test]
async fn with_a_child_too_it_serves_everything_and_drains() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let served = Served::start(&["--orders", "30", "--crash", "1", "--data", data.to_str().unwrap()]).await;
    let (parent, child) = (Scraped::of(&served, "order").await, Scraped::of(&served, "orchestrator").await);
    assert!(child.sum("outbox_published_total") > 0.0 && parent.sum("idempotency_checks_total") >= 30.0);
    parent.with(child).assert_complete();
    assert_eq!(served.get("orchestrator", "/readyz").await.status, 200);
    let orchestrator = served.base("orchestrator");
    served.end("-INT").await.consistent();
    let authority = orchestrator.trim_start_matches("http://").to_owned();
    wait_for("the child ends with its parent", std::time::Duration::from_secs(5), || async {
        tokio::net::TcpStream::connect(&authority).await.is_err()
    })
    .await;
    assert!(Path::new(&data).join("order.sqlite").exists(), "a folder that was named is kept");
}

#[tokio::test]
async fn its_doors_say_what_is_wrong() {
    let served = Served::start(&["--orders", "5"]).await;
    let token = served.token().to_owned();
    let (orders, payments) = (served.base("order"), served.base("payment"));
    let (inventory, sagas) = (served.base("inventory"), served.base("orchestrator"));
    let place = |number: &str| Request::post(&orders, "/v1/orders", &order(number)).bearer(&token);

    let answer = served.ask(place("900001")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.detail().to_lowercase().contains("idempotency-key"), "{}", answer.detail());
    assert!(answer.header("content-type").unwrap().starts_with("application/problem+json"));

    let post = |token: Option<&str>| {
        let request = Request::post(&orders, "/v1/orders", &order("900002")).key("k-2");
        token.into_iter().fold(request, Request::bearer)
    };
    let forged = format!("{}x", &token[..token.len() - 1]);
    for bad in [None, Some(""), Some("not.a.token"), Some(forged.as_str())] {
        let answer = served.ask(post(bad)).await;
        assert_problem(&answer, &problem::UNAUTHENTICATED, "");
        assert!(answer.header("www-authenticate").is_some(), "{bad:?}");
    }

    let mut versioned = order("900003");
    versioned["version"] = json!(1);
    let answer = served.ask(Request::post(&orders, "/v1/orders", &versioned).bearer(&token).key("k-3")).await;
    assert_eq!(answer.status, 400, "{}", answer.detail());
    assert!(answer.detail().contains("version"), "{}", answer.detail());

    // What the operator's token does not hold.
    let adjust = json!({"reference": "A1", "amount": 1, "reason": "test"});
    let request = Request::post(&payments, "/v1/accounts/17850/adjustments", &adjust).bearer(&token).key("k-4");
    assert_problem(&served.ask(request).await, &problem::FORBIDDEN, "payment.adjust");
    let edit = json!({"description": "x", "price": 1});
    let request = Request::put(&inventory, "/v1/products/85123A", &edit).bearer(&token).key("k-5");
    assert_problem(&served.ask(request).await, &problem::FORBIDDEN, "product.edit");

    for (base, path) in [(&orders, "/saga/orders"), (&payments, "/saga/payments"), (&inventory, "/saga/reservations")] {
        let key = "01890000-0000-7000-8000-000000000000:create_order:action";
        let request = Request::post(base, path, &json!({})).key(key);
        assert_problem(&served.ask(request.clone()).await, &problem::UNAUTHENTICATED, "");
        assert_problem(&served.ask(request.bearer(&token)).await, &problem::UNAUTHENTICATED, "");
    }

    let answer = served.ask(Request::get(&sagas, "/v1/sagas?limit=2").bearer(&token)).await;
    assert_eq!(answer.status, 200, "{}", answer.detail());
    assert_eq!(answer.json::<Value>().unwrap()["sagas"].as_array().unwrap().len(), 2);
    let answer = served.ask(Request::get(&sagas, "/v1/sagas?colour=red").bearer(&token)).await;
    assert_problem(&answer, &problem::INVALID, "colour");
    let nothing = served.ask(Request::get(&orders, "/v1/nothing").bearer(&token)).await;
    assert_problem(&nothing, &problem::NOT_FOUND, "");
    served.end("-TERM").await.consistent();
}
