//! What an orchestrator is told: one TOML file, each key also an environment variable.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use steadfast_core::Clock;
use steadfast_core::sealing::Keyring;
use steadfast_host::auth::{self, Verifier};
use steadfast_host::config::{Secret, duration};
use steadfast_saga::engine;
use steadfast_saga::participant::client::{ParticipantConfig, Participants, TlsSettings};
use steadfast_saga::participant::token;

use crate::roles::database::Database;

/// The configuration of the role.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    /// Where the API, `/metrics`, `/healthz` and `/readyz` are served.
    #[serde(default = "listen")]
    pub(crate) listen: String,
    /// What the node is called in the lanes' leases; each start of a process adds something of its own.
    #[serde(default)]
    pub(crate) node: Option<String>,
    /// Where sagas are kept: PostgreSQL, or a SQLite file under `data`.
    #[serde(default)]
    pub(crate) database: Option<Database>,
    /// The data folder of an orchestrator without a `database`.
    #[serde(default)]
    pub(crate) data: Option<PathBuf>,
    /// Who elects the leader of several orchestrators; without it the database does.
    #[serde(default)]
    pub(crate) etcd: Option<Etcd>,
    /// Whose tokens open the API.
    pub(crate) auth: auth::Config,
    /// What the keys of sagas' sensitive input are sealed with.
    pub(crate) sealing: Sealing,
    /// Whom sagas may call, by name.
    pub(crate) participants: BTreeMap<String, Participant>,
    /// How much it takes on.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// How lanes are held.
    #[serde(default)]
    pub(crate) lease: Lease,
    /// Whether each saga's end is written to the outbox of the same database, for a relay to publish.
    #[serde(default)]
    pub(crate) events: bool,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(not(feature = "etcd"), expect(dead_code, reason = "only refused in such a build"))]
pub(crate) struct Etcd {
    pub(crate) endpoints: Vec<String>,
    #[serde(default = "prefix")]
    pub(crate) prefix: String,
    #[serde(default)]
    pub(crate) user: Option<String>,
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// A file of certificates in PEM that etcd's is signed by, instead of the system's.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
    /// Files in PEM: our certificate and its key, where etcd asks for one.
    #[serde(default)]
    pub(crate) certificate: Option<PathBuf>,
    #[serde(default)]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Sealing {
    /// The id of the key, as what it seals names it.
    kid: String,
    /// 64 hexadecimal digits.
    key: Secret,
    /// Keys that were current before, by their ids: needed as long as a saga that they sealed is not settled.
    #[serde(default)]
    former: BTreeMap<String, Secret>,
}

/// A participant; the meaning of each field stands at [`ParticipantConfig`].
#[derive(Debug, Deserialize)]
pub(crate) struct Participant {
    base_urls: Vec<String>,
    /// At least 32 characters, shared with the participant: its bytes are the key.
    key: Secret,
    #[serde(default = "yes")]
    barrier: bool,
    #[serde(default)]
    concurrency: Option<usize>,
    #[serde(default)]
    connect_timeout: Option<Text>,
    #[serde(default)]
    idempotency_ttl: Option<Text>,
    #[serde(default)]
    probe: Option<String>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    tls: TlsSettings,
}

/// A length of time.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text(#[serde(with = "duration")] Duration);

#[derive(Debug, Deserialize)]
pub(crate) struct Limits {
    /// Sagas that this node runs at once; above it they wait in the queue of all nodes.
    #[serde(default = "in_flight")]
    in_flight: usize,
    /// Sagas in that queue; above it a start is answered 429.
    #[serde(default = "queue")]
    queue: usize,
    /// How much longer than usual a new saga may be expected to take; above it a start is answered 429.
    #[serde(default = "wait", with = "duration")]
    wait: Duration,
    /// Connections to the API at once.
    #[serde(default = "connections")]
    pub(crate) connections: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Lease {
    /// How long a lane is held without being renewed: a node that died is replaced after it.
    #[serde(default = "lease", with = "duration")]
    time: Duration,
    /// How long calls in flight may still be heard when the process is told to end.
    #[serde(default = "drain", with = "duration")]
    drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: in_flight(), queue: queue(), wait: wait(), connections: connections() }
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self { time: lease(), drain: drain() }
    }
}

fn listen() -> String {
    "127.0.0.1:7400".to_owned()
}

fn prefix() -> String {
    "/steadfast/orchestrator".to_owned()
}

const fn yes() -> bool {
    true
}

fn in_flight() -> usize {
    engine::Config::default().in_flight
}

fn queue() -> usize {
    engine::Config::default().queue
}

fn wait() -> Duration {
    engine::Config::default().wait
}

const fn connections() -> usize {
    4_096
}

const fn lease() -> Duration {
    Duration::from_secs(6)
}

const fn drain() -> Duration {
    Duration::from_millis(100)
}

impl Config {
    /// What the engine is told.
    pub(crate) fn engine(&self) -> Result<engine::Config> {
        if !(Duration::from_secs(2)..=Duration::from_mins(5)).contains(&self.lease.time) {
            bail!("lease.time is {:?}: set it to 2s at least and 5m at most", self.lease.time);
        }
        if self.limits.in_flight == 0 {
            bail!("limits.in_flight is 0: nothing would ever run; set it to 1 at least");
        }
        if self.limits.wait.is_zero() {
            bail!(
                "limits.wait is 0: whatever is under way would refuse the next; set it to 5s, or to a day for no such bound"
            );
        }
        let name = self.node.clone().unwrap_or_else(|| "orchestrator".to_owned());
        let mut own = [0; 6];
        aws_lc_rs::rand::fill(&mut own).ok().context("the system gives no randomness")?;
        Ok(engine::Config {
            in_flight: self.limits.in_flight,
            queue: self.limits.queue,
            wait: self.limits.wait,
            drain: self.lease.drain,
            lease: self.lease.time,
            renew: self.lease.time / 3,
            node: format!("{name}-{}-{}", std::process::id(), steadfast_core::hex(&own)),
            ..engine::Config::default()
        })
    }

    /// Whom sagas may call.
    pub(crate) fn participants(&self) -> Result<Participants> {
        let configured = self.participants.iter().map(|(name, it)| it.named(name)).collect::<Result<Vec<_>>>()?;
        Ok(Participants::new(configured)?)
    }

    /// What the keys of sensitive input are sealed with.
    pub(crate) fn keyring(&self) -> Result<Keyring> {
        let current = key32(&self.sealing.key, "sealing.key")?;
        let mut ring = Keyring::new(self.sealing.kid.clone(), current);
        for (kid, key) in &self.sealing.former {
            ring = ring.with_former(kid.clone(), key32(key, &format!("sealing.former.{kid}"))?);
        }
        Ok(ring)
    }

    /// Checks the tokens of users.
    pub(crate) fn verifier(&self, clock: Arc<dyn Clock>) -> Result<Verifier> {
        Ok(Verifier::from_config(&self.auth, clock)?)
    }
}

#[cfg(feature = "etcd")]
impl Etcd {
    /// How this node stands for election.
    pub(super) fn campaign(&self, node: &str, ttl: Duration) -> Result<engine::EtcdConfig> {
        let read = |path: &PathBuf, key: &str| {
            std::fs::read_to_string(path).with_context(|| format!("etcd.{key}: reading {}", path.display()))
        };
        let user = match (&self.user, &self.password) {
            (Some(user), Some(password)) => Some((user.clone(), password.expose().trim().to_owned().into())),
            (None, None) => None,
            _ => bail!("etcd.user and etcd.password belong together: set both or none"),
        };
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((read(certificate, "certificate")?, read(key, "key")?.into())),
            (None, None) => None,
            _ => bail!("etcd.certificate and etcd.key belong together: set both or none"),
        };
        let ca = self.ca.as_ref().map(|path| read(path, "ca")).transpose()?;
        let usual = engine::EtcdConfig::new(self.endpoints.clone(), self.prefix.clone(), node, ttl);
        Ok(engine::EtcdConfig { user, ca, identity, ..usual })
    }
}

impl Participant {
    fn named(&self, name: &str) -> Result<ParticipantConfig> {
        let place = format!("participants.{name}.key");
        let key = token::Key::new(self.key.expose().trim().as_bytes()).with_context(|| place)?;
        let first = self.base_urls.first().cloned().unwrap_or_default();
        let usual = ParticipantConfig::new(name, first, key);
        Ok(ParticipantConfig {
            base_urls: self.base_urls.clone(),
            barrier: self.barrier,
            concurrency: self.concurrency.unwrap_or(usual.concurrency),
            connect_timeout: self.connect_timeout.map_or(usual.connect_timeout, |text| text.0),
            idempotency_ttl: self.idempotency_ttl.map(|text| text.0),
            probe: self.probe.clone(),
            allow: self.allow.clone(),
            tls: self.tls.clone(),
            ..usual
        })
    }
}

fn key32(secret: &Secret, place: &str) -> Result<[u8; 32]> {
    let bytes = bytes(secret, place)?;
    let found = bytes.len();
    bytes.try_into().ok().with_context(|| format!("{place} has {found} bytes: give 64 hexadecimal digits"))
}

fn bytes(secret: &Secret, place: &str) -> Result<Vec<u8>> {
    let text = secret.expose().trim();
    let digit = |at: usize| text.as_bytes().get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let pairs = (0..text.len()).step_by(2).map(|at| Some(u8::try_from(digit(at)? * 16 + digit(at + 1)?).unwrap_or(0)));
    pairs.collect::<Option<Vec<u8>>>().with_context(|| {
        format!("{place} is not hexadecimal: make one with `openssl rand -hex 32` and give it as a file or variable")
    })
}
