//! The transactional form under HTTP: the layer looks the key up and ends replays there; the handler does its work by
//! [`Transactional::run`].

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use sqlx::Transaction;
use steadfast_core::{Classified, Clock};
use steadfast_db::{Db, tx};
use tower_layer::Layer;
use tower_service::Service;

use super::patience::Patience;
use super::{Backend, Keyed, Outcome, Plainly, Policy, attempts, settle};
use crate::admission::Admitted;
use crate::decision::{self, Prior};
use crate::future::ResponseFuture;
use crate::options::{Options, Scope, options};
use crate::record::Owner;
use crate::service::{Reply, guard};
use crate::{AnswerBody, Context, Error, respond};

/// The transactional form as a layer. Behind authentication and before the limiter, preconditions and the handler.
#[derive(Clone, Debug)]
pub struct TransactionalLayer<D = Db> {
    options: Options,
    policy: Policy,
    db: D,
}

impl<D: Backend> TransactionalLayer<D> {
    /// A layer for the route that `scope` names, whose effects and records lie in `db`: SQLite or PostgreSQL.
    pub fn new(db: D, clock: Arc<dyn Clock>, scope: Scope) -> Self {
        let policy = Policy::new(clock);
        policy.metrics::<D>();
        Self { options: Options::new(scope), policy, db }
    }

    /// How often the transaction is tried, and with which pauses.
    #[must_use]
    pub fn retry(mut self, retry: tx::Policy) -> Self {
        self.policy.retry = retry;
        self
    }

    /// How long the database may keep a request waiting, see [`Policy::limit`].
    #[must_use]
    pub fn limit(mut self, limit: std::time::Duration) -> Self {
        self.policy = self.policy.limit(limit);
        self
    }

    options!();
}

#[derive(Debug)]
pub(crate) struct Shared<D> {
    options: Options,
    policy: Policy,
    db: D,
}

impl<S, D: Backend> Layer<S> for TransactionalLayer<D> {
    type Service = TransactionalService<S, D>;

    fn layer(&self, inner: S) -> TransactionalService<S, D> {
        let Self { options, policy, db } = self.clone();
        let policy = Policy {
            ttl: options.ttl,
            answer_limit: options.answer_limit,
            replay_headers: options.replay_headers.clone(),
            ..policy
        };
        TransactionalService { inner, shared: Arc::new(Shared { options, policy, db }) }
    }
}

/// The service that [`TransactionalLayer`] puts before another.
#[derive(Debug)]
pub struct TransactionalService<S, D = Db> {
    inner: S,
    shared: Arc<Shared<D>>,
}

impl<S: Clone, D> Clone for TransactionalService<S, D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S, B, R, D> Service<Request<B>> for TransactionalService<S, D>
where
    D: Backend,
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body + From<Bytes> + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: Body + Send + 'static,
{
    type Response = Response<AnswerBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        let shared = Arc::clone(&self.shared);
        guard(
            inner,
            request,
            Arc::clone(&self.shared),
            |shared| &shared.options,
            move |inner, admitted, reply| serve(shared, inner, admitted, reply),
        )
    }
}

async fn serve<S, B, R, D>(shared: Arc<Shared<D>>, mut inner: S, mut admitted: Admitted, reply: Reply<R, S::Error>)
where
    D: Backend,
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: From<Bytes> + Send + 'static,
    R: Body + Send + 'static,
{
    shared.policy.metrics::<D>().checked();
    let keyed = Keyed {
        id: admitted.id,
        scope: Arc::clone(&admitted.scope),
        subject: Arc::clone(&admitted.subject),
        fingerprint: admitted.fingerprint,
        login: admitted.login.clone(),
        forgotten: admitted.forgotten,
    };
    let problem = |problem| respond::problem(&shared.options, problem).map(AnswerBody::whole);
    let mut patience = shared.policy.patience::<D>();
    let answer = match look_up(&shared, &keyed, &mut patience).await {
        Err(error) => Ok(problem(respond::unavailable(&error))),
        Ok(Some(outcome)) => {
            shared.policy.settled::<D>(&outcome);
            Ok(answer(&shared.options, &keyed, outcome).map(AnswerBody::whole))
        }
        Ok(None) => {
            let mut request = admitted.request::<B>();
            request.extensions_mut().insert(Context::new(keyed.id, admitted.key.clone(), 1, Prior::None));
            request.extensions_mut().insert(Transactional(Arc::new(Inner {
                shared: Arc::clone(&shared),
                keyed,
                patience,
            })));
            // The transaction that a panic or an error cuts off is rolled back: the same key may simply ask again.
            AssertUnwindSafe(async { Ok(inner.call(request).await?.map(AnswerBody::passed)) })
                .catch_unwind()
                .await
                .unwrap_or_else(|_| {
                    tracing::error!("a handler behind a transactional idempotency layer panicked");
                    Ok(problem(respond::panicked()))
                })
        }
    };
    drop(reply.send(answer));
}

/// What stands there already, read without any lock, so that replays cost no limit and meet no precondition. Whether it
/// is to be executed is decided again inside the transaction.
async fn look_up<D: Backend>(
    shared: &Shared<D>,
    keyed: &Keyed,
    patience: &mut Patience,
) -> Result<Option<Outcome>, Error> {
    let Some(seen) = patience.wait(shared.db.look_up(keyed.id)).await?? else { return Ok(None) };
    let claim = shared.policy.claim(keyed, Owner::from_bytes([0; 16]));
    let (decision, _) = decision::claim(Some(&seen), &claim, shared.policy.clock.now());
    Ok(settle(decision).err())
}

/// The transaction of a request, in its extensions; `Transactional<steadfast_db::postgres::Db>` on PostgreSQL.
pub struct Transactional<D = Db>(Arc<Inner<D>>);

struct Inner<D> {
    shared: Arc<Shared<D>>,
    keyed: Keyed,
    /// What the look-up has left of it.
    patience: Patience,
}

impl<D: Backend> Transactional<D> {
    /// Executes `work` and the record of this request in one transaction, as [`run`](crate::run) does, and gives the
    /// response to answer with: the work's own, or the stored one where somebody else was faster.
    pub async fn run<E, F>(&self, mut work: F) -> Result<Response<Full<Bytes>>, E>
    where
        F: for<'t> FnMut(&'t mut Transaction<'static, D::Sql>) -> BoxFuture<'t, Result<crate::Answer, E>> + Send,
        E: Classified + From<Error> + Send,
    {
        let Inner { shared, keyed, patience } = &*self.0;
        let outcome = attempts(&shared.db, keyed, &shared.policy, *patience, &mut work, Plainly).await?;
        shared.policy.settled::<D>(&outcome);
        Ok(answer(&shared.options, keyed, outcome).map(Full::new))
    }
}

impl<D> Clone for Transactional<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D> fmt::Debug for Transactional<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactional").field("keyed", &self.0.keyed).finish_non_exhaustive()
    }
}

fn answer(options: &Options, keyed: &Keyed, outcome: Outcome) -> Response<Bytes> {
    let problem = match outcome {
        Outcome::Executed(answer) => return respond::response(&answer),
        Outcome::Replayed(answer) => return respond::replay(options, &answer),
        Outcome::Gone(answer) => return respond::gone(options, &answer),
        Outcome::Mismatch => respond::mismatch(),
        Outcome::InFlight => respond::in_flight(),
        Outcome::Held => respond::held(keyed.id, false),
        Outcome::Foreign => respond::foreign(keyed.id),
    };
    respond::problem(options, problem)
}
