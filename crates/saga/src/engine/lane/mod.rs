//! The lane: group commit. Parts of many sagas become one append; who waits is told when it stands.
//!
//! A commit starts when the former has ended and somebody waits. It takes the parts for which somebody waits, the others
//! at a bound of rows, bytes or age. What is enqueued for a saga while a commit runs becomes one row of the next.
//!
//! | failure | what holds |
//! |---|---|
//! | the journal is away | the same rows are appended again until it is back; the listener hears of both |
//! | the acknowledgement of a commit is lost | the same |
//! | the lane is another's | nothing more is written; the task ends |
//! | one saga was moved to another lane | its row is not written and that is reported, the others are |
//! | one saga's row cannot be written | that saga is left out and reported, the others of its commit are written |
//! | the process dies | what was reported stands |

mod choice;
#[cfg(test)]
mod measure;
mod queue;
mod task;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steadfast_core::{Clock, SagaId, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::queue::Queue;
use self::task::Task;
use crate::Error;
use crate::journal::{self, Journal};
use crate::metrics::Metrics;

pub use choice::Bounds;
pub(crate) use queue::{Committed, Part, Target};

/// Who hears what became of the parts. Called from the lane's task, one call after the other; the next commit waits for
/// the return. May enqueue.
pub(crate) trait Listener: Send + Sync + 'static {
    /// A commit stands; one call with all sagas of it.
    fn committed(&self, commits: &[Committed]);

    /// Nothing more will be written: the lane is another process's, or its task has died. The last call.
    fn fenced(&self, error: &Error);

    /// The journal is away; the lane tries on by itself.
    fn failing(&self, error: &Error);

    /// The journal is back.
    fn recovered(&self);

    /// A row of this saga cannot be written, whenever it is tried; nothing more of it is. Its journal is as it was before,
    /// and the saga goes on from there when it is taken up again.
    fn stuck(&self, id: SagaId, error: &Error) {
        tracing::error!(saga.id = %id, %error, "the saga's entries cannot be written: it rests until it is taken up again");
    }
}

/// A journal's lane. Cheap to clone; the task behind it ends with [`close`](Self::close) or [`abort`](Self::abort), or
/// when it is fenced.
#[derive(Clone)]
pub(crate) struct Lane {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    /// To write what is here and end.
    closing: CancellationToken,
    /// To end at once.
    aborting: CancellationToken,
}

struct Shared {
    bounds: Bounds,
    queue: Mutex<Queue>,
    /// Something to look at.
    wake: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// All tickets below are durable.
    below: u64,
    /// Nothing more will be.
    stopped: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_stopped(&self) -> bool {
        self.progress.borrow().stopped
    }
}

impl Lane {
    /// Starts the lane's task.
    pub(crate) fn open(
        journal: Arc<dyn Journal>,
        owner: journal::Lane,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
        listener: Arc<dyn Listener>,
        metrics: Metrics,
    ) -> Self {
        let shared = Arc::new(Shared {
            bounds,
            queue: Mutex::default(),
            wake: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
        });
        let lane = Self {
            shared: Arc::clone(&shared),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            aborting: CancellationToken::new(),
        };
        let task = Task::new(shared, journal, owner, clock, listener, metrics, lane.closing.clone());
        lane.tasks.spawn(lane.aborting.clone().run_until_cancelled_owned(task.run()));
        lane
    }

    /// Takes entries for the journal; never blocks. What waits for the same saga already is extended: its entries, its
    /// head, its event.
    pub(crate) fn enqueue(&self, part: Part) {
        if self.shared.has_stopped() {
            return;
        }
        let (weight, now) = (queue::weigh(&part), Instant::now());
        if self.shared.queue().enqueue(part, weight, now, &self.shared.bounds) {
            self.shared.wake.notify_one();
        }
    }

    /// Makes a saga known that the journal has: its number, when it was started, and its last row.
    pub(crate) fn adopt(&self, id: SagaId, no: i64, started_at: Timestamp, seq: i64) {
        self.shared.queue().adopt(id, no, started_at, seq);
    }

    /// A saga leaves memory. What was enqueued for it is still written, but no longer reported.
    pub(crate) fn forget(&self, id: SagaId) {
        self.shared.queue().forget(id);
    }

    /// Sagas whose entries wait; at most those that are in memory, each once.
    pub(crate) fn depth(&self) -> usize {
        self.shared.queue().depth()
    }

    /// Waits until all that was enqueued before is durable and reported: `true`. `false` where nothing more will be written,
    /// and some of it may never be.
    pub(crate) async fn flush(&self) -> bool {
        let mut progress = self.shared.progress.subscribe();
        let target = self.shared.queue().force();
        self.shared.wake.notify_one();
        // The sender lives as long as this lane.
        let ended = progress.wait_for(|progress| progress.below >= target || progress.stopped).await;
        ended.is_ok_and(|progress| progress.below >= target)
    }

    /// Writes what is enqueued and ends. Where the journal is away, it ends without: as after a crash, the journal has a
    /// beginning of each saga's entries.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends at once, as a crash would.
    pub(crate) fn abort(&self) {
        self.aborting.cancel();
        self.tasks.close();
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("bounds", &self.shared.bounds)
            .field("depth", &self.depth())
            .finish_non_exhaustive()
    }
}
