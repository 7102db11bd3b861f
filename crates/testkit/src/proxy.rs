//! A connection that breaks, or lags, at a moment that the test chooses.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From whoever connected.
    ToServer,
    /// Back.
    ToClient,
}

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// They arrive.
    Pass,
    /// They never arrive, and the connection stays.
    Hold,
    /// They are lost, and the connection with them.
    Cut,
}

type Judge = dyn Fn(Way, &[u8]) -> Act + Send + Sync;

/// Stands before a server until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens on loopback.
    pub port: u16,
    cut: watch::Sender<bool>,
    _accepting: JoinSet<()>,
}

#[derive(Clone)]
struct Rules {
    judge: Arc<Judge>,
    /// How late the replication stream is.
    lag: Duration,
    cut: watch::Receiver<bool>,
}

impl Proxy {
    /// On a port that is free.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn new(server: SocketAddr, judge: impl Fn(Way, &[u8]) -> Act + Send + Sync + 'static) -> Self {
        Self::on(0, server, Duration::ZERO, judge)
    }

    /// On this port; what a master sends its replicas comes late by `lag`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn on(
        port: u16,
        server: SocketAddr,
        lag: Duration,
        judge: impl Fn(Way, &[u8]) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = StdListener::bind(("127.0.0.1", port)).expect("the port is free");
        listener.set_nonblocking(true).expect("a listener may wait in a runtime");
        let port = listener.local_addr().expect("a listener has an address").port();
        let (cut, is_cut) = watch::channel(false);
        let rules = Rules { judge: Arc::new(judge), lag, cut: is_cut };
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("tests run in a runtime");
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let rules = rules.clone();
                connections.spawn(async move {
                    if !*rules.cut.borrow()
                        && let Ok(server) = TcpStream::connect(server).await
                    {
                        carry(client, server, rules).await;
                    }
                });
            }
        });
        Self { port, cut, _accepting: accepting }
    }

    /// All connections break, what is on its way is lost, and no other is made.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Connections can be made again.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn carry(client: TcpStream, server: TcpStream, rules: Rules) {
    // One that has gone again has nothing to delay.
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let replicates = Arc::new(AtomicBool::new(false));
    let mut cut = rules.cut.clone();
    tokio::select! {
        () = pump(Way::ToServer, from_client, to_server, &rules, &replicates) => {}
        () = pump(Way::ToClient, from_server, to_client, &rules, &replicates) => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}

async fn pump(way: Way, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, rules: &Rules, replicates: &AtomicBool) {
    let (late, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
            let bytes = &buffer[..length];
            if way == Way::ToServer && bytes.windows(5).any(|word| word == b"PSYNC") {
                replicates.store(true, Ordering::SeqCst);
            }
            match (rules.judge)(way, bytes) {
                Act::Pass => {}
                Act::Hold => std::future::pending().await,
                Act::Cut => return,
            }
            let lags = way == Way::ToClient && replicates.load(Ordering::SeqCst);
            let at = Instant::now() + if lags { rules.lag } else { Duration::ZERO };
            if late.send((at, bytes.to_vec())).is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = due.recv().await {
            if at > Instant::now() {
                tokio::time::sleep_until(at).await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = read => {}, () = write => {} }
}

/// Whether the bytes hold this word.
pub fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Says `true` once, as soon as `what` does.
pub fn once(what: impl Fn(Way, &[u8]) -> bool + Send + Sync + 'static) -> impl Fn(Way, &[u8]) -> Act + Send + Sync {
    let done = AtomicBool::new(false);
    move |way, bytes| {
        if what(way, bytes) && !done.swap(true, Ordering::SeqCst) { Act::Cut } else { Act::Pass }
    }
}
