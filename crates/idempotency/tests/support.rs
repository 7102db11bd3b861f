//! Every store, a service behind the layer, and requests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{HeaderMap, Request, StatusCode};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request as AxumRequest;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use steadfast_core::{Principal, Timestamp};
use steadfast_idempotency::{
    Claim, Fingerprint, IdempotencyLayer, LINE, Memory, Owner, RecordId, Scope, Sqlite, Store,
};
use steadfast_testkit::{SeededClock, TestDb};
use tower::ServiceExt;

pub(crate) const LIMIT: Duration = Duration::from_secs(10);
pub(crate) const SCOPE: &str = "POST /orders";

/// One backend, with the time it reckons by.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) time: Time,
}

/// How a backend's time is moved: by its clock, or, where the clock is a server's, by ageing the records.
pub(crate) enum Time {
    Seeded(SeededClock, Option<TestDb>),
    #[cfg(feature = "postgres")]
    Postgres(steadfast_testkit::TestPostgres),
    #[cfg(feature = "redis")]
    Redis(crate::servers::Keys),
}

pub(crate) fn clock() -> SeededClock {
    SeededClock::new(Timestamp::from_millis(1_700_000_000_000))
}

pub(crate) async fn database() -> TestDb {
    let db = steadfast_testkit::database().await;
    steadfast_db::migrate(&*db, &LINE).await.unwrap();
    db
}

pub(crate) fn memory() -> Backend {
    let clock = clock();
    let store = Arc::new(Memory::new(Arc::new(clock.clone())));
    Backend { name: "memory", store, time: Time::Seeded(clock, None) }
}

pub(crate) async fn sqlite() -> Backend {
    let (clock, db) = (clock(), database().await);
    let store = Arc::new(Sqlite::new(db.clone(), Arc::new(clock.clone())));
    Backend { name: "sqlite", store, time: Time::Seeded(clock, Some(db)) }
}

#[cfg(feature = "postgres")]
pub(crate) async fn postgres_database() -> steadfast_testkit::TestPostgres {
    let db = steadfast_testkit::postgres().await;
    steadfast_db::migrate(&*db, &LINE).await.unwrap();
    db
}

#[cfg(feature = "postgres")]
pub(crate) async fn postgres() -> Backend {
    let db = postgres_database().await;
    // A crowd of tests on two cores is no reason to fail.
    let store = Arc::new(steadfast_idempotency::Postgres::new(db.clone()).limit(LIMIT));
    Backend { name: "postgres", store, time: Time::Postgres(db) }
}

#[cfg_attr(
    not(any(feature = "postgres", feature = "redis")),
    expect(unused_mut, reason = "the servers' stores stand behind their features")
)]
pub(crate) async fn backends() -> Vec<Backend> {
    let mut all = vec![memory(), sqlite().await];
    #[cfg(feature = "postgres")]
    all.push(postgres().await);
    #[cfg(feature = "redis")]
    all.extend([crate::servers::single().await, crate::servers::cluster().await]);
    all
}

impl Backend {
    pub(crate) fn layer(&self) -> IdempotencyLayer {
        IdempotencyLayer::new(Arc::clone(&self.store), Scope::new(SCOPE))
    }

    pub(crate) fn sqlite_db(&self) -> &TestDb {
        let Time::Seeded(_, Some(db)) = &self.time else { panic!("{} is not SQLite", self.name) };
        db
    }

    pub(crate) async fn advance(&self, by: Duration) {
        self.shift(i64::try_from(by.as_millis()).unwrap()).await;
    }

    /// The clock goes back.
    pub(crate) async fn back(&self, by: Duration) {
        self.shift(-i64::try_from(by.as_millis()).unwrap()).await;
    }

    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "PostgreSQL's store stands behind its feature")
    )]
    async fn shift(&self, millis: i64) {
        match &self.time {
            Time::Seeded(clock, _) => {
                let now = steadfast_core::Clock::now(clock).as_millis();
                clock.set(Timestamp::from_millis(now + millis));
            }
            #[cfg(feature = "postgres")]
            Time::Postgres(db) => {
                let age = "update idempotency_record
                    set since = since - $1, expires_at = expires_at - $1, claimed_at = claimed_at - $1";
                sqlx::query(age).bind(millis).execute(db.pool()).await.unwrap();
            }
            #[cfg(feature = "redis")]
            Time::Redis(keys) => keys.age(millis),
        }
    }

    /// What lies between an instant and the next: a millisecond where the clock stands still, more where it runs on.
    pub(crate) fn moment(&self) -> Duration {
        if matches!(self.time, Time::Seeded(..)) { Duration::from_millis(1) } else { Duration::from_secs(10) }
    }

    /// Damages every record; `false` where there is nothing that could be.
    pub(crate) async fn damage(&self) -> bool {
        match &self.time {
            Time::Seeded(_, None) => return false,
            Time::Seeded(_, Some(db)) => {
                let mut tx = db.begin().await.unwrap();
                sqlx::raw_sql("update idempotency_record set fingerprint = x'02'").execute(&mut *tx).await.unwrap();
                tx.commit().await.unwrap();
            }
            #[cfg(feature = "postgres")]
            Time::Postgres(db) => {
                sqlx::raw_sql("update idempotency_record set fingerprint = '2'").execute(db.pool()).await.unwrap();
            }
            #[cfg(feature = "redis")]
            Time::Redis(keys) => keys.each(|connection, key| {
                let _: i64 = redis::cmd("SETRANGE").arg(key).arg(55).arg("zz").query(connection).unwrap();
            }),
        }
        true
    }

    /// How many records there are, expired ones included; `None` where that cannot be told.
    pub(crate) async fn count(&self) -> Option<i64> {
        let count = "select count(*) from idempotency_record";
        match &self.time {
            Time::Seeded(_, None) => None,
            Time::Seeded(_, Some(db)) => Some(sqlx::query_scalar(count).fetch_one(db.readers()).await.unwrap()),
            #[cfg(feature = "postgres")]
            Time::Postgres(db) => Some(sqlx::query_scalar(count).fetch_one(db.pool()).await.unwrap()),
            #[cfg(feature = "redis")]
            Time::Redis(keys) => Some(keys.count()),
        }
    }
}

/// A claim as the layer makes it.
pub(crate) fn claim(key: &str, token: u8, body: &str, take_over: bool) -> Claim {
    Claim {
        id: RecordId::derive(SCOPE, "u", key),
        scope: SCOPE.into(),
        subject: "u".into(),
        login: None,
        forgotten: false,
        fingerprint: Fingerprint::of_data(body.as_bytes()),
        owner: Owner::from_bytes([token; 16]),
        lease: Duration::from_secs(30),
        ttl: Duration::from_hours(24),
        take_over,
    }
}

/// Authentication as a test has it: the user stands in a header.
pub(crate) async fn authenticate(mut request: AxumRequest, next: Next) -> Response {
    if let Some(user) = request.headers().get("x-user") {
        let principal = Principal::new(user.to_str().unwrap(), Vec::<String>::new());
        request.extensions_mut().insert(principal);
    }
    next.run(request).await
}

pub(crate) fn authenticated(router: Router) -> Router {
    router.layer(from_fn(authenticate))
}

pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn replayed(&self) -> bool {
        self.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The code of the problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        problem["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }
}

pub(crate) fn request(method: &str, path: &str, user: &str, key: &str, body: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("x-user", user)
        .header("idempotency-key", key)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answered {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    Answered { status: parts.status, headers: parts.headers, body }
}

pub(crate) async fn post(app: &Router, key: &str, body: &str) -> Answered {
    send(app, request("POST", "/orders", "u", key, body)).await
}

/// Counters and gauges of what is built inside [`Counts::during`].
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>);

impl Counts {
    pub(crate) fn during<T>(&self, build: impl FnOnce() -> T) -> T {
        metrics::with_local_recorder(self, build)
    }

    pub(crate) fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).map_or(0, |count| count.load(Ordering::SeqCst))
    }

    pub(crate) fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.of(name))
    }

    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        Arc::clone(self.0.lock().unwrap().entry(key.name().to_owned()).or_default())
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
