//! A shop in memory: just enough of the services' public API to see how the tills behave, and faults of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use goodgo_pos::faults::Body as FaultyBody;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use steadfast::core::{Problem, SagaId, problem};

#[derive(Default)]
pub(crate) struct Shop {
    pub(crate) seen: Mutex<Seen>,
    /// Every so many'th request to a service meets trouble; 0: none.
    pub(crate) trouble: usize,
    /// Idempotency keys are not looked at.
    pub(crate) forgetful: bool,
    /// `If-Match` is not looked at.
    pub(crate) careless: bool,
}

#[derive(Default)]
pub(crate) struct Seen {
    requests: usize,
    answers: HashMap<String, (Bytes, StatusCode, Value)>,
    /// How often each order was carried out.
    pub(crate) orders: BTreeMap<String, usize>,
    /// Of each return, the order's id.
    pub(crate) returns: BTreeMap<String, Option<String>>,
    pub(crate) adjustments: Vec<(String, Value)>,
    pub(crate) edits: usize,
    pub(crate) principals: BTreeMap<String, usize>,
    versions: HashMap<String, u64>,
}

type Shared = Arc<Shop>;

pub(crate) fn router(shop: &Shared) -> Router {
    Router::new()
        .route("/v1/orders", post(place))
        .route("/v1/orders/{id}", get(show))
        .route("/v1/returns", post(take_back))
        .route("/v1/stock/{product}/adjustments", post(adjust))
        .route("/v1/accounts/{customer}/adjustments", post(adjust))
        .route("/v1/products/{product}", get(product).put(edit))
        .with_state(Arc::clone(shop))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn refuse(problem: &Problem) -> Response {
    let mut response = Response::new(Body::from(problem.to_json()));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap();
    response.headers_mut().insert("content-type", problem::CONTENT_TYPE.parse().unwrap());
    response
}

/// A repeat gets the stored answer; what is new is carried out, and its reply may be lost.
fn once(
    shop: &Shop,
    headers: &HeaderMap,
    body: &Bytes,
    work: impl FnOnce(&mut Seen, Value) -> (StatusCode, Value),
) -> Response {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let key = text("idempotency-key").expect("every mutating request has a key");
    let principal = text("authorization").expect("every request has a principal");
    let mut seen = shop.seen.lock().unwrap();
    *seen.principals.entry(principal.trim_start_matches("Bearer token-of-").to_owned()).or_default() += 1;
    seen.requests += 1;
    let trouble = shop.trouble > 0 && seen.requests.is_multiple_of(shop.trouble);
    if trouble && seen.requests.is_multiple_of(2 * shop.trouble) {
        return refuse(&problem::UNAVAILABLE.with("not now"));
    }
    let known = seen.answers.get(&key).filter(|_| !shop.forgetful).cloned();
    let mut response = match known {
        Some((first, _, _)) if first != *body => return refuse(&problem::MISMATCH.with("another body")),
        Some((_, status, value)) => {
            let mut response = answer(status, &value);
            response.headers_mut().insert("idempotency-replayed", "true".parse().unwrap());
            response
        }
        None => {
            let (status, value) = work(&mut seen, serde_json::from_slice(body).unwrap());
            seen.answers.insert(key, (body.clone(), status, value.clone()));
            answer(status, &value)
        }
    };
    if trouble {
        response = response.map(|_| Body::new(FaultyBody::<Body>::Lost));
    }
    response
}

async fn place(State(shop): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers.get("prefer").unwrap(), "wait=20");
    once(&shop, &headers, &body, |seen, order| {
        let number = order["order_no"].as_str().unwrap().to_owned();
        let times = seen.orders.entry(number.clone()).or_default();
        *times += 1;
        let id = SagaId::derive("till", "order", &format!("{number}-{times}")).to_string();
        let status = if order["card"] == "tok_declined" { "compensated" } else { "completed" };
        // Some answers come before the end of the saga: it is looked for in the read model.
        if number.ends_with('3') {
            return (StatusCode::ACCEPTED, json!({"order_id": id, "status": "running"}));
        }
        (StatusCode::CREATED, json!({"order_id": id, "status": status}))
    })
}

async fn show() -> Response {
    answer(StatusCode::OK, &json!({"status": "confirmed"}))
}

async fn take_back(State(shop): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    once(&shop, &headers, &body, |seen, back| {
        let order = back["order_id"].as_str().map(str::to_owned);
        seen.returns.insert(back["return_no"].as_str().unwrap().to_owned(), order);
        (StatusCode::CREATED, json!({"order_id": back["order_id"], "status": "completed"}))
    })
}

async fn adjust(State(shop): State<Shared>, Path(of): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    once(&shop, &headers, &body, |seen, adjustment| {
        seen.adjustments.push((of, adjustment));
        (StatusCode::CREATED, json!({}))
    })
}

async fn product(State(shop): State<Shared>, Path(product): Path<String>) -> Response {
    let version = *shop.seen.lock().unwrap().versions.entry(product).or_insert(1);
    let mut response = answer(StatusCode::OK, &json!({}));
    response.headers_mut().insert("etag", format!("\"{version}\"").parse().unwrap());
    response
}

async fn edit(State(shop): State<Shared>, Path(product): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let expected = headers.get("if-match").expect("an edit names what it is based on").to_str().unwrap().to_owned();
    once(&shop, &headers, &body, |seen, _| {
        let version = seen.versions.entry(product).or_insert(1);
        if expected != format!("\"{version}\"") && !shop.careless {
            return (StatusCode::PRECONDITION_FAILED, json!({}));
        }
        *version += 1;
        seen.edits += 1;
        (StatusCode::OK, json!({}))
    })
}
