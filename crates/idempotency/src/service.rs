//! The leased form as a tower service.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::admission::{Admitted, admit, concerns};
use crate::execution::Execution;
use crate::future::ResponseFuture;
use crate::layer::Shared;
use crate::options::Options;
use crate::{AnswerBody, respond};

/// The service that [`IdempotencyLayer`](crate::IdempotencyLayer) puts before another.
#[derive(Clone, Debug)]
pub struct Idempotency<S> {
    pub(crate) inner: S,
    pub(crate) shared: Arc<Shared>,
}

impl<S, B, R> Service<Request<B>> for Idempotency<S>
where
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

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready, and a fresh one in its place.
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        let shared = Arc::clone(&self.shared);
        guard(
            inner,
            request,
            Arc::clone(&self.shared),
            |shared| &shared.options,
            move |inner, admitted, reply| Execution::new(shared, admitted).serve(inner, reply),
        )
    }
}

/// The sender of a response to whoever still waits for it.
pub(crate) type Reply<R, E> = tokio::sync::oneshot::Sender<Result<Response<AnswerBody<R>>, E>>;

/// What both forms do around an execution: pass what does not concern them, refuse what cannot be looked up, and run
/// the rest in a task of its own.
pub(crate) fn guard<S, B, R, X, F>(
    mut inner: S,
    request: Request<B>,
    shared: Arc<X>,
    options: impl Fn(&X) -> &Options + Send + 'static,
    execute: impl FnOnce(S, Admitted, Reply<R, S::Error>) -> F + Send + 'static,
) -> ResponseFuture<R, S::Error>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: Send + 'static,
    X: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    if !concerns(request.method()) {
        let response = inner.call(request);
        return ResponseFuture::new(async move { Ok(response.await?.map(AnswerBody::passed)) });
    }
    ResponseFuture::new(async move {
        let options = options(&shared);
        let admitted = match admit(options, request).await {
            Ok(admitted) => admitted,
            Err(problem) => return Ok(respond::problem(options, problem).map(AnswerBody::whole)),
        };
        let (reply, answer) = tokio::sync::oneshot::channel();
        let execution = execute(inner, admitted, reply);
        options.drain.spawn(tracing::Instrument::in_current_span(execution));
        match answer.await {
            Ok(answer) => answer,
            // The task ends without a reply only when the runtime is shut down beneath it.
            Err(_) => Ok(respond::problem(options, respond::panicked()).map(AnswerBody::whole)),
        }
    })
}
