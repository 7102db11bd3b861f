//! The protocol: keys, statuses, headers, bodies, over a real router.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::http::{HeaderName, Method, Request, StatusCode, header};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post as route};
use http_body_util::StreamBody;
use steadfast_core::problem;
use steadfast_idempotency::{IdempotencyLayer, Scope};

use crate::support::{SCOPE, authenticated, backends, post, request, send};

/// A handler that counts, behind the layer.
fn counting(layer: IdempotencyLayer) -> Router {
    let count = Arc::new(AtomicU32::new(0));
    let handler = async move || format!("{}", count.fetch_add(1, Ordering::SeqCst) + 1);
    authenticated(Router::new().route("/orders", any(handler)).layer(layer))
}

fn answering(layer: IdempotencyLayer, answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Router {
    authenticated(Router::new().route("/orders", route(async move || answer())).layer(layer))
}

#[tokio::test]
async fn a_key_is_required_and_must_be_one() {
    for backend in backends().await {
        let app = counting(backend.layer());
        let without = Request::post("/orders").header("x-user", "u").body(Body::empty()).unwrap();
        let missing = send(&app, without).await;
        assert_eq!((missing.status, missing.problem()), (StatusCode::BAD_REQUEST, "idempotency-key-missing".into()));
        assert!(missing.body.contains("Idempotency-Key is required"));
        for key in ["", "\"\"", "a,b", "a b", &"k".repeat(256)] {
            let refused = post(&app, key, "").await;
            assert_eq!(
                (refused.status, refused.problem()),
                (StatusCode::BAD_REQUEST, "idempotency-key-invalid".into())
            );
        }
        let mut twice = request("POST", "/orders", "u", "a", "");
        twice.headers_mut().append("idempotency-key", "a".parse().unwrap());
        assert_eq!(send(&app, twice).await.problem(), "idempotency-key-invalid");
        assert_eq!(post(&app, "quoted", "").await.body, "1");
        assert_eq!(post(&app, "\"quoted\"", "").await.body, "1");
    }
}

#[tokio::test]
async fn nobody_is_no_user() {
    for backend in backends().await {
        let app = counting(backend.layer());
        let request = Request::post("/orders").header("idempotency-key", "k").body(Body::empty()).unwrap();
        let refused = send(&app, request).await;
        assert_eq!((refused.status, refused.problem()), (StatusCode::UNAUTHORIZED, "unauthenticated".into()));
    }
}

#[tokio::test]
async fn methods_without_effect_pass_untouched() {
    for backend in backends().await {
        let app = counting(backend.layer());
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            for _ in 0..2 {
                let request = Request::builder().method(&method).uri("/orders").body(Body::empty()).unwrap();
                let answer = send(&app, request).await;
                assert_eq!(answer.status, StatusCode::OK);
                assert!(!answer.replayed());
            }
        }
        assert_eq!(post(&app, "k", "").await.body, "7");
    }
}

#[tokio::test]
async fn keys_of_other_users_routes_and_methods_are_independent() {
    for backend in backends().await {
        let store = Arc::clone(&backend.store);
        let app = counting(IdempotencyLayer::new(Arc::clone(&store), Scope::new("/orders")));
        let other = counting(IdempotencyLayer::new(store, Scope::new("/refunds")));
        let first = post(&app, "k", "a").await;
        let stranger = send(&app, request("POST", "/orders", "v", "k", "b")).await;
        assert_eq!((stranger.status, stranger.replayed(), &*stranger.body), (first.status, false, "2"));
        let put = send(&app, request("PUT", "/orders", "u", "k", "b")).await;
        assert_eq!((put.status, put.replayed(), &*put.body), (first.status, false, "3"));
        let elsewhere = post(&other, "k", "b").await;
        assert_eq!((elsewhere.status, elsewhere.replayed(), &*elsewhere.body), (first.status, false, "1"));
    }
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    for backend in backends().await {
        let app = counting(backend.layer().fingerprint_headers([HeaderName::from_static("x-currency")]));
        post(&app, "k", "a").await;
        let other_target = request("POST", "/orders?dry=1", "u", "k", "a");
        let mut other_header = request("POST", "/orders", "u", "k", "a");
        other_header.headers_mut().insert("x-currency", "EUR".parse().unwrap());
        for request in [request("POST", "/orders", "u", "k", "b"), other_target, other_header] {
            let refused = send(&app, request).await;
            assert_eq!(
                (refused.status, refused.problem()),
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-mismatch".into())
            );
        }
        assert!(post(&app, "k", "a").await.replayed());
    }
}

#[tokio::test]
async fn statuses_can_be_changed_and_older_clients_served() {
    for backend in backends().await {
        let layer = backend.layer().status(&problem::MISMATCH, StatusCode::CONFLICT).older_replay_header();
        let app = counting(layer);
        post(&app, "k", "a").await;
        let refused = post(&app, "k", "b").await;
        assert_eq!((refused.status, refused.problem()), (StatusCode::CONFLICT, "idempotency-mismatch".into()));
        assert!(refused.body.contains("\"status\":409"));
        assert_eq!(post(&app, "k", "a").await.headers["idempotent-replayed"], "true");
    }
}

#[tokio::test]
async fn a_replay_bears_the_headers_on_the_list_and_no_others() {
    for backend in backends().await {
        // What belongs to one exchange is not replayed, not even where it is named.
        let also = ["x-order", "set-cookie", "date", "ratelimit-remaining", "traceparent", "connection"];
        let layer = backend.layer().replay_headers(also.map(HeaderName::from_static));
        let app = answering(layer, || {
            (
                StatusCode::CREATED,
                [
                    ("content-type", "text/plain"),
                    ("content-language", "en"),
                    ("content-location", "/orders/1"),
                    ("location", "/orders/1"),
                    ("etag", "\"v1\""),
                    ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
                    ("link", "</a>; rel=a"),
                    ("cache-control", "no-store"),
                    ("x-order", "1"),
                    ("set-cookie", "session=secret"),
                    ("date", "Mon, 01 Jan 2024 00:00:00 GMT"),
                    ("age", "3"),
                    ("connection", "close"),
                    ("ratelimit-remaining", "3"),
                    ("traceparent", "00-1-2-00"),
                    ("x-other", "1"),
                ],
                "created",
            )
                .into_response()
        });
        assert_eq!(post(&app, "k", "").await.headers["set-cookie"], "session=secret");
        let replay = post(&app, "k", "").await;
        let mut names: Vec<&str> = replay.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "cache-control",
            "content-language",
            "content-length",
            "content-location",
            "content-type",
            "etag",
            "idempotency-replayed",
            "last-modified",
            "link",
            "location",
            "x-order",
        ];
        assert_eq!(names, expected);
        assert_eq!((replay.status, &*replay.body), (StatusCode::CREATED, "created"));
        assert_eq!(replay.headers["content-length"], "7");
    }
}

#[tokio::test]
async fn no_body_is_invented_and_trailers_are_dropped() {
    for backend in backends().await {
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
            let app = answering(backend.layer(), move || (status, [("etag", "\"v1\"")]).into_response());
            for _ in 0..2 {
                let answer = post(&app, status.as_str(), "").await;
                assert_eq!((answer.status, &*answer.body), (status, ""));
                assert_eq!(answer.headers["etag"], "\"v1\"");
            }
        }
        let app = answering(backend.layer(), || {
            let trailers = ::http::HeaderMap::from_iter([(HeaderName::from_static("x-sum"), "1".parse().unwrap())]);
            let frames = [
                Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(b"ab"))),
                Ok(http_body::Frame::data(Bytes::from_static(b"cd"))),
                Ok(http_body::Frame::trailers(trailers)),
            ];
            Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))))
        });
        for _ in 0..2 {
            assert_eq!(post(&app, "trailers", "").await.body, "abcd");
        }
        assert!(post(&app, "trailers", "").await.replayed());
    }
}

#[tokio::test]
async fn the_handler_is_asked_for_no_coding_so_that_each_client_can_get_its_own() {
    for backend in backends().await {
        let handler = async |headers: ::http::HeaderMap| format!("{:?}", headers.get(header::ACCEPT_ENCODING));
        let app = authenticated(Router::new().route("/orders", route(handler)).layer(backend.layer()));
        for coding in ["gzip", "identity"] {
            let mut request = request("POST", "/orders", "u", "k", "");
            request.headers_mut().insert(header::ACCEPT_ENCODING, coding.parse().unwrap());
            let answer = send(&app, request).await;
            assert_eq!(answer.body, "None");
            assert!(!answer.headers.contains_key(header::CONTENT_ENCODING));
        }
    }
}

#[tokio::test]
async fn of_an_answer_above_the_limit_or_without_end_the_fact_is_kept() {
    for backend in backends().await {
        let large = || (StatusCode::CREATED, [("location", "/orders/1"), ("etag", "\"v1\"")], "12345").into_response();
        let events = || {
            let chunks = ["data: 1\n\n", "data: 2\n\n"].map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk)));
            let stream = futures_util::stream::iter(chunks);
            (
                StatusCode::CREATED,
                [("location", "/orders/1"), ("etag", "\"v1\""), ("content-type", "text/event-stream")],
                Body::from_stream(stream),
            )
                .into_response()
        };
        let large = answering(backend.layer().answer_limit(4), large);
        let events = answering(backend.layer(), events);
        for (app, key, whole) in [(&large, "large", "12345"), (&events, "events", "data: 1\n\ndata: 2\n\n")] {
            assert_eq!(post(app, key, "").await.body, whole);
            let gone = post(app, key, "").await;
            assert_eq!((gone.status, gone.problem()), (StatusCode::GONE, "result-unavailable".into()));
            assert!(gone.body.contains("\"original_status\":201"));
            assert_eq!((gone.header("location"), gone.header("etag")), ("/orders/1", "\"v1\""));
            assert_eq!(post(app, key, "other").await.status, StatusCode::UNPROCESSABLE_ENTITY);
        }
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_and_its_key_stays_free() {
    for backend in backends().await {
        let app = counting(backend.layer().body_limit(4));
        let chunks = ["123", "45"].map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk)));
        let mut streamed = request("POST", "/orders", "u", "k", "");
        *streamed.body_mut() = Body::from_stream(futures_util::stream::iter(chunks));
        let mut declared = request("POST", "/orders", "u", "k", "12345");
        declared.headers_mut().insert(header::CONTENT_LENGTH, "5".parse().unwrap());
        for request in [request("POST", "/orders", "u", "k", "12345"), streamed, declared] {
            let refused = send(&app, request).await;
            assert_eq!((refused.status, refused.problem()), (StatusCode::PAYLOAD_TOO_LARGE, "too-large".into()));
        }
        assert_eq!(post(&app, "k", "1234").await.body, "1");
    }
}

#[tokio::test]
async fn sensitive_answers_end_with_the_login() {
    #[derive(Clone)]
    struct Session(String);
    for backend in backends().await {
        let layer =
            backend.layer().sensitive(|extensions| extensions.get::<Session>().map(|session| session.0.clone()));
        let app = counting(layer);
        let with = |key: &str, session: Option<&str>| {
            let mut request = request("POST", "/orders", "u", key, "");
            if let Some(session) = session {
                request.extensions_mut().insert(Session(session.to_owned()));
            }
            request
        };
        assert_eq!(send(&app, with("k", Some("s1"))).await.body, "1");
        assert_eq!(send(&app, with("k", Some("s1"))).await.body, "1");
        assert_eq!(backend.store.forget_answers("u", "s1").await.unwrap(), 1);
        assert_eq!(send(&app, with("k", Some("s2"))).await.problem(), "result-unavailable");
        assert_eq!(send(&app, with("nobody", None)).await.body, "2");
        assert_eq!(send(&app, with("nobody", None)).await.problem(), "result-unavailable", "nothing to end it with");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_fails_closed() {
    let app = counting(IdempotencyLayer::new(Arc::new(absent::Failing), Scope::new(SCOPE)));
    let refused = tokio::time::timeout(Duration::from_secs(1), post(&app, "k", "")).await.unwrap();
    assert_eq!((refused.status, refused.problem()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable".into()));
    assert_eq!(refused.headers["retry-after"], "1");
    let get = Request::get("/orders").body(Body::empty()).unwrap();
    assert_eq!(send(&app, get).await.body, "1", "the handler was not reached before");
}

/// A store that is not there.
mod absent {
    use std::time::Duration;

    use steadfast_idempotency::{
        Claim, Cleaned, Decision, Error, Owner, Record, RecordId, Report, Reported, Resolution, Resolved, Store,
    };

    #[derive(Debug)]
    pub(crate) struct Failing;

    #[async_trait::async_trait]
    impl Store for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        async fn answers(&self) -> Result<(), Error> {
            Err(Error::Closed)
        }

        async fn claim(&self, _: &Claim) -> Result<Decision, Error> {
            Err(Error::Closed)
        }

        async fn report(&self, _: RecordId, _: Owner, _: Report, _: Duration) -> Result<Reported, Error> {
            Err(Error::Closed)
        }

        async fn show(&self, _: RecordId) -> Result<Option<Record>, Error> {
            Err(Error::Closed)
        }

        async fn unresolved(&self, _: Option<RecordId>, _: u32) -> Result<Vec<(RecordId, Record)>, Error> {
            Err(Error::Closed)
        }

        async fn resolve(&self, _: RecordId, _: Owner, _: Resolution, _: Duration) -> Result<Resolved, Error> {
            Err(Error::Closed)
        }

        async fn forget_answers(&self, _: &str, _: &str) -> Result<u64, Error> {
            Err(Error::Closed)
        }

        async fn clean(&self, _: u32) -> Result<Cleaned, Error> {
            Err(Error::Closed)
        }
    }
}
