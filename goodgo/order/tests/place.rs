//! Placing orders and returning goods through the public routes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use goodgo_order::{Keys, UPDATES};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use steadfast::core::{SagaId, problem};
use steadfast::host::problem::Reply;
use steadfast::host::serve::{self, Limits};
use steadfast::locking::Quota;
use steadfast_testkit::wait_for;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::support::{Answered, Shop, line, shop, shop_at};

/// What was asked of the orchestrator.
#[derive(Debug)]
struct Heard {
    definition: String,
    headers: HeaderMap,
    input: Value,
}

#[derive(Clone, Default)]
pub(crate) struct Orchestrator {
    base: String,
    answers: Arc<Mutex<VecDeque<Response>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Orchestrator {
    async fn serve(answers: Vec<Response>) -> (Self, Shop, DropGuard) {
        Self::serve_with(answers, UPDATES).await
    }

    async fn serve_with(answers: Vec<Response>, updates: Quota) -> (Self, Shop, DropGuard) {
        Self::serve_at(answers, updates, super::keys()).await
    }

    pub(crate) async fn serve_at(answers: Vec<Response>, updates: Quota, keys: Keys) -> (Self, Shop, DropGuard) {
        let listener = serve::bind("127.0.0.1:0", "test").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let this = Self { base, answers: Arc::new(Mutex::new(answers.into())), ..Self::default() };
        let router = Router::new().route("/v1/sagas/{definition}", post(answer)).with_state(this.clone());
        let stop = CancellationToken::new();
        let limits = Limits { drain_time: Duration::from_millis(10), ..Limits::default() };
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(serve::serve(listener, router, limits, stop.clone()));
        tasks.detach_all();
        let made = shop_at(this.base(), updates, keys).await;
        (this, made, stop.drop_guard())
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn calls(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

async fn answer(
    State(this): State<Orchestrator>,
    Path(definition): Path<String>,
    headers: HeaderMap,
    body: axum::Json<Value>,
) -> Response {
    this.heard.lock().unwrap().push(Heard { definition, headers, input: body.0["input"].clone() });
    let next = this.answers.lock().unwrap().pop_front();
    next.unwrap_or_else(|| saga(202, "running"))
}

fn saga(status: u16, state: &str) -> Response {
    let mut body = json!({"saga_id": SagaId::derive("u", "d", "k").to_string(), "status": state, "existing": false});
    if state == "compensated" {
        body["cause"] = json!({"step": "process_payment", "code": "refused"});
    }
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

pub(crate) fn order() -> Value {
    json!({
        "order_no": "536365", "customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP",
        "card": "tok_visa", "lines": [line("a", 2, 1_000), line("b", 1, 500), line("a", 1, 900), line("POST", 1, 18_000)],
    })
}

async fn place(shop: &Shop, key: &str, headers: &[(&str, &str)], body: Value) -> Answered {
    let mut all = vec![("idempotency-key", key)];
    all.extend_from_slice(headers);
    shop.user(Method::POST, "/v1/orders", &["order.place"], &all, Some(body)).await
}

#[tokio::test]
async fn an_order_is_one_call_and_a_repeat_is_none() {
    let (orchestrator, shop, _guard) = Orchestrator::serve(vec![]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let first = place(&shop, "k-1", &[("traceparent", trace)], order()).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{first:?}");
    let id = SagaId::derive("till-7", "order", "k-1").to_string();
    assert_eq!((&first.body["order_id"], &first.body["status"]), (&json!(id), &json!("running")));
    assert_eq!(first.headers["location"], format!("/v1/orders/{id}"));
    let again = place(&shop, "k-1", &[], order()).await;
    assert_eq!((again.status, again.replayed(), &again.body), (StatusCode::ACCEPTED, true, &first.body));
    assert_eq!(again.headers["location"], first.headers["location"]);
    assert_eq!(shop.count("select count(*) from orders").await, 0, "no dual write");

    let heard = orchestrator.heard.lock().unwrap();
    let [call] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(call.definition, "place_order");
    assert_eq!(call.headers["traceparent"], trace);
    assert!(call.headers["authorization"].to_str().unwrap().starts_with("Bearer "));
    assert!(!call.headers.contains_key("prefer"));
    let expected = json!({
        "order_id": id, "order_no": "536365", "customer": "17850", "placed_at": "2010-12-01T08:26:00Z",
        "lines": order()["lines"], "total": 21_400, "currency": "GBP", "card": "tok_visa",
        "stock": [{"product": "a", "quantity": 3}, {"product": "b", "quantity": 1}],
    });
    assert_eq!(call.input, expected);
}

#[tokio::test]
async fn who_waits_is_told_the_end() {
    let answers = vec![saga(200, "running"), saga(200, "completed"), saga(200, "compensated"), saga(200, "failed")];
    let (orchestrator, shop, _guard) = Orchestrator::serve(answers).await;
    let wait = [("prefer", "wait=5")];
    let running = place(&shop, "k-1", &wait, order()).await;
    assert_eq!((running.status, &running.body["status"]), (StatusCode::ACCEPTED, &json!("running")));
    let completed = place(&shop, "k-1", &wait, order()).await;
    assert_eq!((completed.status, completed.replayed()), (StatusCode::CREATED, false), "one may wait again");
    assert_eq!(completed.headers["preference-applied"], "wait=5");
    assert!(place(&shop, "k-1", &wait, order()).await.replayed());
    let compensated = place(&shop, "k-2", &wait, order()).await;
    assert_eq!((compensated.status, &compensated.body["status"]), (StatusCode::OK, &json!("compensated")));
    assert_eq!(compensated.body["cause"]["step"], "process_payment");
    assert_eq!(place(&shop, "k-3", &wait, order()).await.body["status"], "failed");
    let heard = orchestrator.heard.lock().unwrap();
    assert_eq!(heard[0].headers["prefer"], "wait=5");
    assert_eq!(heard[0].headers["idempotency-key"], heard[1].headers["idempotency-key"], "the same saga");
    assert_ne!(heard[0].headers["idempotency-key"], heard[2].headers["idempotency-key"]);
}

#[tokio::test]
async fn a_failed_call_is_made_again_under_the_same_key() {
    let broken = || StatusCode::BAD_GATEWAY.into_response();
    let not_there = Reply::from(problem::UNKNOWN_DEFINITION.with("x")).into_response();
    let (orchestrator, shop, _guard) = Orchestrator::serve(vec![broken(), not_there]).await;
    for _ in 0..2 {
        let failed = place(&shop, "k", &[], order()).await;
        assert_eq!((failed.status, failed.problem()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
        assert_eq!(failed.headers["retry-after"], "1");
    }
    let done = place(&shop, "k", &[], order()).await;
    assert_eq!((done.status, done.replayed()), (StatusCode::ACCEPTED, false));
    let heard = orchestrator.heard.lock().unwrap();
    let keys: Vec<_> = heard.iter().map(|call| &call.headers["idempotency-key"]).collect();
    assert!(keys.len() == 3 && keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
}

#[tokio::test]
async fn nobody_there_is_no_answer_to_keep() {
    let shop = shop().await;
    for _ in 0..2 {
        let failed = place(&shop, "k", &[], order()).await;
        assert_eq!((failed.status, failed.replayed()), (StatusCode::SERVICE_UNAVAILABLE, false), "{failed:?}");
    }
}

#[tokio::test]
async fn what_the_orchestrator_refuses_is_passed_on() {
    let problem = |problem: steadfast::core::Problem| Reply::from(problem).into_response();
    let answers = vec![
        saga(200, "running"),
        problem(problem::OVERLOADED.with("full").retry_after(7)),
        problem(problem::INVALID_INPUT.with("/total: must be positive")),
    ];
    let (orchestrator, shop, _guard) = Orchestrator::serve(answers).await;
    let before = place(&shop, "before", &[], order()).await;
    let full = place(&shop, "k", &[], order()).await;
    assert_eq!((full.status, full.problem()), (StatusCode::TOO_MANY_REQUESTS, "overloaded"));
    assert_eq!(full.headers["retry-after"], "7");
    // Whom it has refused for being full it is not asked for again within a second. A known key is answered even then.
    let known = place(&shop, "before", &[], order()).await;
    assert_eq!((known.status, known.replayed(), known.body), (StatusCode::ACCEPTED, true, before.body));
    let answered = Mutex::new(full);
    wait_for("the orchestrator is asked again", Duration::from_secs(10), async || {
        let answer = place(&shop, "k", &[], order()).await;
        let passed = answer.problem() != "overloaded";
        *answered.lock().unwrap() = answer;
        passed
    })
    .await;
    let invalid = answered.into_inner().unwrap();
    assert_eq!((invalid.problem(), invalid.replayed()), ("invalid-input", false), "what passes is not kept");
    let again = place(&shop, "k", &[], order()).await;
    assert_eq!((again.problem(), again.replayed()), ("invalid-input", true), "what stays is");
    assert_eq!(orchestrator.calls(), 3);
}

#[tokio::test]
async fn what_is_not_well_formed_is_told_before_anybody_is_called() {
    let (orchestrator, shop, _guard) = Orchestrator::serve(vec![]).await;
    let with = |field: &str, value: Value| {
        let mut body = order();
        body[field] = value;
        body
    };
    for (body, problem, field) in [
        (with("version", json!(1)), "version-in-body", "version"),
        (with("lines", json!([])), "invalid-request", "lines"),
        (with("lines", json!([line("a", 0, 1)])), "invalid-request", "lines[0].quantity"),
        (with("order_no", json!("")), "invalid-request", "order_no"),
        (with("customer", json!("x".repeat(65))), "invalid-request", "customer"),
        (with("placed_at", json!("today")), "invalid-request", "placed_at"),
        (with("currency", json!("EUR")), "invalid-request", "currency"),
        (with("card", json!("")), "invalid-request", "card"),
        (with("total", json!(1)), "invalid-request", "total"),
    ] {
        let answer = place(&shop, field, &[], body).await;
        assert_eq!(answer.problem(), problem, "{answer:?}");
        assert!(answer.body["detail"].as_str().unwrap().contains(field), "{answer:?}");
    }
    let path = "/v1/orders";
    let forbidden = shop.user(Method::POST, path, &["order.return"], &[("idempotency-key", "f")], Some(order())).await;
    assert_eq!(forbidden.problem(), "forbidden");
    let keyless = shop.user(Method::POST, path, &["order.place"], &[], Some(order())).await;
    assert_eq!(keyless.problem(), "idempotency-key-missing");
    assert_eq!(orchestrator.calls(), 0);
}

#[tokio::test]
async fn a_walk_in_customer_has_no_name_and_a_free_order_no_price() {
    let (orchestrator, shop, _guard) = Orchestrator::serve(vec![]).await;
    let mut body = order();
    body["customer"] = Value::Null;
    body["lines"] = json!([line("POST", 1, 0)]);
    assert_eq!(place(&shop, "k", &[], body).await.status, StatusCode::ACCEPTED);
    let heard = orchestrator.heard.lock().unwrap();
    let input = &heard[0].input;
    assert_eq!((&input["customer"], &input["total"], &input["stock"]), (&json!(""), &json!(0), &json!([])));
}

#[tokio::test]
async fn goods_are_returned_in_the_same_way() {
    let (orchestrator, shop, _guard) = Orchestrator::serve(vec![]).await;
    let order_id = SagaId::derive("till-7", "order", "k").to_string();
    let body = |order_id: Value, amount: i64| {
        json!({
            "return_no": "C536379", "order_id": order_id, "customer": null, "placed_at": "2010-12-02T10:00:00Z",
            "lines": [line("a", 2, 10)], "amount": amount,
        })
    };
    let send = async |key: &str, body: Value| {
        shop.user(Method::POST, "/v1/returns", &["order.return"], &[("idempotency-key", key)], Some(body)).await
    };
    let taken = send("r-1", body(json!(order_id), 20)).await;
    let id = SagaId::derive("till-7", "return", "r-1").to_string();
    assert_eq!((taken.status, &taken.body["return_id"]), (StatusCode::ACCEPTED, &json!(id)), "{taken:?}");
    assert_eq!(taken.headers["location"], format!("/v1/orders/{order_id}"));
    assert_eq!(send("r-2", body(Value::Null, 20)).await.status, StatusCode::ACCEPTED);
    let beyond = send("r-3", body(Value::Null, 21)).await;
    assert!(beyond.body["detail"].as_str().unwrap().starts_with("amount"), "{beyond:?}");
    let heard = orchestrator.heard.lock().unwrap();
    assert_eq!((heard.len(), heard[0].definition.as_str()), (2, "return_order"));
    assert_eq!(heard[0].input["stock"], json!([{"product": "a", "quantity": 2}]));
    assert_eq!((&heard[0].input["order_id"], &heard[1].input["order_id"]), (&json!(order_id), &Value::Null));
}

#[tokio::test]
async fn updates_are_limited() {
    let quota = Quota { name: "updates", burst: 1, window: Duration::from_mins(1) };
    let (orchestrator, shop, _guard) = Orchestrator::serve_with(vec![], quota).await;
    assert_eq!(place(&shop, "k-1", &[], order()).await.status, StatusCode::ACCEPTED);
    assert_eq!(place(&shop, "k-2", &[], order()).await.problem(), "rate-limited");
    assert!(place(&shop, "k-1", &[], order()).await.replayed(), "a replay costs nothing");
    assert_eq!(orchestrator.calls(), 1);
    shop.service.drain().await;
}
