//! The hot-row lane: many callers' changes of the same counted rows become one.
//!
//! A row can be changed once for each time that its lock is held, a round trip and a flush; only combining multiplies that.
//! Callers hand what they want to the lane and wait. One task takes what has gathered while the former batch was committed
//! (at most [`Bounds::batch`]; there is no timer, the flush is the clock), decides in the order of arrival on what it knows of
//! the rows, and has everything committed in one transaction by the service's own [`Commit`]. Change *i* owns version *v + i*
//! of a row, so that events, projections and entity tags see what they would have seen without the lane.
//!
//! | what happens | what follows |
//! |---|---|
//! | another process has changed a row | nothing was written; the rows are read and everything is decided again |
//! | a want is known already (a repeat, or one that was given up before it came) | it is handed back, the others go on |
//! | the transaction fails by a conflict, a deadlock for one | as if a row had changed |
//! | one want cannot be committed, whenever it is tried | the batch is halved until that one is alone; it gets the error |
//! | the database is away | all of the batch get the error; nobody knows more than that |
//! | the answer to a commit is lost | all of the batch get [`steadfast_db::Error::CommitUnknown`]: each looks up its own record |
//! | the queue is full | [`Error::Full`]: 503 with `Retry-After` |
//! | the process ends in order | [`Lane::close`]: nothing more is taken, what waits is committed |
//! | the process dies | the open batch is rolled back by the database; each caller asks again under its own key |
//!
//! Several processes may each have a lane for the same rows: they conflict, and are right. The lane knows no outbox and no
//! saga: what is written beside the rows is the service's.

mod decide;
mod heat;
mod task;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use steadfast_core::Classified;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use decide::{Amounts, Seen, Sum, Verdict};
pub use heat::{Heat, Warm};

use crate::Key;
use crate::metrics::LaneMetrics;

/// What a lane takes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Wants in one batch.
    pub batch: usize,
    /// Wants that wait; above it a caller is turned away.
    pub queue: usize,
    /// How often a batch is decided again because another process was faster.
    pub attempts: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { batch: 256, queue: 4_096, attempts: 32 }
    }
}

/// One want of a batch, as it was decided.
#[derive(Debug)]
pub struct Decided<'a, P> {
    /// What the caller has brought.
    pub payload: &'a P,
    /// What it wants.
    pub amounts: &'a Amounts,
    /// What becomes of it.
    pub verdict: &'a Verdict,
}

/// How the commit of a batch went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Everything stands.
    All,
    /// A row was not at its expected version: nothing was written.
    Stale,
    /// These wants, by their place in the batch, are known already: nothing was written.
    Known(Vec<usize>),
}

/// The service's half: its tables and statements.
#[async_trait]
pub trait Commit: Send + Sync + 'static {
    /// What a caller brings along, such as whose reservation it is.
    type Payload: Send + Sync + 'static;
    /// Its error; shared by all wants of a batch.
    type Error: Classified + Send + Sync + 'static;

    /// What kind of row it is: the label `entity` of the lane's metrics.
    fn entity(&self) -> &'static str;

    /// The rows as they are now, in the order of the keys.
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Seen>>, Self::Error>;

    /// Writes one batch in one transaction: for each [`Sum`], in their order, the row changed by `amount` and its version by
    /// `count`, if it is at `expected`; and for each want, refused ones too, whatever remembers it. The rows should be changed
    /// last, so that their locks are held for the flush alone.
    async fn commit(&self, sums: &[Sum], batch: &[Decided<'_, Self::Payload>]) -> Result<Committed, Self::Error>;
}

/// Why a want got no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// Too many wait.
    #[error("too many changes of these rows wait: ask again in a moment")]
    Full,
    /// The lane has been closed.
    #[error("the lane is closed")]
    Closed,
    /// The want is known already: what became of it stands in the database.
    #[error("the change is known already")]
    Known,
    /// Other processes were faster, time and again.
    #[error("other processes have changed these rows again and again: ask again in a moment")]
    Contended,
    /// The batch could not be read or written. Where the cause is a lost answer to a commit, it may stand.
    #[error("the change could not be written")]
    Failed(Arc<E>),
}

struct Want<C: Commit> {
    amounts: Amounts,
    payload: C::Payload,
    answer: oneshot::Sender<Result<Verdict, Error<C::Error>>>,
}

/// A lane for the rows of one place. Cheap to clone; its task ends with the last clone, and what has not been committed by
/// then is as if it had never been asked for. [`close`](Self::close) it first.
pub struct Lane<C: Commit> {
    wants: mpsc::Sender<Want<C>>,
    metrics: LaneMetrics,
    task: Arc<Task>,
}

struct Task {
    closing: CancellationToken,
    running: TaskTracker,
    /// Held for its end.
    _handle: AbortOnDropHandle<()>,
}

impl<C: Commit> Lane<C> {
    /// Starts the lane's task.
    pub fn open(commit: C, bounds: Bounds) -> Self {
        let (wants, queue) = mpsc::channel(bounds.queue.max(1));
        let metrics = LaneMetrics::new(commit.entity());
        let (closing, running) = (CancellationToken::new(), TaskTracker::new());
        let task = running.spawn(task::run(commit, bounds, queue, closing.clone(), metrics.clone()));
        running.close();
        Self { wants, metrics, task: Arc::new(Task { closing, running, _handle: AbortOnDropHandle::new(task) }) }
    }

    /// Hands a want to the lane and waits for its verdict, which is durable when it comes. A caller that goes away meanwhile
    /// does not take its want back.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn take(&self, amounts: Amounts, payload: C::Payload) -> Result<Verdict, Error<C::Error>> {
        let (answer, verdict) = oneshot::channel();
        self.wants.try_send(Want { amounts, payload, answer }).map_err(|error| {
            self.metrics.turned_away.increment(1);
            match error {
                mpsc::error::TrySendError::Full(_) => Error::Full,
                mpsc::error::TrySendError::Closed(_) => Error::Closed,
            }
        })?;
        verdict.await.map_err(|_| Error::Closed)?
    }

    /// Takes nothing more, brings to its end what waits, callers that have gone away included, and returns when that is
    /// committed.
    pub async fn close(&self) {
        self.task.closing.cancel();
        self.task.running.wait().await;
    }
}

impl<C: Commit> Clone for Lane<C> {
    fn clone(&self) -> Self {
        Self { wants: self.wants.clone(), metrics: self.metrics.clone(), task: Arc::clone(&self.task) }
    }
}

impl<C: Commit> fmt::Debug for Lane<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("room", &self.wants.capacity()).finish_non_exhaustive()
    }
}
