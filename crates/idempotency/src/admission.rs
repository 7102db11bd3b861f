//! From a request to a claim: method, principal, key, body, fingerprint.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH};
use http::request::Parts;
use http::{Method, Request};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use steadfast_core::{Principal, Problem, problem};

use crate::fingerprint;
use crate::key::KeyError;
use crate::options::Options;
use crate::record::RecordId;
use crate::{Fingerprint, IdempotencyKey};

/// Whether a request with this method has an effect that must not happen twice.
pub(crate) fn concerns(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// A request that may be looked up.
pub(crate) struct Admitted {
    pub(crate) id: RecordId,
    pub(crate) scope: Arc<str>,
    pub(crate) subject: Arc<str>,
    pub(crate) key: IdempotencyKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) login: Option<Arc<str>>,
    /// Whether the answer must not be kept, since the login that it would end with is not known.
    pub(crate) forgotten: bool,
    parts: Parts,
    body: Bytes,
}

impl Admitted {
    /// The request for the handler. It is not asked for a content coding: the answer is kept as it is, and coded for each
    /// client by a layer before this one.
    pub(crate) fn request<B: From<Bytes>>(&mut self) -> Request<B> {
        let (mut parts, ()) = Request::new(()).into_parts();
        std::mem::swap(&mut parts, &mut self.parts);
        parts.headers.remove(ACCEPT_ENCODING);
        Request::from_parts(parts, B::from(std::mem::take(&mut self.body)))
    }
}

/// Reads the request as far as it takes to look it up, or says what is wrong with it. Nothing has been executed by then.
pub(crate) async fn admit<B>(options: &Options, request: Request<B>) -> Result<Admitted, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let Some(principal) = parts.extensions.get::<Principal>() else {
        return Err(problem::UNAUTHENTICATED
            .with("an idempotency key belongs to a user, and nobody is authenticated: send credentials"));
    };
    let subject: Arc<str> = principal.subject().into();
    let key = IdempotencyKey::from_headers(&parts.headers).map_err(refuse_key)?;
    let body = read(options.body_limit, &parts, body).await?;
    let fingerprint = Fingerprint::of(&fingerprint::Request {
        method: &parts.method,
        target: parts.uri.path_and_query().map_or("", |target| target.as_str()),
        headers: &parts.headers,
        chosen: &options.fingerprint_headers,
        body: &body,
    });
    let scope = options.scope.of(&parts.method);
    let login = options.login_of.as_ref().and_then(|login_of| login_of(&parts.extensions)).map(Into::into);
    Ok(Admitted {
        id: RecordId::derive(&scope, &subject, key.as_str()),
        scope,
        subject,
        key,
        fingerprint,
        forgotten: options.login_of.is_some() && login.is_none(),
        login,
        parts,
        body,
    })
}

fn refuse_key(error: KeyError) -> Problem {
    let of = if error == KeyError::Missing { &problem::MISSING_KEY } else { &problem::INVALID_KEY };
    of.with(error.to_string())
}

async fn read<B>(limit: usize, parts: &Parts, body: B) -> Result<Bytes, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large =
        || problem::TOO_LARGE.with(format!("the body is larger than {limit} bytes: send less, or in several requests"));
    let declared = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(problem::INVALID.with("the body broke off before its end: nothing was executed, send it again")),
    }
}
