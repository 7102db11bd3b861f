//! A service with a database of its own, and callers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use goodgo_order::{Config, Keys, NAME, Service, UPDATES};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use steadfast::core::{Op, SagaId, StepKey, Timestamp, header};
use steadfast::db::Backend;
use steadfast::host::auth::{Key, Minter, Verifier};
use steadfast::locking::Quota;
use steadfast::outbox::{self, Hint};
use steadfast::saga::participant::token::{self, Claims};

use steadfast_testkit::SeededClock;
use tower::ServiceExt;

use super::{Database, Db, database};

const SECRET: &[u8] = b"a secret of tests, thirty-two bytes or more";

pub(crate) struct Shop {
    pub(crate) db: Database,
    pub(crate) read_model: Database,
    pub(crate) service: Service<Db>,
    router: Router,
    minter: Minter,
}

#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answered {
    pub(crate) fn replayed(&self) -> bool {
        self.headers.contains_key(header::IDEMPOTENCY_REPLAYED)
    }

    pub(crate) fn problem(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        self.body["type"].as_str().unwrap().rsplit('/').next().unwrap()
    }
}

pub(crate) fn key() -> token::Key {
    token::Key::new(SECRET).unwrap()
}

/// A service whose orchestrator is never called.
pub(crate) async fn shop() -> Shop {
    shop_at("http://127.0.0.1:9", UPDATES, super::keys()).await
}

pub(crate) async fn shop_at(orchestrator: &str, updates: Quota, keys: Keys) -> Shop {
    let read_model = database().await;
    let db = database().await;
    let clock = Arc::new(SeededClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let verifier =
        Verifier::new("issuer", "goodgo", [Key::hs256("k", SECRET).unwrap()], Arc::<SeededClock>::clone(&clock))
            .unwrap();
    let minter = Minter::new("k", SECRET, "issuer", "goodgo", Arc::<SeededClock>::clone(&clock)).unwrap();
    let config = Config {
        call_key: key(),
        verifier,
        clock: Arc::<SeededClock>::clone(&clock),
        hint: Hint::new(),
        updates,
        orchestrator: orchestrator.to_owned(),
        keys: keys.open(&*db, Arc::<SeededClock>::clone(&clock)).await.unwrap(),
        read_model: read_model.clone(),
    };
    let service = Service::open(db.clone(), config).await.unwrap();
    let router = service.router();
    Shop { db, read_model, service, router, minter }
}

/// The saga of this number.
pub(crate) fn saga(n: u32) -> SagaId {
    SagaId::derive("till-7", "test", &n.to_string())
}

/// A call of the orchestrator.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) path: &'static str,
    pub(crate) scope: &'static str,
    pub(crate) saga: SagaId,
    pub(crate) step: &'static str,
    pub(crate) op: Op,
    pub(crate) known: &'static str,
    pub(crate) body: Value,
}

impl Shop {
    pub(crate) async fn saga(&self, call: &Call) -> Answered {
        let step = StepKey { saga: call.saga, step: call.step.to_owned(), op: call.op };
        let now = Timestamp::from_millis(1_800_000_000_000);
        let bearer = token::mint(&key(), &Claims::new("steadfast", NAME, "till-7", call.scope, &step), now);
        let request = Request::post(call.path)
            .header("authorization", format!("Bearer {bearer}"))
            .header("content-type", "application/json")
            .header(header::IDEMPOTENCY_KEY, step.to_string())
            .header(header::SAGA_STARTED, "1799999999000")
            .header(header::SAGA_ACTION, call.known)
            .header(header::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .body(Body::from(call.body.to_string()))
            .unwrap();
        self.send(request).await
    }

    /// A request of a user; `headers` beside those that every one has.
    pub(crate) async fn user(
        &self,
        method: Method,
        path: &str,
        permissions: &[&str],
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answered {
        let bearer = self.minter.mint("till-7", permissions.iter().copied(), Duration::from_hours(1));
        let mut request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {bearer}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.header("content-type", "application/json").body(body).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answered {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answered { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        // Sums have other types than what is summed, and not the same in both databases.
        let sql = AssertSqlSafe(format!("select cast(({sql}) as bigint)"));
        sqlx::query_scalar(sql).fetch_one(Backend::readers(&*self.db)).await.unwrap()
    }

    /// How many events there are of a type.
    pub(crate) async fn events(&self, event_type: &str) -> i64 {
        sqlx::query_scalar("select count(*) from outbox where event_type = $1")
            .bind(event_type)
            .fetch_one(Backend::readers(&*self.db))
            .await
            .unwrap()
    }

    /// Numbers without gaps, one event for each version, and claims that are the sum of their returns.
    pub(crate) async fn is_whole(&self) {
        assert_eq!(outbox::Outbox::from((*self.db).clone()).verify().await.unwrap(), []);
        let silent = "select (select coalesce(sum(version), 0) from orders)
            + (select coalesce(sum(version), 0) from returns) - (select count(*) from outbox)";
        assert_eq!(self.count(silent).await, 0, "one event for each version");
        let claims = "select count(*) from orders o where returned <> (select coalesce(sum(amount), 0) from returns r
            where r.order_key = o.key and r.status <> 'cancelled')";
        assert_eq!(self.count(claims).await, 0, "an order's claims are its returns");
    }
}

/// A line of an order or a return.
pub(crate) fn line(product: &str, quantity: i64, unit_price: i64) -> Value {
    serde_json::json!({"product": product, "quantity": quantity, "unit_price": unit_price, "stocked": product != "POST"})
}
