//! The transactional form: record and effect in one commit. No pending row, no lease, no late finisher; a rollback is
//! known not to have executed, so nothing is ambiguous. For routes whose effects all lie in one database.

mod layer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderName;
use steadfast_core::{Classified, Clock};
use steadfast_db::Db;
use steadfast_db::tx::{self, Tx};

use crate::decision::{self, Change, Claim, Decision, Report, Reported};
use crate::metrics::Metrics;
use crate::options::Scope;
use crate::record::{Owner, RecordId};
use crate::store::{read, write};
use crate::{Answer, Error, Fingerprint, IdempotencyKey};

pub use layer::{Transactional, TransactionalLayer, TransactionalService};

/// What is to be executed once: whose key it is, where, and what is asked for.
#[derive(Clone)]
pub struct Keyed {
    pub(crate) id: RecordId,
    pub(crate) scope: Arc<str>,
    pub(crate) subject: Arc<str>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) login: Option<Arc<str>>,
    pub(crate) forgotten: bool,
}

impl Keyed {
    /// This `key` of this user in this scope, for what the fingerprint says.
    pub fn new(scope: &Scope, subject: &str, key: &IdempotencyKey, fingerprint: Fingerprint) -> Self {
        Self {
            id: RecordId::derive(scope.as_str(), subject, key.as_str()),
            scope: scope.as_str().into(),
            subject: subject.into(),
            fingerprint,
            login: None,
            forgotten: false,
        }
    }

    /// The record's name.
    pub fn record(&self) -> RecordId {
        self.id
    }
}

impl fmt::Debug for Keyed {
    /// Without the user's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("id", &self.id).field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// How [`run`] works.
#[derive(Clone, Debug)]
pub struct Policy {
    clock: Arc<dyn Clock>,
    ttl: Duration,
    answer_limit: usize,
    replay_headers: Vec<HeaderName>,
    retry: tx::Policy,
    metrics: Arc<Metrics>,
}

impl Policy {
    /// Answers are kept for 24 hours, as `clock` reckons them.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ttl: Duration::from_hours(24),
            answer_limit: 256 * 1024,
            replay_headers: Vec::new(),
            retry: tx::Policy::default(),
            metrics: Arc::new(Metrics::new("sqlite-transactional")),
        }
    }

    /// How long an answer is kept.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The largest answer that is kept; of a larger one a tombstone is.
    #[must_use]
    pub fn answer_limit(mut self, bytes: usize) -> Self {
        self.answer_limit = bytes;
        self
    }

    /// How often the transaction is tried, and with which pauses.
    #[must_use]
    pub fn retry(mut self, retry: tx::Policy) -> Self {
        self.retry = retry;
        self
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed just now.
    Executed(Answer),
    /// It had been executed: this was the answer.
    Replayed(Arc<Answer>),
    /// It had been executed: of the answer only this is left.
    Gone(Arc<Answer>),
    /// The key was used for another request.
    Mismatch,
    /// The leased form executes it at present.
    InFlight,
    /// The leased form left it with an unknown outcome.
    Held,
    /// The record bears another owner or scope than its name says.
    Foreign,
}

/// Executes `work` at most once for this key, in one transaction with its record: look-up first, effects, record last,
/// one commit.
///
/// An `Err` rolls back and keeps nothing; so does an answer that is [`not_final`](Answer::not_final) or a 5xx. Every
/// other answer is committed with whatever the work has written by then, so a refusal is given before the first write.
/// The transaction is tried again where that can help, also after a commit whose reply was lost: the look-up of the next
/// try tells whether it stands.
///
/// ```
/// # use std::sync::Arc;
/// # use http::StatusCode;
/// use steadfast_idempotency::{Answer, Error, Fingerprint, IdempotencyKey, Keyed, Outcome, Policy, Scope};
///
/// # #[derive(Debug)] struct Now;
/// # impl steadfast_core::Clock for Now { fn now(&self) -> steadfast_core::Timestamp { Default::default() } }
/// # async fn example(db: steadfast_db::Db) -> Result<(), Error> {
/// let policy = Policy::new(Arc::new(Now));
/// let key = IdempotencyKey::new("receipt-1")?;
/// let keyed = Keyed::new(&Scope::new("payment.charge"), "till-7", &key, Fingerprint::of_data(br#"{"cents": 1250}"#));
/// let outcome = steadfast_idempotency::run(&db, &keyed, &policy, |tx| {
///     Box::pin(async move {
///         sqlx::query("insert into payment (cents) values (1250)")
///             .execute(&mut **tx)
///             .await
///             .map_err(steadfast_db::Error::from)?;
///         Ok::<_, Error>(Answer::new(StatusCode::CREATED))
///     })
/// })
/// .await?;
/// assert!(matches!(outcome, Outcome::Executed(_) | Outcome::Replayed(_)));
/// # Ok(())
/// # }
/// ```
pub async fn run<E, F>(db: &Db, keyed: &Keyed, policy: &Policy, mut work: F) -> Result<Outcome, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<Answer, E>> + Send,
    E: Classified + From<Error> + Send,
{
    policy.metrics.checked();
    let outcome = attempts(db, keyed, policy, &mut work, Plainly).await?;
    policy.settled(&outcome);
    Ok(outcome)
}

impl Policy {
    fn settled(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Executed(answer) if !answer.rolls_back() => self.metrics.kept(self.ttl),
            Outcome::Replayed(answer) => self.metrics.decided(&Decision::Replay(Arc::clone(answer))),
            Outcome::Gone(answer) => self.metrics.decided(&Decision::Gone(Arc::clone(answer))),
            Outcome::InFlight => self.metrics.decided(&Decision::InFlight),
            Outcome::Held => self.metrics.decided(&Decision::Held),
            Outcome::Executed(_) | Outcome::Mismatch | Outcome::Foreign => {}
        }
    }

    fn claim(&self, keyed: &Keyed, owner: Owner) -> Claim {
        Claim {
            id: keyed.id,
            scope: Arc::clone(&keyed.scope),
            subject: Arc::clone(&keyed.subject),
            login: keyed.login.clone(),
            forgotten: keyed.forgotten,
            fingerprint: keyed.fingerprint,
            owner,
            lease: Duration::ZERO,
            ttl: self.ttl,
            take_over: false,
        }
    }
}

impl Answer {
    /// Whether the transactional form keeps nothing of what led to this answer.
    fn rolls_back(&self) -> bool {
        self.provisional || self.status.is_server_error()
    }
}

/// Tries until it is settled. `commit` is an argument so that a test can lose its reply.
async fn attempts<E, F, C>(db: &Db, keyed: &Keyed, policy: &Policy, work: &mut F, commit: C) -> Result<Outcome, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<Answer, E>> + Send,
    E: Classified + From<Error> + Send,
    C: Commit,
{
    let claim = policy.claim(keyed, Owner::draw()?);
    // The answer of a try whose commit gave no clear reply.
    let mut doubtful = None;
    let mut failures = 0;
    loop {
        let error = match attempt(db, &claim, policy, work, &commit, &mut doubtful).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        failures += 1;
        if !error.kind().is_retriable() || failures >= policy.retry.attempts {
            if let Some(answer) = doubtful.take()
                && read(db.readers(), claim.id).await?.is_some_and(|record| record.owner == claim.owner)
            {
                return Ok(Outcome::Executed(answer));
            }
            return Err(error);
        }
        tokio::time::sleep(policy.retry.backoff.pause(failures, fastrand::u64(..))).await;
    }
}

async fn attempt<E, F, C>(
    db: &Db,
    claim: &Claim,
    policy: &Policy,
    work: &mut F,
    commit: &C,
    doubtful: &mut Option<Answer>,
) -> Result<Outcome, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<Answer, E>> + Send,
    E: Classified + From<Error> + Send,
    C: Commit,
{
    let mut tx = db.begin().await.map_err(Error::from)?;
    let seen = read(&mut *tx, claim.id).await?;
    if let (Some(record), Some(answer)) = (&seen, &*doubtful)
        && record.owner == claim.owner
    {
        return Ok(Outcome::Executed(answer.clone()));
    }
    let (decision, change) = decision::claim(seen.as_ref(), claim, policy.clock.now());
    let change = match settle(decision) {
        Err(outcome) => return Ok(outcome),
        Ok(()) => change,
    };
    let answer = work(&mut tx).await?;
    if answer.rolls_back() {
        tx.rollback().await.map_err(Error::sql)?;
        return Ok(Outcome::Executed(answer));
    }
    match done(change, claim, policy, &answer) {
        Some(change) if write(&mut tx, claim.id, &change).await? => {}
        // Effects without a record must not be committed.
        _ => {
            let fault = "it changed while its own transaction held the lock";
            return Err(Error::Corrupt { id: claim.id.to_string(), fault }.into());
        }
    }
    *doubtful = Some(answer.clone());
    commit.commit(tx).await?;
    Ok(Outcome::Executed(answer))
}

/// `Ok` when it is to be executed.
fn settle(decision: Decision) -> Result<(), Outcome> {
    Err(match decision {
        Decision::Execute { .. } => return Ok(()),
        Decision::Replay(answer) => Outcome::Replayed(answer),
        Decision::Gone(answer) => Outcome::Gone(answer),
        Decision::Mismatch => Outcome::Mismatch,
        Decision::InFlight => Outcome::InFlight,
        Decision::Held => Outcome::Held,
        Decision::Foreign => Outcome::Foreign,
    })
}

/// Claim and completion as one change: there is no pending row in between.
fn done(claimed: Option<Change>, claim: &Claim, policy: &Policy, answer: &Answer) -> Option<Change> {
    let Change { seen, then } = claimed?;
    let kept = Arc::new(answer.for_storage(&policy.replay_headers, policy.answer_limit));
    let report = Report::Complete(kept);
    let (reported, completed) = decision::report(then.as_ref(), claim.owner, &report, policy.ttl, policy.clock.now());
    debug_assert_eq!(reported, Reported::Accepted, "the claim is ours");
    Some(Change { seen, then: completed?.then })
}

/// How a transaction is committed.
trait Commit: Send + Sync {
    fn commit(&self, tx: Tx) -> impl Future<Output = Result<(), Error>> + Send;
}

struct Plainly;

impl Commit for Plainly {
    async fn commit(&self, tx: Tx) -> Result<(), Error> {
        tx.commit().await.map_err(Error::sql)
    }
}

#[cfg(test)]
mod tests;
