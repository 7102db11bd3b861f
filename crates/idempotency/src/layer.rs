//! The leased form as a tower layer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use steadfast_core::Problem;
use tokio::sync::Semaphore;
use tower_layer::Layer;

use crate::metrics::Metrics;
use crate::options::{Options, Scope, options};
use crate::running::Running;
use crate::service::Idempotency;
use crate::{Answer, Context, Store};

/// How many claims without an answer are taken back at once.
const TAKING_BACK: usize = 1024;

/// What happens after an execution whose outcome nobody knows: a 5xx, a panic, a lease that is over.
#[derive(Clone)]
pub enum OnAmbiguous {
    /// The answer is stored and replayed, 5xx as it is. Where there is no answer, as after a crash, it is held.
    Store,
    /// Nothing is executed again: retries get 409 `outcome-unknown` until the record is resolved.
    Hold,
    /// It is executed again: for handlers that are idempotent themselves, as by [`Context::key`].
    Retry,
    /// The next request finds out first, see [`OnAmbiguous::recover`].
    Recover(Arc<Recover>),
}

/// Finds out what became of an execution.
pub type Recover = dyn Fn(Context) -> BoxFuture<'static, Recovered> + Send + Sync;

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// It took effect, and this is the answer.
    Executed(Answer),
    /// It did not: the handler is called.
    NotExecuted,
    /// Still nobody knows: 409 `outcome-unknown`, and the next request tries again.
    Unknown,
}

impl OnAmbiguous {
    /// Asks `recover` first, as by looking up [`Context::key`] where the effect would be.
    pub fn recover<F>(recover: impl Fn(Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Recovered> + Send + 'static,
    {
        Self::Recover(Arc::new(move |context| Box::pin(recover(context))))
    }

    /// Whether another request may take such a record over.
    pub(crate) fn takes_over(&self) -> bool {
        matches!(self, Self::Retry | Self::Recover(_))
    }
}

impl fmt::Debug for OnAmbiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "Store",
            Self::Hold => "Hold",
            Self::Retry => "Retry",
            Self::Recover(_) => "Recover",
        })
    }
}

/// Whether nothing new is begun at present, see [`IdempotencyLayer::refuse_new`].
#[derive(Clone)]
pub(crate) struct Refusal(Arc<dyn Fn() -> Option<Problem> + Send + Sync>);

impl Refusal {
    pub(crate) fn now(&self) -> Option<Problem> {
        (self.0)()
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusal")
    }
}

/// What a duplicate gets while the first is being executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// 409 with `Retry-After`, at once.
    Reject,
    /// The same answer, if it comes within this time; 409 otherwise.
    Wait(Duration),
}

/// The leased form: claims the key, calls the handler, stores its answer. For routes whose handler calls others, where no
/// transaction can span the work.
///
/// Behind authentication and before the limiter, preconditions and the handler. The handler runs in a task of its own:
/// a client that goes away does not stop it.
#[derive(Clone, Debug)]
pub struct IdempotencyLayer {
    options: Options,
    store: Arc<dyn Store>,
    on_ambiguous: OnAmbiguous,
    in_flight: InFlight,
    lease: Duration,
    fail_open: bool,
    refusal: Option<Refusal>,
    running: Running,
    metrics: Arc<Metrics>,
}

/// What the services of a layer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) on_ambiguous: OnAmbiguous,
    pub(crate) in_flight: InFlight,
    pub(crate) lease: Duration,
    pub(crate) fail_open: bool,
    pub(crate) refusal: Option<Refusal>,
    /// Bounds the claims that are taken back at once while the store is away.
    pub(crate) taking_back: Semaphore,
    pub(crate) running: Running,
    pub(crate) metrics: Arc<Metrics>,
}

impl IdempotencyLayer {
    /// A layer for the route that `scope` names: unknown outcomes are held, duplicates in flight rejected.
    pub fn new(store: Arc<dyn Store>, scope: Scope) -> Self {
        Self {
            options: Options::new(scope),
            metrics: Arc::new(Metrics::new(store.name())),
            store,
            on_ambiguous: OnAmbiguous::Hold,
            in_flight: InFlight::Reject,
            lease: Duration::from_secs(30),
            fail_open: false,
            refusal: None,
            running: Running::default(),
        }
    }

    /// What happens after an execution whose outcome nobody knows.
    #[must_use]
    pub fn on_ambiguous(mut self, policy: OnAmbiguous) -> Self {
        self.on_ambiguous = policy;
        self
    }

    /// What a duplicate gets while the first is being executed.
    #[must_use]
    pub fn in_flight(mut self, policy: InFlight) -> Self {
        self.in_flight = policy;
        self
    }

    /// How long a claim stands when its process has died: 30 s by default. It is renewed at a third of it.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Executes also where the store does not answer, without a record: a repeat is then executed again. For routes where
    /// to be away is worse than to be executed twice. By default such a request gets 503 and nothing is executed.
    #[must_use]
    pub fn fail_open(mut self) -> Self {
        self.fail_open = true;
        self
    }

    /// Asked before each request: while it answers a problem, as under overload, a key that the store does not know gets that
    /// problem. Nothing is claimed or executed for it, and the key stays free; a key that is known is answered as ever, so
    /// that whoever lost an answer learns it even then. Costs a look at the store, and only while there is a problem.
    #[must_use]
    pub fn refuse_new(mut self, refusal: impl Fn() -> Option<Problem> + Send + Sync + 'static) -> Self {
        self.refusal = Some(Refusal(Arc::new(refusal)));
        self
    }

    options!();
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Idempotency<S> {
        let layer = self.clone();
        Idempotency {
            inner,
            shared: Arc::new(Shared {
                options: layer.options,
                store: layer.store,
                on_ambiguous: layer.on_ambiguous,
                in_flight: layer.in_flight,
                lease: layer.lease,
                fail_open: layer.fail_open,
                refusal: layer.refusal,
                taking_back: Semaphore::new(TAKING_BACK),
                running: layer.running,
                metrics: layer.metrics,
            }),
        }
    }
}
