//! The server on a real socket.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::Value;
use steadfast_host::health::Health;
use steadfast_host::json::Json;
use steadfast_host::serve::{Limits, bind, serve};
use steadfast_host::{problem, trace};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::wire::{PATIENCE, start};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    quantity: u32,
}

fn router() -> Router {
    let router = Router::new()
        .route("/v1/orders", post(async |Json(order): Json<Order>| order.quantity.to_string()))
        .route("/v1/orders/{id}", get(|| async { "one" }))
        .route("/slow", get(std::future::pending::<()>))
        .route("/panic", get(async || -> String { panic!("a fault of the handler") }))
        .layer(from_fn(trace::request));
    problem::with_fallbacks(router)
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

const JSON: &str = "POST /v1/orders HTTP/1.1\r\ncontent-type: application/json";

#[tokio::test]
async fn requests_are_answered_and_faults_are_problems() {
    let server = start(router(), Limits { body_bytes: 100, ..Limits::default() }).await;
    let answer = server.ask(JSON, r#"{"quantity":3}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n3"), "{answer}");
    for (head, sent, status, code) in [
        ("GET /nothing HTTP/1.1", "", 404, "not-found"),
        ("GET /panic HTTP/1.1", "", 500, "internal"),
        ("DELETE /v1/orders/7 HTTP/1.1", "", 405, "method-not-allowed"),
        ("POST /v1/orders HTTP/1.1", "{}", 415, "unsupported-media-type"),
        (JSON, r#"{"quantity":"4111"}"#, 400, "invalid-request"),
        (JSON, r#"{"amount":1}"#, 400, "invalid-request"),
        (JSON, "", 400, "invalid-request"),
        (JSON, &"x".repeat(101), 413, "too-large"),
    ] {
        let answer = server.ask(head, sent).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
        let problem = body(&answer);
        assert_eq!(problem["type"], format!("https://steadfast.dev/problems/{code}"), "{head}");
        assert_eq!(problem["status"], status);
        assert!(!answer.contains("4111"), "{answer}");
    }
    let answer = server.ask("DELETE /v1/orders/7 HTTP/1.1", "").await;
    assert!(answer.contains("allow: GET,HEAD\r\n"), "{answer}");
    server.ended().await;
}

#[tokio::test]
async fn a_long_body_without_a_length_is_cut_too() {
    let server = start(router(), Limits { body_bytes: 100, ..Limits::default() }).await;
    let mut client = server.connect().await;
    client.send(&format!("{JSON}\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    client.send(&format!("80\r\n{}\r\n0\r\n\r\n", "1".repeat(128))).await;
    let answer = client.until("too-large").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.ended().await;
}

#[tokio::test]
async fn a_connection_serves_many_requests_also_sent_ahead() {
    let server = start(router(), Limits::default()).await;
    let mut client = server.connect().await;
    let one = "GET /v1/orders/7 HTTP/1.1\r\nhost: x\r\n\r\n";
    client.send(&one.repeat(3)).await;
    client.send("GET /v1/orders/7 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!(client.rest().await.matches("HTTP/1.1 200 OK").count(), 4);
    server.ended().await;
}

#[tokio::test]
async fn slow_handlers_slow_heads_and_huge_heads_are_cut() {
    let limits =
        Limits { request_time: Duration::from_millis(30), head_time: Duration::from_millis(50), ..Limits::default() };
    let server = start(router(), limits).await;
    let answer = server.ask("GET /slow HTTP/1.1", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && body(&answer)["detail"].as_str().unwrap().contains("30ms"),
        "{answer}"
    );
    let mut client = server.connect().await;
    client.send("GET /v1/orders/7 HTTP/1.1\r\nhost: ").await;
    assert!(!client.rest().await.contains(" 200 "), "a head that never ends");
    let answer = server.ask(&format!("GET /v1/orders/7 HTTP/1.1\r\nx: {}", "x".repeat(100_000)), "").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = "x: y\r\n".repeat(101);
    let answer = server.ask(&format!("GET /v1/orders/7 HTTP/1.1\r\n{}", many.trim_end()), "").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    server.ended().await;
}

/// A route that tells when it has begun and ends when it is told to.
fn gate() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let router = Router::new().route(
        "/gate",
        get(move || {
            let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
            async move {
                tell.notify_one();
                wait.notified().await;
                "through"
            }
        }),
    );
    (router, begun, go)
}

#[tokio::test]
async fn the_end_waits_for_what_has_begun_and_takes_nothing_new() {
    let (router, begun, go) = gate();
    let server = start(router, Limits::default()).await;
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    idle.send("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.until("404").await;
    busy.send("GET /gate HTTP/1.1\r\nhost: x\r\n\r\n").await;
    timeout(PATIENCE, begun.notified()).await.unwrap();
    server.stop.cancel();
    idle.rest().await;
    assert!(!server.running.is_finished());
    go.notify_one();
    let answer = busy.rest().await;
    assert!(answer.contains("connection: close") && answer.ends_with("through"), "{answer}");
    let address = server.address;
    server.ended().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_end_waits_no_longer_than_it_may() {
    let (router, begun, _go) = gate();
    let server = start(router, Limits { drain_time: Duration::from_millis(30), ..Limits::default() }).await;
    let mut busy = server.connect().await;
    busy.send("GET /gate HTTP/1.1\r\nhost: x\r\n\r\n").await;
    timeout(PATIENCE, begun.notified()).await.unwrap();
    server.ended().await;
    assert_eq!(busy.rest().await, "");
}

#[tokio::test]
async fn connections_above_the_bound_wait_for_their_turn() {
    let (router, begun, go) = gate();
    let server = start(router, Limits { connections: 1, ..Limits::default() }).await;
    let request = "GET /gate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.send(request).await;
    timeout(PATIENCE, begun.notified()).await.unwrap();
    second.send(request).await;
    assert!(timeout(Duration::from_millis(20), begun.notified()).await.is_err(), "the second has begun");
    go.notify_one();
    assert!(first.rest().await.ends_with("through"));
    timeout(PATIENCE, begun.notified()).await.unwrap();
    go.notify_one();
    assert!(second.rest().await.ends_with("through"));
    server.ended().await;
}

#[tokio::test]
async fn a_port_in_use_is_said_with_the_key_that_changes_it() {
    let taken = bind("127.0.0.1:0", "server.listen").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = bind(&address, "server.listen").await.unwrap_err().to_string();
    assert!(error.contains(&address) && error.contains("in use") && error.contains("server.listen"), "{error}");
    let error = bind("nowhere", "--listen").await.unwrap_err().to_string();
    assert!(error.contains("nowhere") && error.contains("--listen"), "{error}");
}

#[tokio::test]
async fn health_answers_over_http() {
    let health = Health::new();
    health.check("journal", Duration::from_secs(1), || async { Err("locked".to_owned()) });
    let server = start(health.router(), Limits::default()).await;
    assert!(server.ask("GET /healthz HTTP/1.1", "").await.starts_with("HTTP/1.1 200 "));
    let answer = server.ask("GET /readyz HTTP/1.1", "").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert_eq!(body(&answer)["not_ready"], serde_json::json!([{"check": "journal", "why": "locked"}]));
    server.ended().await;
}

#[tokio::test]
async fn metrics_answer_over_http() {
    let server = start(steadfast_host::metrics::install().unwrap().router(), Limits::default()).await;
    let answer = server.ask("GET /metrics HTTP/1.1", "").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\nsaga_timeout_total 0\n"), "{answer}");
    server.ended().await;
}

#[tokio::test]
async fn a_server_that_was_stopped_before_it_began_ends() {
    let listener = bind("127.0.0.1:0", "x").await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    timeout(PATIENCE, serve(listener, router(), Limits::default(), stop)).await.unwrap().unwrap();
}
