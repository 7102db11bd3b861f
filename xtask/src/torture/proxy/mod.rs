//! A network that can be spoilt: a TCP proxy on loopback for each pair of processes, which cuts connections before, within
//! and after a reply, delays and stalls what passes, or swallows everything for a while. (The kernel's netem is not
//! everywhere, and cannot tell a request from a reply.)
//!
//! Each proxy draws from the run's seed, its own name and the connection's number. What it did is counted by kind.

mod mishap;
mod pipe;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use self::mishap::Rates;

/// By whom the way leads to: how often what was done.
type Done = BTreeMap<String, BTreeMap<&'static str, u64>>;

/// What holds for all proxies of a run.
#[derive(Clone, Debug)]
pub(super) struct Network {
    seed: u64,
    rates: watch::Sender<Rates>,
    done: Arc<Mutex<Done>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Network {
    /// A calm one.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            rates: watch::Sender::new(Rates::CALM),
            done: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// From now on what passes meets mishaps at these rates.
    pub(super) fn set(&self, rates: Rates) {
        self.rates.send_replace(rates);
    }

    /// Listens on `port` for what `from` means for `to`, who is at `upstream`.
    pub(super) async fn proxy(&self, from: &str, to: &str, port: u16, upstream: SocketAddr) -> Result<Proxy> {
        self.proxy_with_lag(from, to, port, upstream, Duration::ZERO).await
    }

    /// The same before a Redis that replicates: its replicas come this way too, and get everything so late.
    pub(super) async fn proxy_with_lag(
        &self,
        from: &str,
        to: &str,
        port: u16,
        upstream: SocketAddr,
        lag: Duration,
    ) -> Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = listener.with_context(|| format!("listening on {port} for {to}"))?;
        let link = Arc::new(Link {
            upstream: watch::Sender::new(upstream),
            to: to.to_owned(),
            seed: self.seed ^ hash(&format!("{from} to {to}")),
            connections: AtomicU64::new(0),
            flow: watch::Sender::new(Flow::Open),
            cut: watch::Sender::new(false),
            lag,
            network: self.clone(),
        });
        let (accepting, stop) = (Arc::clone(&link), self.stop.clone());
        self.tasks.spawn(async move { stop.run_until_cancelled(accept(listener, accepting)).await });
        Ok(Proxy { link })
    }

    /// How often what was done to connections, by whom they led to.
    pub(super) fn done(&self) -> Done {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes everything.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn count(&self, to: &str, kind: &'static str) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done.entry(to.to_owned()).or_default().entry(kind).or_default() += 1;
    }
}

/// The way from one process to another.
#[derive(Debug)]
pub(super) struct Proxy {
    link: Arc<Link>,
}

impl Proxy {
    /// Swallows what goes which way, or lets it through again: what was under way then arrives late, as after a partition.
    pub(super) fn flow(&self, flow: Flow) {
        self.link.flow.send_replace(flow);
    }

    /// Swallows everything, or lets it through again.
    pub(super) fn block(&self, blocked: bool) {
        self.flow(if blocked { Flow::Held } else { Flow::Open });
    }

    /// From now on connections that are made lead there.
    pub(super) fn lead_to(&self, upstream: SocketAddr) {
        self.link.upstream.send_replace(upstream);
    }

    /// Ends every connection, with what is on its way, and makes none; or makes them again.
    pub(super) fn cut(&self, cut: bool) {
        self.link.cut.send_replace(cut);
    }
}

/// What a way lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Open,
    /// Requests arrive, and nobody hears of it.
    RepliesHeld,
    Held,
}

#[derive(Debug)]
struct Link {
    to: String,
    upstream: watch::Sender<SocketAddr>,
    seed: u64,
    connections: AtomicU64,
    flow: watch::Sender<Flow>,
    cut: watch::Sender<bool>,
    /// How late what is replicated arrives.
    lag: Duration,
    network: Network,
}

impl Link {
    fn next_rng(&self) -> Rng {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        Rng::with_seed(self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    loop {
        // A fault of one connection, or too many open files: the next may fare better.
        let Ok((client, _)) = listener.accept().await else { continue };
        let (link, stop) = (Arc::clone(&link), link.network.stop.clone());
        link.network.tasks.clone().spawn(async move { stop.run_until_cancelled(carry(client, link)).await });
    }
}

async fn carry(client: TcpStream, link: Arc<Link>) {
    if link.flow.subscribe().wait_for(|flow| *flow != Flow::Held).await.is_err() {
        return;
    }
    let mut cut = link.cut.subscribe();
    if *cut.borrow_and_update() {
        return;
    }
    // Nobody there: the client sees its connection end, as it would see a refusal.
    let address = *link.upstream.borrow();
    let Ok(upstream) = TcpStream::connect(address).await else { return };
    drop(client.set_nodelay(true));
    drop(upstream.set_nodelay(true));
    tokio::select! {
        () = pipe::run(client, upstream, &link) => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}

/// FNV-1a: the same in every build.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    /// Answers each byte with its successor, and tells how many it has received.
    async fn upstream() -> (SocketAddr, watch::Receiver<usize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (received, count) = watch::channel(0);
        TaskTracker::new().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let received = received.clone();
                TaskTracker::new().spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        received.send_modify(|count| *count += 1);
                        if stream.write_u8(byte + 1).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (address, count)
    }

    async fn proxied(network: &Network) -> (Proxy, TcpStream, watch::Receiver<usize>) {
        let (address, count) = upstream().await;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let proxy = network.proxy("a client", "a server", free, address).await.unwrap();
        (proxy, TcpStream::connect((Ipv4Addr::LOCALHOST, free)).await.unwrap(), count)
    }

    #[tokio::test]
    async fn a_calm_network_carries_both_ways() {
        let network = Network::new(1);
        let (_proxy, mut client, _) = proxied(&network).await;
        for byte in 0..50 {
            client.write_u8(byte).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), byte + 1);
        }
        assert!(network.done().is_empty());
        network.close().await;
    }

    #[tokio::test]
    async fn a_partition_swallows_and_delivers_late() {
        let network = Network::new(1);
        let (proxy, mut client, count) = proxied(&network).await;
        client.write_u8(1).await.unwrap();
        client.read_u8().await.unwrap();
        proxy.block(true);
        client.write_u8(2).await.unwrap();
        let mut byte = [0];
        assert!(timeout(Duration::from_millis(100), client.read_exact(&mut byte)).await.is_err(), "swallowed");
        assert_eq!(*count.borrow(), 1);
        proxy.block(false);
        client.read_exact(&mut byte).await.unwrap();
        assert_eq!((byte, *count.borrow()), ([3], 2));
        network.close().await;
    }

    #[tokio::test]
    async fn a_way_that_holds_replies_lets_requests_through() {
        let network = Network::new(1);
        let (proxy, mut client, mut count) = proxied(&network).await;
        proxy.flow(Flow::RepliesHeld);
        client.write_u8(1).await.unwrap();
        count.wait_for(|count| *count == 1).await.unwrap();
        let mut byte = [0];
        assert!(timeout(Duration::from_millis(100), client.read_exact(&mut byte)).await.is_err(), "held");
        proxy.flow(Flow::Open);
        client.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [2]);
        network.close().await;
    }

    #[tokio::test]
    async fn who_connects_after_a_server_has_another_place_is_led_there() {
        let network = Network::new(1);
        let (proxy, client, count) = proxied(&network).await;
        let (other, mut found) = upstream().await;
        proxy.lead_to(other);
        let mut late = TcpStream::connect(client.peer_addr().unwrap()).await.unwrap();
        late.write_u8(1).await.unwrap();
        found.wait_for(|found| *found == 1).await.unwrap();
        assert_eq!(*count.borrow(), 0);
        network.close().await;
    }

    #[tokio::test]
    async fn a_cut_ends_what_is_there_and_lets_nothing_in_until_it_is_mended() {
        let network = Network::new(1);
        let (proxy, mut client, _) = proxied(&network).await;
        client.write_u8(1).await.unwrap();
        client.read_u8().await.unwrap();
        let address = client.peer_addr().unwrap();
        proxy.cut(true);
        assert!(client.read_u8().await.is_err());
        let mut late = TcpStream::connect(address).await.unwrap();
        assert!(late.read_u8().await.is_err());
        proxy.cut(false);
        let mut mended = TcpStream::connect(address).await.unwrap();
        mended.write_u8(1).await.unwrap();
        assert_eq!(mended.read_u8().await.unwrap(), 2);
        network.close().await;
    }

    #[tokio::test]
    async fn what_is_replicated_meets_no_mishap_and_comes_late() {
        let network = Network::new(1);
        let (address, _) = upstream().await;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let lag = Duration::from_millis(50);
        let _proxy = network.proxy_with_lag("a replica", "its master", free, address, lag).await.unwrap();
        let mut replica = TcpStream::connect((Ipv4Addr::LOCALHOST, free)).await.unwrap();
        network.set(Rates { cut: 10_000, delay: 0, stall: 0 });
        let begun = tokio::time::Instant::now();
        replica.write_all(b"PSYNC").await.unwrap();
        assert_eq!(replica.read_u8().await.unwrap(), b'Q');
        assert!(begun.elapsed() >= lag);
        network.close().await;
    }

    /// The dangerous one: the request has arrived, and whoever sent it cannot know.
    #[tokio::test]
    async fn a_reply_is_cut_after_its_request_has_arrived() {
        for seed in 0..200 {
            let network = Network::new(seed);
            let (_proxy, mut client, mut count) = proxied(&network).await;
            network.set(Rates { cut: 10_000, delay: 0, stall: 0 });
            client.write_u8(1).await.unwrap();
            assert!(client.read_u8().await.is_err(), "every piece is cut");
            if network.done()["a server"].contains_key("cut_after_request") {
                count.wait_for(|count| *count == 1).await.unwrap();
                return network.close().await;
            }
            network.close().await;
        }
        panic!("no seed has drawn it");
    }
}
