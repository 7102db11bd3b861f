//! A client as bare as can be, so that tests can also send what no client library would.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use steadfast_host::Error;
use steadfast_host::serve::{Limits, bind, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing here may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), Error>>,
}

pub(crate) async fn start(router: Router, limits: Limits) -> Server {
    let listener = bind("127.0.0.1:0", "server.listen").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let running = TaskTracker::new().spawn(serve(listener, router, limits, stop.clone()));
    Server { address, stop, running }
}

impl Server {
    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, head: &str, body: &str) -> String {
        let mut client = self.connect().await;
        client
            .send(&format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
            .await;
        client.rest().await
    }

    pub(crate) async fn ended(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.running).await.expect("the server ends").unwrap().unwrap();
    }
}

pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// What comes until the server closes.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A server that closes on a client that still sends resets the connection; what came before counts.
        let _reset = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.expect("the server closes");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What comes until `text` has come.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut got = String::new();
        while !got.contains(text) {
            let mut buffer = [0; 1024];
            let count = timeout(PATIENCE, self.0.read(&mut buffer)).await.expect("an answer").unwrap();
            assert_ne!(count, 0, "closed after {got:?}");
            got.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        got
    }
}
