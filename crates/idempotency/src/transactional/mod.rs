//! The transactional form: record and effect in one commit. No pending row, no lease, no late finisher; a rollback is
//! known not to have executed, so nothing is ambiguous. For routes whose effects all lie in one database.

mod backend;
mod layer;
mod patience;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderName;
use sqlx::Transaction;
use steadfast_core::{Classified, Clock};
use steadfast_db::tx;
use tokio::time::Instant;

use crate::decision::{self, Change, Claim, Decision, Report, Reported};
use crate::metrics::Metrics;
use crate::options::Scope;
use crate::record::{Owner, RecordId};
use crate::{Answer, Error, Fingerprint, IdempotencyKey};

use self::patience::Patience;

pub use backend::Backend;
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
    limit: Option<Duration>,
    metrics: Arc<OnceLock<Metrics>>,
}

/// Of the time for the database, what is kept for the look whether a commit without a reply stands.
const LAST_LOOK: Duration = Duration::from_millis(200);

impl Policy {
    /// Answers are kept for 24 hours, as `clock` reckons them.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ttl: Duration::from_hours(24),
            answer_limit: 256 * 1024,
            replay_headers: Vec::new(),
            retry: tx::Policy::default(),
            limit: None,
            metrics: Arc::default(),
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

    /// How long the database may keep a request waiting, all tries together and what the work itself takes not counted: 1 s
    /// on PostgreSQL and 10 s on SQLite, where requests take turns. Then it is [`Error::TimedOut`]: the same key may ask
    /// again.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
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
    /// Somebody else executes it at present.
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
/// try tells whether it stands. Where that cannot be told by then, the error is
/// [`CommitUnknown`](steadfast_db::Error::CommitUnknown), and the same key may ask again.
///
/// SQLite gives a second request its turn after the first. PostgreSQL does not make it wait: it is
/// [`InFlight`](Outcome::InFlight).
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
pub async fn run<D, E, F>(db: &D, keyed: &Keyed, policy: &Policy, mut work: F) -> Result<Outcome, E>
where
    D: Backend,
    F: for<'t> FnMut(&'t mut Transaction<'static, D::Sql>) -> BoxFuture<'t, Result<Answer, E>> + Send,
    E: Classified + From<Error> + Send,
{
    policy.metrics::<D>().checked();
    let outcome = attempts(db, keyed, policy, policy.patience::<D>(), &mut work, Plainly).await?;
    policy.settled::<D>(&outcome);
    Ok(outcome)
}

impl Policy {
    /// The handles, made when it is known which database they are about.
    fn metrics<D: Backend>(&self) -> &Metrics {
        self.metrics.get_or_init(|| Metrics::new(D::NAME))
    }

    fn patience<D: Backend>(&self) -> Patience {
        Patience::new(self.limit.unwrap_or(D::LIMIT).saturating_sub(LAST_LOOK))
    }

    fn settled<D: Backend>(&self, outcome: &Outcome) {
        let metrics = self.metrics::<D>();
        match outcome {
            Outcome::Executed(answer) if !answer.rolls_back() => metrics.kept(self.ttl),
            Outcome::Replayed(answer) => metrics.decided(&Decision::Replay(Arc::clone(answer))),
            Outcome::Gone(answer) => metrics.decided(&Decision::Gone(Arc::clone(answer))),
            Outcome::InFlight => metrics.decided(&Decision::InFlight),
            Outcome::Held => metrics.decided(&Decision::Held),
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

/// A try whose commit gave no clear reply.
struct Doubt {
    /// What it would have answered.
    answer: Answer,
    /// What came in place of a reply.
    error: Arc<steadfast_db::Error>,
}

/// Tries until it is settled. `commit` is an argument so that a test can lose its reply.
async fn attempts<D, E, F, C>(
    db: &D,
    keyed: &Keyed,
    policy: &Policy,
    mut patience: Patience,
    work: &mut F,
    commit: C,
) -> Result<Outcome, E>
where
    D: Backend,
    F: for<'t> FnMut(&'t mut Transaction<'static, D::Sql>) -> BoxFuture<'t, Result<Answer, E>> + Send,
    E: Classified + From<Error> + Send,
    C: Commit,
{
    let claim = policy.claim(keyed, Owner::draw()?);
    let mut doubt = None;
    let mut overtaken = false;
    let mut attempts = policy.retry.begin();
    loop {
        let error = match attempt(db, &claim, policy, &mut patience, work, &commit, &mut doubt).await {
            Ok(Some(outcome)) => return Ok(outcome),
            // Somebody else was faster, and the next look sees what became of it.
            Ok(None) if !overtaken => {
                overtaken = true;
                continue;
            }
            Ok(None) => Error::Overtaken.into(),
            Err(error) => error,
        };
        let again = !patience.is_over() && patience.wait(attempts.again(error.kind())).await.unwrap_or(false);
        if !again {
            return match doubt {
                None => Err(error),
                Some(doubt) => after_all(db, &claim, doubt).await.map_err(E::from),
            };
        }
    }
}

/// The last word on a commit whose reply was lost: its record is there, or it may still come.
async fn after_all<D: Backend>(db: &D, claim: &Claim, doubt: Doubt) -> Result<Outcome, Error> {
    match Patience::new(LAST_LOOK).wait(db.look_up(claim.id)).await {
        Ok(Ok(Some(record))) if record.owner == claim.owner => Ok(Outcome::Executed(doubt.answer)),
        _ => Err(Error::Db(doubt.error)),
    }
}

/// What a transaction came to before its end.
enum Ready {
    /// Effects and record are written.
    ToCommit(Answer),
    /// There is nothing to keep.
    ToRollBack(Outcome),
    /// The record turned out to be somebody else's.
    Overtaken,
}

/// One transaction. `None` where somebody else was faster: nothing was committed.
async fn attempt<D, E, F, C>(
    db: &D,
    claim: &Claim,
    policy: &Policy,
    patience: &mut Patience,
    work: &mut F,
    commit: &C,
    doubt: &mut Option<Doubt>,
) -> Result<Option<Outcome>, E>
where
    D: Backend,
    F: for<'t> FnMut(&'t mut Transaction<'static, D::Sql>) -> BoxFuture<'t, Result<Answer, E>> + Send,
    E: Classified + From<Error> + Send,
    C: Commit,
{
    let mut tx = patience.wait(db.begin()).await?.map_err(Error::from)?;
    let ended = match prepare::<D, E, F>(&mut tx, claim, policy, patience, work, doubt.as_ref()).await {
        Ok(Ready::ToCommit(answer)) => return committed(tx, answer, patience, commit, doubt).await,
        Ok(Ready::ToRollBack(outcome)) => Ok(Some(outcome)),
        Ok(Ready::Overtaken) => Ok(None),
        Err(error) => Err(error),
    };
    // Until it is done the key would look as if it were in flight.
    drop(patience.wait(tx::roll_back(tx)).await);
    ended
}

/// The commit of what was written.
async fn committed<DB, E, C>(
    tx: Transaction<'static, DB>,
    answer: Answer,
    patience: &mut Patience,
    commit: &C,
    doubt: &mut Option<Doubt>,
) -> Result<Option<Outcome>, E>
where
    DB: sqlx::Database,
    E: From<Error>,
    C: Commit,
{
    // A reply that does not come in time is lost.
    let committed = patience.wait(commit.commit(tx)).await;
    if let Err(error) = committed.unwrap_or_else(|_| Err(steadfast_db::Error::CommitUnknown(unanswered()))) {
        let error = Arc::new(error);
        if matches!(*error, steadfast_db::Error::CommitUnknown(_)) {
            *doubt = Some(Doubt { answer, error: Arc::clone(&error) });
        }
        return Err(Error::Db(error).into());
    }
    Ok(Some(Outcome::Executed(answer)))
}

/// As if the connection had broken.
fn unanswered() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Look-up first, effects, record last.
async fn prepare<D, E, F>(
    tx: &mut Transaction<'static, D::Sql>,
    claim: &Claim,
    policy: &Policy,
    patience: &mut Patience,
    work: &mut F,
    doubt: Option<&Doubt>,
) -> Result<Ready, E>
where
    D: Backend,
    F: for<'t> FnMut(&'t mut Transaction<'static, D::Sql>) -> BoxFuture<'t, Result<Answer, E>> + Send,
    E: From<Error> + Send,
{
    let (alone, seen) = patience.wait(D::enter(tx, claim.id)).await??;
    if let (Some(record), Some(doubt)) = (&seen, doubt)
        && record.owner == claim.owner
    {
        return Ok(Ready::ToRollBack(Outcome::Executed(doubt.answer.clone())));
    }
    let (decision, change) = decision::claim(seen.as_ref(), claim, policy.clock.now());
    let change = match (settle(decision), doubt) {
        (Err(outcome), _) => return Ok(Ready::ToRollBack(outcome)),
        (Ok(()), _) if alone => change,
        // The server still has the transaction whose commit it did not answer: whether it stands is not decided yet.
        (Ok(()), Some(doubt)) => return Err(Error::Db(Arc::clone(&doubt.error)).into()),
        (Ok(()), None) => return Ok(Ready::ToRollBack(Outcome::InFlight)),
    };
    let begun = Instant::now();
    let answer = match work(tx).await {
        Ok(answer) => answer,
        Err(error) => {
            // Whoever has waited for work that failed does not wait as long again for its end.
            patience.spend(begun.elapsed());
            return Err(error);
        }
    };
    if answer.rolls_back() {
        return Ok(Ready::ToRollBack(Outcome::Executed(answer)));
    }
    match done(change, claim, policy, &answer) {
        Some(change) if patience.wait(D::write(tx, claim.id, &change)).await?? => Ok(Ready::ToCommit(answer)),
        // Effects without a record must not be committed.
        _ => Ok(Ready::Overtaken),
    }
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
    fn commit<Sql: sqlx::Database>(
        &self,
        tx: Transaction<'static, Sql>,
    ) -> impl Future<Output = Result<(), steadfast_db::Error>> + Send;
}

struct Plainly;

impl Commit for Plainly {
    async fn commit<Sql: sqlx::Database>(&self, tx: Transaction<'static, Sql>) -> Result<(), steadfast_db::Error> {
        tx.commit().await.map_err(steadfast_db::Error::of_commit)
    }
}

#[cfg(test)]
mod tests;
