//! Against a server that misbehaves in every way that a socket allows.

mod connections;
mod hostile;
mod replies;
mod settings;
#[cfg(feature = "tls")]
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use steadfast_core::{Knowledge, Op, SagaId, StepKey, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::participant::protocol::{Meaning, Outcomes};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{\"id\":1}";

pub(super) fn key() -> Key {
    Key::new(&[7; 32]).unwrap()
}

pub(super) fn step(op: Op) -> StepKey {
    StepKey { saga: SagaId::derive("till-7", "place_order", "receipt-1"), step: "process_payment".into(), op }
}

pub(super) fn outgoing(key: &StepKey) -> Outgoing<'_> {
    Outgoing {
        method: Method::POST,
        path: "/saga/payments?x=1",
        body: Some(Bytes::from_static(b"{\"amount\":100}")),
        key,
        attempt: 1,
        started: NOW,
        epoch: 4,
        knowledge: (key.op == Op::Compensate).then_some(Knowledge::Unknown),
        user: "till-7",
        scope: "payment.process",
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        timeout: Duration::from_secs(5),
        probe: false,
        now: NOW,
        may_leave: &|| true,
    }
}

/// A server whose every connection is handled by the same piece of code; counts connections and requests.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Ends with the test.
    _tasks: JoinSet<()>,
}

impl Server {
    /// `handle` gets each connection and its number, from 0.
    pub(super) async fn start<F, R>(handle: F) -> Self
    where
        F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut handlers = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                handlers.spawn(handle(stream, counter.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    /// Answers every request on every connection with these bytes.
    pub(super) async fn answering(reply: impl Into<Vec<u8>>) -> Self {
        let reply = Arc::new(reply.into());
        Self::start(move |mut stream, _| {
            let reply = Arc::clone(&reply);
            async move { while read(&mut stream).await.is_some() && stream.write_all(&reply).await.is_ok() {} }
        })
        .await
    }

    /// Reads one request, answers with these bytes and closes.
    pub(super) async fn closing_after(reply: impl Into<Vec<u8>>) -> Self {
        let reply = Arc::new(reply.into());
        Self::start(move |mut stream, _| {
            let reply = Arc::clone(&reply);
            async move {
                read(&mut stream).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        })
        .await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn participant(&self) -> Participant {
        Participant::new(ParticipantConfig::new("payment", self.url(), key())).unwrap()
    }
}

/// A request: head and body; `None` at the end of the connection.
pub(super) async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let head = String::from_utf8_lossy(&text).into_owned();
        if let Some(end) = head.find("\r\n\r\n") {
            let length = head[..end]
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
            if text.len() >= end + 4 + length.unwrap_or(0) {
                return Some(head);
            }
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => text.extend_from_slice(&piece[..read]),
        }
    }
}

pub(super) async fn call(participant: &Participant) -> Raw {
    participant.send(outgoing(&step(Op::Action))).await
}

/// A call that has to hurry.
pub(super) async fn hurried(participant: &Participant) -> Raw {
    let key = step(Op::Action);
    participant.send(Outgoing { timeout: Duration::from_millis(60), ..outgoing(&key) }).await
}

pub(super) fn meaning(raw: &Raw) -> Meaning {
    protocol::read(raw.exchange(), &Outcomes::default(), true, NOW)
}

pub(super) fn whole(raw: &Raw) -> (u16, &[u8]) {
    match raw {
        Raw::Replied(Replied { status, body: RawBody::Whole(body), .. }) => (status.as_u16(), body),
        other => panic!("{other:?}"),
    }
}

/// Waits until the connection that waits in the pool has noticed that it was closed.
pub(super) async fn noticed(participant: &Participant) {
    let pool = &participant.pools[0];
    steadfast_testkit::wait_for("the idle connection's end", Duration::from_secs(5), || async {
        let Some(mut link) = pool.idle_links().pop_back() else { return true };
        let free = link.is_free().await;
        pool.idle_links().push_back(link);
        !free
    })
    .await;
}
