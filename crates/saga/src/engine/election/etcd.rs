//! Election through etcd: a lease that is kept alive, and a campaign under it.
//!
//! Leadership ends here, in local monotonic time counted from before each keep-alive was sent, before the lease can have
//! ended in etcd. While etcd, or its majority, is away this node does not lead, nothing waits for it, and it comes back
//! by itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, LeaseClient, TlsOptions};
use secrecy::{ExposeSecret, SecretString};
use steadfast_core::retry::Backoff;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Election;
use crate::Error;

/// The pauses while etcd does not answer.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(2) };

/// The shortest lease that etcd keeps to.
const TTL_MIN: Duration = Duration::from_secs(2);

/// How long giving the leadership up may take.
const RESIGN: Duration = Duration::from_millis(500);

/// Where etcd is and how this node stands for election.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `http://host:2379` or `https://host:2379`, of all members.
    pub endpoints: Vec<String>,
    /// The name of the election, the same at every node of one journal; the prefix of its keys.
    pub prefix: String,
    /// The name under which this node stands.
    pub node: String,
    /// How long leadership outlives the leader; at least two seconds, in whole seconds.
    pub ttl: Duration,
    /// Name and password, where etcd asks for them.
    pub user: Option<(String, SecretString)>,
    /// The authority (PEM) that has signed the members' certificates; the system's where `None`.
    pub ca: Option<String>,
    /// This node's certificate and key (PEM), where etcd asks for them.
    pub identity: Option<(String, SecretString)>,
}

impl EtcdConfig {
    /// Without user and certificates.
    pub fn new(endpoints: Vec<String>, prefix: impl Into<String>, node: impl Into<String>, ttl: Duration) -> Self {
        Self { endpoints, prefix: prefix.into(), node: node.into(), ttl, user: None, ca: None, identity: None }
    }

    fn check(&self) -> Result<(), Error> {
        let fault = |text: String| Err(Error::Config(format!("etcd: {text}")));
        if self.endpoints.is_empty() {
            return fault("`endpoints` is empty: name all members, as http://host:2379".to_owned());
        }
        if let Some(bad) = self.endpoints.iter().find(|it| !it.starts_with("http://") && !it.starts_with("https://")) {
            return fault(format!("`endpoints`: {bad:?} is no URL: write http://host:2379 or https://host:2379"));
        }
        if self.prefix.is_empty() {
            return fault("`prefix` is empty: name the election, the same at every node".to_owned());
        }
        if self.ttl < TTL_MIN {
            return fault(format!("`ttl` is {:?}: use {TTL_MIN:?} or more", self.ttl));
        }
        Ok(())
    }

    fn options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.patience())
            .with_keep_alive(self.patience(), self.patience())
            .with_require_leader(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password.expose_secret());
        }
        if self.endpoints.iter().any(|it| it.starts_with("https://")) {
            let mut tls = TlsOptions::new().with_native_roots();
            if let Some(ca) = &self.ca {
                tls = tls.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((certificate, key)) = &self.identity {
                tls = tls.identity(Identity::from_pem(certificate, key.expose_secret()));
            }
            options = options.with_tls(tls);
        }
        options
    }

    /// How long one answer is waited for: three fit into a lease.
    fn patience(&self) -> Duration {
        self.ttl / 3
    }
}

/// A node's part in an election through etcd.
#[derive(Debug)]
pub struct Etcd {
    seat: Arc<Seat>,
    tasks: TaskTracker,
}

impl Etcd {
    /// Stands for election until `stop`; then gives the leadership up. Does not wait for etcd, which may be away.
    ///
    /// # Errors
    /// [`Error::Config`] with the field and the way out.
    pub fn campaign(config: EtcdConfig, stop: CancellationToken) -> Result<Self, Error> {
        config.check()?;
        let seat = Arc::new(Seat::default());
        let tasks = TaskTracker::new();
        tasks.spawn(stand(config, Arc::clone(&seat), stop));
        tasks.close();
        Ok(Self { seat, tasks })
    }

    /// Completes when the leadership was given up, after `stop`.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}

impl Election for Etcd {
    fn is_leader(&self) -> bool {
        self.seat.is_held(Instant::now())
    }
}

/// Whether this node leads, and until when that is sure.
#[derive(Debug, Default)]
struct Seat(Mutex<Standing>);

#[derive(Debug, Default)]
struct Standing {
    won: bool,
    until: Option<Instant>,
}

impl Seat {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Two members that are set one by one, each of which alone never gives leadership.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_held(&self, now: Instant) -> bool {
        let standing = self.standing();
        standing.won && standing.until.is_some_and(|until| now < until)
    }

    /// The lease lives for `ttl` from `asked` on.
    fn extend(&self, asked: Instant, ttl: Duration) {
        // A sixth less, for clocks that go at different speeds and for what a leader is just doing.
        self.standing().until = Some(asked + ttl - ttl / 6);
    }

    fn lease_has_ended(&self, now: Instant) -> bool {
        self.standing().until.is_none_or(|until| until <= now)
    }

    fn win(&self) {
        self.standing().won = true;
    }

    fn leave(&self) {
        *self.standing() = Standing::default();
    }
}

/// Why a session with etcd ended.
enum Fault {
    Silent,
    LeaseEnded,
    Etcd(etcd_client::Error),
}

impl From<etcd_client::Error> for Fault {
    fn from(error: etcd_client::Error) -> Self {
        Self::Etcd(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("etcd does not answer"),
            Self::LeaseEnded => f.write_str("the lease has ended"),
            Self::Etcd(error) => error.fmt(f),
        }
    }
}

async fn stand(config: EtcdConfig, seat: Arc<Seat>, stop: CancellationToken) {
    let mut failures = 0;
    while !stop.is_cancelled() {
        let Err(fault) = session(&config, &seat, &stop, &mut failures).await else { return };
        failures += 1;
        if failures == 1 {
            tracing::warn!(%fault, "this node does not stand for election until etcd answers again");
        }
        let pause = BACKOFF.pause(failures, fastrand::u64(..));
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// One lease: from its grant, which ends the failures in a row, to its end, or to `stop`.
async fn session(config: &EtcdConfig, seat: &Seat, stop: &CancellationToken, failures: &mut u32) -> Result<(), Fault> {
    let connect = Box::pin(Client::connect(&config.endpoints, Some(config.options())));
    let Some(client) = stop.run_until_cancelled(within(config, connect)).await else { return Ok(()) };
    let client = client?;
    let mut leases = client.lease_client();
    let asked = Instant::now();
    let seconds = i64::try_from(config.ttl.as_secs()).unwrap_or(i64::MAX);
    let grant = async { leases.grant(seconds, None).await };
    let Some(lease) = stop.run_until_cancelled(within(config, grant)).await else { return Ok(()) };
    let lease = lease?;
    let id = lease.id();
    *failures = 0;
    seat.extend(asked, ttl(lease.ttl()));
    let fault = tokio::select! {
        fault = keep(config, seat, client.lease_client(), id) => Some(fault),
        never = win(config, seat, &client, id) => match never {},
        () = stop.cancelled() => None,
    };
    seat.leave();
    // So that the next one need not wait for the end of the lease; where etcd is away, it must.
    if tokio::time::timeout(RESIGN, leases.revoke(id)).await.is_err() {
        tracing::debug!("the lease in etcd could not be given up: it runs out");
    }
    fault.map_or(Ok(()), Err)
}

/// Campaigns until it is won, and then rests. A campaign that breaks off goes on under the same lease, in its old place.
async fn win(config: &EtcdConfig, seat: &Seat, client: &Client, lease: i64) -> std::convert::Infallible {
    let mut election = client.election_client();
    let mut failures = 0;
    loop {
        match election.campaign(config.prefix.as_str(), config.node.as_str(), lease).await {
            Ok(_) => {
                seat.win();
                tracing::info!(node = config.node, "this node leads");
                return std::future::pending().await;
            }
            Err(error) => {
                failures += 1;
                tracing::debug!(%error, "a campaign broke off");
                tokio::time::sleep(BACKOFF.pause(failures, fastrand::u64(..))).await;
            }
        }
    }
}

/// Keeps the lease alive, over as many connections as it takes.
async fn keep(config: &EtcdConfig, seat: &Seat, mut leases: LeaseClient, id: i64) -> Fault {
    loop {
        let asked = Instant::now();
        // The first keep-alive, and its answer, are part of the opening.
        match within(config, leases.keep_alive(id)).await {
            Ok((mut keeper, mut answers)) => {
                seat.extend(asked, config.ttl);
                loop {
                    tokio::time::sleep(config.patience()).await;
                    let asked = Instant::now();
                    if keeper.keep_alive().await.is_err() {
                        break;
                    }
                    match within(config, answers.message()).await {
                        Ok(Some(answer)) if answer.ttl() > 0 => seat.extend(asked, ttl(answer.ttl())),
                        Ok(Some(_)) => return Fault::LeaseEnded,
                        Ok(None) | Err(_) => break,
                    }
                }
            }
            Err(fault) if seat.lease_has_ended(Instant::now()) => return fault,
            Err(_) => tokio::time::sleep(BACKOFF.base).await,
        }
        if seat.lease_has_ended(Instant::now()) {
            return Fault::LeaseEnded;
        }
    }
}

async fn within<T>(
    config: &EtcdConfig,
    answer: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Fault> {
    Ok(tokio::time::timeout(config.patience(), answer).await.map_err(|_| Fault::Silent)??)
}

fn ttl(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_ends_by_itself_before_the_lease_does() {
        let (seat, asked) = (Seat::default(), Instant::now());
        let after = |millis| asked + Duration::from_millis(millis);
        seat.win();
        assert!(!seat.is_held(asked), "without a lease nobody leads");
        seat.extend(asked, Duration::from_secs(6));
        assert!(seat.is_held(after(4_999)) && !seat.lease_has_ended(after(4_999)));
        assert!(!seat.is_held(after(5_000)) && seat.lease_has_ended(after(5_000)));
        seat.extend(after(5_500), Duration::from_secs(6));
        assert!(seat.is_held(after(5_500)));
        seat.leave();
        assert!(!seat.is_held(after(5_500)));
    }

    #[test]
    fn a_configuration_that_cannot_work_names_its_field() {
        let config = |endpoint: &str, prefix: &str, ttl: u64| {
            let fault = EtcdConfig::new(vec![endpoint.to_owned()], prefix, "a", Duration::from_secs(ttl)).check();
            fault.unwrap_err().to_string()
        };
        assert!(config("etcd:2379", "p", 6).contains("`endpoints`"));
        assert!(config("http://etcd:2379", "", 6).contains("`prefix`"));
        assert!(config("http://etcd:2379", "p", 1).contains("`ttl`"));
    }
}
