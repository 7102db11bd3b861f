//! Redis, single and Cluster: one key for each record, one round trip a step.
//!
//! **A failover can lose an acknowledged claim**: replication is asynchronous, so a replica that is promoted may lack
//! what its master acknowledged last, and a request that stands for one of those keys is executed again. [`Wait`] and
//! `min-replicas-to-write 1` make that rarer and not impossible. For money use the transactional form, or make the
//! effect itself idempotent by [`Context::key`](crate::Context::key). What cannot happen is a silent overwrite: a late
//! finisher compares before it writes, on whichever server.
//!
//! A claim is one plain command (`SET key record NX GET PX`), a completion one script; whatever is rarer is read,
//! decided by the code of [`decision`](crate::decision), and written by a script that compares what was seen. Ages are
//! reckoned by the server's clock, from the time that a key has still to live.

mod encoding;
mod fault;
mod fitness;
mod link;
mod walk;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use metrics::Counter;
use redis::{ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError, Script, Value};
use secrecy::{ExposeSecret, SecretString};
use steadfast_core::{Clock, Timestamp, hex, metric, sha256};
use tokio::time::timeout;

use self::fitness::Use;
use self::link::{Link, Written};
use super::steps::{Seen, Slots, step};
use super::{Cleaned, Store};
use crate::Error;
use crate::decision::{self, Change, Claim, Decision, Prior, Report, Reported, Resolution, Resolved};
use crate::record::{Owner, Record, RecordId, State};

pub(crate) use fault::kind;

const READ: &str = include_str!("read.lua");
const SWAP: &str = include_str!("swap.lua");
const COMPLETE: &str = include_str!("complete.lua");
const NOTE_LOGIN: &str = include_str!("note_login.lua");

static READ_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(READ));
static SWAP_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(SWAP));
static COMPLETE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(COMPLETE));
static NOTE_LOGIN_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(NOTE_LOGIN));

/// The longest that anybody may be made to wait for a step.
const LONGEST: Duration = Duration::from_secs(1);

/// How long a server may take to let us in at the start.
const AT_START: Duration = Duration::from_secs(5);

/// How a store in Redis works.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long one step may take before it has failed: 200 ms by default, at most 1 s. Nothing is executed then.
    pub timeout: Duration,
    /// Connections to a single server; requests share them. A cluster has one to each node.
    pub connections: usize,
    /// What all keys begin with, where a server serves several: nothing by default.
    pub prefix: String,
    /// Whether claims and completions wait for replicas.
    pub wait: Option<Wait>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(200), connections: 1, prefix: String::new(), wait: None }
    }
}

/// Waits until so many replicas have a claim or a completion (`WAIT`). A claim that too few have is an error, and
/// nothing is executed; a completion stands, and is warned about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How many.
    pub replicas: u32,
    /// How long; less than [`Options::timeout`].
    pub limit: Duration,
}

/// A store in Redis 7.0 or later.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    clock: Arc<dyn Clock>,
    options: Options,
    errors: Counted,
}

struct Counted(Counter);

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counted")
    }
}

impl Redis {
    /// Opens a single server by a URL such as `redis://user:password@host:6379/0`, or `rediss://` for TLS. `clock` is
    /// only for when a record was claimed first, as an operator reads it.
    ///
    /// # Errors
    /// [`Error::RedisUnusable`] where the server must not keep records: too old, a replica, a node of a cluster, with a
    /// policy that evicts, or where it refuses the password. [`Error::Redis`] where it does not answer.
    pub async fn open(url: &SecretString, clock: Arc<dyn Clock>, options: Options) -> Result<Self, Error> {
        let info = parse(url)?;
        let server = info.addr().to_string();
        check(&options, &server)?;
        let said = ask(&info, &server).await?;
        advise(&server, fitness::judge(&said, Use::Single))?;
        let link = Link::single(info, options.timeout, options.connections, options.wait)?;
        Ok(Self::over(link, clock, options))
    }

    /// Opens a cluster by the URLs of some of its nodes. Every master is looked at.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_cluster(urls: &[SecretString], clock: Arc<dyn Clock>, options: Options) -> Result<Self, Error> {
        let nodes = urls.iter().map(parse).collect::<Result<Vec<_>, Error>>()?;
        let servers = nodes.iter().map(|info| info.addr().to_string()).collect::<Vec<_>>().join(", ");
        check(&options, &servers)?;
        first_answer(&nodes, &servers).await?;
        let link = timeout(AT_START, Link::cluster(nodes, options.timeout, options.wait))
            .await
            .map_err(|_| Error::TimedOut)??;
        for (server, said) in masters(&link).await? {
            advise(&server, fitness::judge(&said, Use::Cluster))?;
        }
        Ok(Self::over(link, clock, options))
    }

    fn over(link: Link, clock: Arc<dyn Clock>, options: Options) -> Self {
        Self { link, clock, options, errors: Counted(metrics::counter!(metric::IDEMPOTENCY_REDIS_ERRORS)) }
    }

    /// The key of a record; the braces keep it in one slot whatever is added to it.
    fn key(&self, id: RecordId) -> Vec<u8> {
        format!("{}idempotency:{{{}}}", self.options.prefix, hex(id.as_bytes())).into_bytes()
    }

    fn id_of(&self, key: &[u8]) -> Option<RecordId> {
        let name = std::str::from_utf8(key).ok()?.strip_prefix(&self.options.prefix)?;
        name.strip_prefix("idempotency:{")?.strip_suffix('}')?.parse().ok()
    }

    /// What SCAN finds the keys by.
    fn pattern(&self) -> String {
        let mut pattern = String::new();
        for character in self.options.prefix.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push_str("idempotency:{*}");
        pattern
    }

    fn login_key(&self, subject: &str, login: &str) -> Vec<u8> {
        let digest = sha256(&[b"login", subject.as_bytes(), login.as_bytes()]);
        format!("{}idempotency-login:{{{}}}", self.options.prefix, hex(&digest)).into_bytes()
    }

    /// Ends a step at its deadline, and counts what failed.
    async fn within<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let result = timeout(self.options.timeout, work).await.unwrap_or(Err(Error::TimedOut));
        match &result {
            Err(Error::TimedOut) => {
                self.errors.0.increment(1);
                self.link.suspect();
            }
            Err(Error::Redis(_) | Error::NotReplicated { .. }) => self.errors.0.increment(1),
            _ => {}
        }
        result
    }

    /// A claim where there is probably no record: one command, which also answers what stands there.
    async fn claim_or_read(&self, claim: &Claim) -> Result<Option<Bytes>, Error> {
        let now = self.clock.now();
        let (value, span) = encoding::encode(&claim.first_record(now), now, encoding::FIRST);
        let mut command = redis::cmd("SET");
        command.arg(self.key(claim.id)).arg(value).arg("NX").arg("GET").arg("PX").arg(span);
        let written = self.link.write(lane(claim.id), &command).await?;
        let seen: Option<Vec<u8>> = read(written.value)?;
        match (seen, written.too_few) {
            (Some(seen), _) => Ok(Some(Bytes::from(seen))),
            (None, None) => Ok(None),
            (None, Some(reached)) => Err(self.too_few(reached)),
        }
    }

    fn too_few(&self, reached: u32) -> Error {
        Error::NotReplicated { wanted: self.options.wait.map_or(0, |wait| wait.replicas), reached }
    }

    async fn complete(&self, id: RecordId, owner: Owner, answer: &crate::Answer, ttl: Duration) -> Result<bool, Error> {
        let mut end = Vec::new();
        encoding::put_answer(&mut end, answer);
        let span = encoding::millis(ttl).max(1);
        let (mark, phase, text) = (encoding::mark(), [encoding::phase_of(answer)], span.to_string());
        let (bytes, text) = (span.to_be_bytes(), text.as_bytes());
        let arguments: [&[u8]; 6] = [owner.as_bytes(), &mark, &phase, &bytes, text, &end];
        let written = self.link.script(lane(id), &COMPLETE_SCRIPT, COMPLETE, &self.key(id), &arguments).await?;
        warn(id, &written);
        Ok(read::<i64>(written.value)? == 1)
    }
}

impl Slots for Redis {
    /// The head of the value; nothing where there was none.
    type Mark = Option<Bytes>;

    async fn see(&self, id: RecordId) -> Result<Seen<Option<Bytes>>, Error> {
        let reply = self.link.ask(lane(id), &READ_SCRIPT, READ, &self.key(id)).await?;
        let (value, ends_at, now): (Option<Vec<u8>>, i64, i64) = read(reply)?;
        let now = Timestamp::from_millis(now);
        let Some(value) = value.map(Bytes::from) else { return Ok(Seen { record: None, now, mark: None }) };
        let corrupt = |fault| Error::Corrupt { id: id.to_string(), fault };
        if ends_at < 0 {
            return Err(corrupt("its key has no time to live, so its age cannot be told"));
        }
        let written = encoding::written_at(&value, Timestamp::from_millis(ends_at))
            .ok_or_else(|| corrupt("its value contradicts itself"))?;
        let record = encoding::decode(id, &value, written)?;
        let head = Bytes::copy_from_slice(encoding::head(&value));
        Ok(Seen { record: Some(record), now, mark: Some(head) })
    }

    async fn set(&self, id: RecordId, seen: &Seen<Option<Bytes>>, change: &Change) -> Result<bool, Error> {
        let mark = if seen.mark.is_some() { encoding::mark() } else { encoding::FIRST };
        let (value, span) =
            change.then.as_ref().map_or_else(Default::default, |record| encoding::encode(record, seen.now, mark));
        let (written, done) = if let Some(head) = &seen.mark {
            let span = span.to_string();
            let arguments: [&[u8]; 3] = [head, &value, span.as_bytes()];
            let mut written = self.link.script(lane(id), &SWAP_SCRIPT, SWAP, &self.key(id), &arguments).await?;
            let done = read::<i64>(std::mem::take(&mut written.value))? == 1;
            (written, done)
        } else if value.is_empty() {
            return Ok(true);
        } else {
            let mut command = redis::cmd("SET");
            command.arg(self.key(id)).arg(value).arg("NX").arg("PX").arg(span);
            let mut written = self.link.write(lane(id), &command).await?;
            let done = read::<Option<String>>(std::mem::take(&mut written.value))?.is_some();
            (written, done)
        };
        let executes = matches!(change.then, Some(Record { state: State::Pending { .. }, .. }));
        match written.too_few {
            Some(reached) if done && executes => Err(self.too_few(reached)),
            _ => {
                warn(id, &written);
                Ok(done)
            }
        }
    }
}

#[async_trait]
impl Store for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    /// Of a cluster every master must answer, since each serves keys.
    async fn answers(&self) -> Result<(), Error> {
        let ping = redis::cmd("PING");
        self.within(async {
            match self.link.whole_cluster() {
                None => self.link.call::<()>(0, &ping).await?,
                Some(_) => drop(self.link.to_all_masters(ping).await?),
            }
            Ok(())
        })
        .await
    }

    async fn claim(&self, claim: &Claim) -> Result<Decision, Error> {
        self.within(async {
            if let Some(login) = &claim.login {
                // Until the answer of an execution that takes as long as the record may live has ended.
                let needed = encoding::millis(claim.ttl.max(claim.lease).saturating_mul(2)).to_string();
                let (key, arguments) =
                    (self.login_key(&claim.subject, login), [&claim.id.as_bytes()[..], needed.as_bytes()]);
                self.link.script(lane(claim.id), &NOTE_LOGIN_SCRIPT, NOTE_LOGIN, &key, &arguments).await?;
            }
            let Some(value) = self.claim_or_read(claim).await? else {
                return Ok(Decision::Execute { attempt: 1, prior: Prior::None });
            };
            // As if it had been written just now: what is decided then needs no age, but for a lease that may be over.
            let now = self.clock.now();
            let record = encoding::decode(claim.id, &value, now)?;
            match decision::claim(Some(&record), claim, now) {
                (decision, None) if decision != Decision::InFlight => Ok(decision),
                _ => step(self, claim.id, |seen, now| decision::claim(seen, claim, now)).await,
            }
        })
        .await
    }

    async fn report(&self, id: RecordId, owner: Owner, report: Report, ttl: Duration) -> Result<Reported, Error> {
        self.within(async {
            if let Report::Complete(answer) = &report
                && self.complete(id, owner, answer, ttl).await?
            {
                return Ok(Reported::Accepted);
            }
            step(self, id, |seen, now| decision::report(seen, owner, &report, ttl, now)).await
        })
        .await
    }

    async fn show(&self, id: RecordId) -> Result<Option<Record>, Error> {
        let seen = self.within(self.see(id)).await?;
        Ok(seen.record.filter(|record| !record.is_expired(seen.now)))
    }

    /// Walks through all keys of all masters, for as long as that takes; each request of the walk has its deadline.
    async fn unresolved(&self, after: Option<RecordId>, limit: u32) -> Result<Vec<(RecordId, Record)>, Error> {
        walk::unresolved(self, after, usize::try_from(limit).unwrap_or(usize::MAX)).await
    }

    async fn resolve(
        &self,
        id: RecordId,
        expected: Owner,
        resolution: Resolution,
        ttl: Duration,
    ) -> Result<Resolved, Error> {
        let token = Owner::draw()?;
        self.within(step(self, id, |seen, now| decision::resolve(seen, expected, &resolution, token, ttl, now))).await
    }

    async fn forget_answers(&self, subject: &str, login: &str) -> Result<u64, Error> {
        let key = self.login_key(subject, login);
        let mut members = redis::cmd("SMEMBERS");
        members.arg(&key);
        let ids: Vec<Vec<u8>> = self.within(async { Ok(self.link.call(0, &members).await?) }).await?;
        let mut count = 0;
        for bytes in &ids {
            let id = RecordId::from_slice(bytes);
            if let Some(id) = id {
                let forget = |seen: Option<&Record>, _| {
                    let change = seen.and_then(decision::forget);
                    (u64::from(change.is_some()), change)
                };
                count += self.within(step(self, id, forget)).await?;
            }
            // One by one, so that a call that broke off can go on.
            let mut remove = redis::cmd("SREM");
            remove.arg(&key).arg(bytes);
            self.within(async { Ok(self.link.call::<i64>(0, &remove).await?) }).await?;
        }
        Ok(count)
    }

    /// Nothing to do: the server removes what has expired.
    async fn clean(&self, _: u32) -> Result<Cleaned, Error> {
        Ok(Cleaned { removed: 0, ended: true })
    }
}

/// Steps on one record go over one connection, so that none overtakes another.
fn lane(id: RecordId) -> usize {
    usize::from(id.as_bytes()[0])
}

/// What was done is done: that too few replicas know it is worth a word, and no reason to say it was not.
fn warn(id: RecordId, written: &Written) {
    if let Some(reached) = written.too_few {
        tracing::warn!(record = %id, reached, "too few replicas have what was written: a failover now could forget it");
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    Ok(T::from_redis_value(value.extract_error()?).map_err(RedisError::from)?)
}

fn unusable(server: &str, fault: impl Into<String>) -> Error {
    Error::RedisUnusable { server: server.to_owned(), fault: fault.into() }
}

fn parse(url: &SecretString) -> Result<ConnectionInfo, Error> {
    // The library's own words might repeat the URL.
    url.expose_secret().into_connection_info().map_err(|_| {
        unusable("the given URL", "it is none: write redis://user:password@host:port/database, or rediss:// for TLS")
    })
}

fn check(options: &Options, server: &str) -> Result<(), Error> {
    if options.timeout.is_zero() || options.timeout > LONGEST {
        return Err(unusable(server, "timeout must be more than 0 and at most 1 s"));
    }
    match options.wait {
        Some(wait) if wait.replicas == 0 => {
            Err(unusable(server, "wait.replicas must be at least 1, or leave wait out"))
        }
        Some(wait) if wait.limit.as_millis() == 0 || wait.limit >= options.timeout => {
            Err(unusable(server, "wait.limit must be at least 1 ms and less than timeout"))
        }
        _ => Ok(()),
    }
}

/// What a server says of itself.
async fn ask(info: &ConnectionInfo, server: &str) -> Result<String, Error> {
    let asked = async {
        let mut connection = link::connect(info, AT_START).await?;
        redis::cmd("INFO").query_async(&mut connection).await
    };
    match timeout(AT_START, asked).await {
        Err(_) => Err(Error::TimedOut),
        Ok(Ok(said)) => Ok(said),
        Ok(Err(error)) if fault::is_refused(&error) => {
            Err(unusable(server, "it refuses the user or the password: check both in the URL"))
        }
        Ok(Err(error)) => Err(error.into()),
    }
}

/// The first node that answers says whether there is a cluster, and lets us in: the library's error would not tell.
async fn first_answer(nodes: &[ConnectionInfo], servers: &str) -> Result<(), Error> {
    let mut last = unusable(servers, "no node is named: name at least one");
    for info in nodes {
        let server = info.addr().to_string();
        match ask(info, &server).await {
            // One that is a replica knows its masters.
            Ok(said) if said.contains("cluster_enabled:1") => return Ok(()),
            Ok(_) => return Err(unusable(&server, "it is not a node of a cluster: open it as a single server")),
            Err(refused @ Error::RedisUnusable { .. }) => return Err(refused),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Every master with what it says of itself.
async fn masters(link: &Link) -> Result<Vec<(String, String)>, Error> {
    let said = timeout(AT_START, link.to_masters(redis::cmd("INFO"))).await.map_err(|_| Error::TimedOut)??;
    said.into_iter().map(|(server, info)| Ok((server, read(info)?))).collect()
}

fn advise(server: &str, judged: Result<Vec<fitness::Advice>, String>) -> Result<(), Error> {
    for advice in judged.map_err(|fault| unusable(server, fault))? {
        tracing::warn!(server, advice, "Redis keeps idempotency records less safely than it could");
    }
    Ok(())
}
