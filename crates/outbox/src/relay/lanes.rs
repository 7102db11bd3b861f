//! Which lanes this relay publishes: takes its share, hands over what is too much, takes again what was lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Driver;
use super::session::{self, End};
use crate::store::Ask;

/// The lanes that are being published.
struct Running<'a> {
    driver: &'a Arc<Driver>,
    sessions: JoinSet<(i16, i64, End)>,
    // Each asked to end by its own token.
    held: Vec<(i16, i64, CancellationToken)>,
    // Whether lanes of an earlier life are taken at once. Only the first time: whoever has fenced this relay may have its
    // name.
    again: bool,
    ask_at: Instant,
}

/// Publishes this relay's share of the lanes until stopped.
pub(super) async fn publish(driver: &Arc<Driver>, stop: &CancellationToken) {
    let mut running = Running { driver, sessions: JoinSet::new(), held: vec![], again: true, ask_at: Instant::now() };
    while !stop.is_cancelled() {
        if Instant::now() >= running.ask_at {
            running.ask(stop).await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = driver.hint.notified() => {
                driver.hints.send_replace(());
            }
            () = sleep_until(running.ask_at) => {}
            Some(ended) = running.sessions.join_next() => running.ended(ended),
        }
    }
    // Their tokens are the children of `stop`.
    while let Some(ended) = running.sessions.join_next().await {
        running.ended(ended);
    }
    if let Err(error) = driver.store.leave(&driver.config.node).await {
        driver.complain(&error, "leaving the outbox's lanes to others failed");
    }
}

impl Running<'_> {
    async fn ask(&mut self, stop: &CancellationToken) {
        let Driver { store, config, clock, .. } = &**self.driver;
        let staying = self.held.iter().filter(|(.., token)| !token.is_cancelled()).count();
        let ask = Ask { node: &config.node, now: clock.now(), lease: config.lease, held: staying, again: self.again };
        match store.claim(ask).await {
            Ok(claims) => {
                self.again = false;
                self.ask_at = Instant::now() + claims.again;
                for (lane, epoch) in claims.granted {
                    self.start(lane, epoch, stop);
                }
                let staying = self.held.iter().filter(|(.., token)| !token.is_cancelled());
                staying.take(claims.surplus).for_each(|(.., token)| token.cancel());
            }
            Err(error) => {
                self.driver.complain(&error, "taking lanes of the outbox failed");
                self.ask_at = Instant::now() + config.retry.ceiling(4);
            }
        }
    }

    fn start(&mut self, lane: i16, epoch: i64, stop: &CancellationToken) {
        tracing::debug!(source = self.driver.name, lane, epoch, "a lane of the outbox is ours");
        let (driver, token) = (Arc::clone(self.driver), stop.child_token());
        self.held.push((lane, epoch, token.clone()));
        self.sessions.spawn(async move { (lane, epoch, session::run(&driver, lane, epoch, &token).await) });
    }

    fn ended(&mut self, ended: Result<(i16, i64, End), tokio::task::JoinError>) {
        let config = &self.driver.config;
        match ended {
            Ok((lane, epoch, end)) => {
                self.held.retain(|(held, under, _)| (*held, *under) != (lane, epoch));
                if end == End::Fenced {
                    tracing::warn!(
                        source = self.driver.name,
                        lane,
                        epoch,
                        "another relay has taken a lane of the outbox"
                    );
                    self.ask_at = self.ask_at.min(Instant::now() + config.lease / 3);
                }
            }
            // A bug: all lanes are started anew, by this relay as another life of itself.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => tracing::error!(%error, "a lane of the outbox relay has ended"),
        }
        // One that was lost or handed over may be free again soon.
        self.ask_at = self.ask_at.min(Instant::now() + Duration::from_millis(10).max(config.lease / 3));
    }
}
