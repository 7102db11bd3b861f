//! The client over loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use goodgo_pos::client::{Client, Error, HangUp, Limits, Request};
use steadfast_testkit::wait_for;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::serve;

#[tokio::test]
async fn json_goes_there_and_back_over_a_kept_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            // Answers twice, then closes, as a server that restarts does.
            for _ in 0..2 {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap();
                assert!(read > 0);
                let body = r#"{"n":1}"#;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-n: 1\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    let client = Client::default();
    for _ in 0..4 {
        let answer = client.send(&Request::get(&base, "/x")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("x-n")), (200, Some("1")));
        assert_eq!(answer.json::<serde_json::Value>().unwrap()["n"], 1);
        assert!(answer.json::<Vec<u8>>().is_err());
        // The close of the second answer reaches the client before its next request.
        tokio::task::yield_now().await;
    }
    assert!(connections.load(Ordering::Relaxed) <= 3);
}

#[tokio::test]
async fn each_way_to_have_no_answer_is_told_apart() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let client = Client::new(Limits { time: Duration::from_millis(50), ..Limits::default() });
    let error = client.send(&Request::get(&base, "/")).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && !error.was_sent(), "{error}");

    let silent = Router::new().route("/", get(std::future::pending::<()>));
    let server = serve(silent).await;
    let error = client.send(&Request::get(&server.base, "/")).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }) && error.was_sent(), "{error}");
}

#[tokio::test]
async fn a_till_that_hangs_up_sends_half_or_all() {
    let bodies = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&bodies);
    let router = Router::new().route(
        "/",
        post(move |body: Bytes| async move {
            assert_eq!(body, r#""0123456789""#);
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }),
    );
    let server = serve(router).await;
    let client = Client::default();
    let request = Request::post(&server.base, "/", &"0123456789");
    client.hang_up(&request, HangUp::BeforeAnswer).await.unwrap();
    wait_for("the whole request", Duration::from_secs(5), || async { bodies.load(Ordering::Relaxed) == 1 }).await;
    client.hang_up(&request, HangUp::MidRequest).await.unwrap();
    client.hang_up(&request, HangUp::BeforeAnswer).await.unwrap();
    wait_for("the whole request", Duration::from_secs(5), || async { bodies.load(Ordering::Relaxed) == 2 }).await;
}
