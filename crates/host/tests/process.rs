//! Signals and logs of a process.

use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn;
use axum::routing::get;
use http::Request;
use steadfast_host::{shutdown, trace};
use tokio::process::Command;
use tokio::time::timeout;
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::wire::PATIENCE;

#[tokio::test]
async fn sigterm_cancels_the_token() {
    let (first, second) = (shutdown::on_signal().unwrap(), shutdown::on_signal().unwrap());
    assert!(!first.is_cancelled());
    let sent = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().await.unwrap();
    assert!(sent.success());
    timeout(PATIENCE, first.cancelled()).await.unwrap();
    timeout(PATIENCE, second.cancelled()).await.unwrap();
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_span_names_the_route_and_tells_nothing_that_a_client_sent() {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_span_events(FmtSpan::CLOSE)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let router = Router::new()
        .route("/v1/customers/{email}", get(|| async { (http::StatusCode::IM_A_TEAPOT, "secret answer") }))
        .layer(from_fn(trace::request));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = Request::get("/v1/customers/ann@example.org?card=4111")
        .header("traceparent", parent)
        .header("authorization", "Bearer canary")
        .body(Body::from("canary"))
        .unwrap();
    let response = router.oneshot(request).with_subscriber(subscriber).await.unwrap();
    assert_eq!(response.status(), 418);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    for told in ["/v1/customers/{email}", "\"GET\"", parent, "\"http.response.status_code\":418"] {
        assert!(text.contains(told), "{told} is missing in {text}");
    }
    for hidden in ["ann@", "4111", "canary", "secret answer"] {
        assert!(!text.contains(hidden), "{hidden} is in {text}");
    }
}
