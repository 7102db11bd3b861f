//! One connection through a proxy: two directions that end together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;

use super::mishap::{Direction, Mishap};
use super::{Flow, Link};

const PIECE: usize = 16 * 1024;

/// Carries until either side has closed both its ways, or a mishap cuts.
pub(super) async fn run(client: TcpStream, upstream: TcpStream, link: &Link) {
    let (from_client, to_client) = client.into_split();
    let (from_upstream, to_upstream) = upstream.into_split();
    let mut rng = link.next_rng();
    let (drop_reply, replicates) = (AtomicBool::new(false), AtomicBool::new(false));
    let pipe = |direction, rng| Pipe { direction, rng, link, drop_reply: &drop_reply, replicates: &replicates };
    let requests = pipe(Direction::Request, rng.fork()).carry(from_client, to_upstream);
    let replies = pipe(Direction::Reply, rng.fork()).carry(from_upstream, to_client);
    tokio::pin!(requests, replies);
    // A cut of one way is a cut of both; one that has closed in order lets the other end.
    tokio::select! {
        end = &mut requests => if end == End::Closed { replies.await; },
        end = &mut replies => if end == End::Closed { requests.await; },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Cut,
}

struct Pipe<'a> {
    direction: Direction,
    rng: Rng,
    link: &'a Link,
    /// Set by a request whose reply must not arrive.
    drop_reply: &'a AtomicBool,
    /// Set by the request that makes it the connection of a replica.
    replicates: &'a AtomicBool,
}

impl Pipe<'_> {
    async fn carry(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> End {
        let mut piece = vec![0; PIECE];
        loop {
            let Ok(length) = from.read(&mut piece).await else { return End::Cut };
            if length == 0 {
                drop(to.shutdown().await);
                return End::Closed;
            }
            if self.is_replicated(&piece[..length]) {
                if self.direction == Direction::Reply {
                    sleep(self.link.lag).await;
                }
                if to.write_all(&piece[..length]).await.is_err() {
                    return End::Cut;
                }
                continue;
            }
            let Some(passes) = self.meet(length).await else { return End::Cut };
            if to.write_all(&piece[..passes]).await.is_err() || passes < length {
                return End::Cut;
            }
        }
    }

    /// Whether the connection is a replica's: it only lags.
    fn is_replicated(&self, piece: &[u8]) -> bool {
        let asks = || self.direction == Direction::Request && piece.windows(5).any(|word| word == b"PSYNC");
        if !self.link.lag.is_zero() && asks() {
            self.replicates.store(true, Ordering::Relaxed);
        }
        self.replicates.load(Ordering::Relaxed)
    }

    /// How many of the bytes arrive; none at all when the connection ends before them.
    async fn meet(&mut self, length: usize) -> Option<usize> {
        let network = &self.link.network;
        if self.direction == Direction::Reply && self.drop_reply.load(Ordering::Relaxed) {
            return None;
        }
        let rates = *network.rates.borrow();
        let mishap = Mishap::draw(&mut self.rng, rates, self.direction, length);
        if let Some(name) = mishap.name(self.direction) {
            network.count(&self.link.to, name);
        }
        let passes = match mishap {
            Mishap::None => Some(length),
            Mishap::CutBefore => None,
            Mishap::CutWithin(at) => Some(at),
            Mishap::CutReply => {
                self.drop_reply.store(true, Ordering::Relaxed);
                Some(length)
            }
            Mishap::Delay(time) | Mishap::Stall(time) => {
                self.pause(time).await;
                Some(length)
            }
        };
        // Swallowed as long as the link holds it; what was sent meanwhile arrives afterwards, all at once.
        self.link.flow.subscribe().wait_for(|flow| self.passes(*flow)).await.ok()?;
        passes
    }

    fn passes(&self, flow: Flow) -> bool {
        match flow {
            Flow::Open => true,
            Flow::RepliesHeld => self.direction == Direction::Request,
            Flow::Held => false,
        }
    }

    /// Waits, but not past the healing.
    async fn pause(&self, time: Duration) {
        let mut rates = self.link.network.rates.subscribe();
        tokio::select! {
            () = sleep(time) => {}
            _ = rates.wait_for(|rates| rates.is_calm()) => {}
        }
    }
}
