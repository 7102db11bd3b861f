//! The tower layer around a service's saga routes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use steadfast::core::problem::{self, Problem};
use steadfast::core::{StepKey, header};
use tower_service::Service;

use super::{Body, Fault, Faults};

/// Puts [`Faulty`] around a service.
#[derive(Clone, Debug)]
pub struct Layer {
    faults: Faults,
}

impl Layer {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults }
    }
}

impl<S> tower_layer::Layer<S> for Layer {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, faults: self.faults.clone() }
    }
}

/// A service whose saga calls meet faults. Requests without a step key pass untouched.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S, B, R> Service<Request<B>> for Faulty<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<Body<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let fault = call_of(request.headers()).map_or(Fault::None, |(key, attempt)| self.faults.meet(&key, attempt));
        // The one that was polled ready is used; its clone waits for the next request.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            match fault {
                Fault::None => Ok(inner.call(request).await?.map(Body::Inner)),
                Fault::LostReply => {
                    let (mut head, _) = inner.call(request).await?.into_parts();
                    // Lengths and the like speak of the body that was.
                    head.headers = HeaderMap::new();
                    head.status = StatusCode::OK;
                    Ok(Response::from_parts(head, Body::Lost))
                }
                Fault::Late(late) => {
                    let answer = inner.call(request).await?;
                    tokio::time::sleep(late).await;
                    Ok(answer.map(Body::Inner))
                }
                Fault::Unavailable => Ok(refusal(&problem::UNAVAILABLE.with("turned away on purpose: ask again"))),
                Fault::Refused => {
                    Ok(refusal(&problem::BUSINESS_REFUSAL.with("this compensation is refused on purpose, for good")))
                }
            }
        })
    }
}

/// The call that these headers describe. They are believed: who forges them only meets a fault.
fn call_of(headers: &HeaderMap) -> Option<(StepKey, u32)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = text(header::IDEMPOTENCY_KEY)?.trim_matches('"').parse().ok()?;
    let attempt = text(header::SAGA_ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1);
    Some((key, attempt))
}

fn refusal<R>(problem: &Problem) -> Response<Body<R>> {
    let mut answer = Response::new(Body::Own(problem.to_json().into()));
    *answer.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    answer
}
