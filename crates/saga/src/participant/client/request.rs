//! A call as a request.

use std::fmt::{self, Write};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use steadfast_core::{Knowledge, StepKey, Timestamp, header};
use tokio::time::Instant;

use super::config::Base;
use crate::participant::token::{self, Claims, Key};

/// Who issues the tokens.
const ISSUER: &str = "steadfast";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(header::IDEMPOTENCY_KEY);
const SAGA_ID: HeaderName = HeaderName::from_static(header::SAGA_ID);
const SAGA_STEP: HeaderName = HeaderName::from_static(header::SAGA_STEP);
const SAGA_ATTEMPT: HeaderName = HeaderName::from_static(header::SAGA_ATTEMPT);
const SAGA_STARTED: HeaderName = HeaderName::from_static(header::SAGA_STARTED);
const SAGA_EPOCH: HeaderName = HeaderName::from_static(header::SAGA_EPOCH);
const SAGA_ACTION: HeaderName = HeaderName::from_static(header::SAGA_ACTION);
const TRACEPARENT: HeaderName = HeaderName::from_static(header::TRACEPARENT);

const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, application/problem+json");
/// Without it a server or a proxy may take every encoding for welcome (RFC 9110, section 12.5.3).
const PLAIN: HeaderValue = HeaderValue::from_static("identity");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A call to a participant.
#[derive(Clone)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: Method,
    /// Path and query, below the base URL.
    pub path: &'a str,
    /// The body, JSON.
    pub body: Option<Bytes>,
    /// Which effect is asked for.
    pub key: &'a StepKey,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When the saga started.
    pub started: Timestamp,
    /// The owner's epoch.
    pub epoch: i64,
    /// On compensations: what is known of the action.
    pub knowledge: Option<Knowledge>,
    /// The user on whose behalf the saga runs.
    pub user: &'a str,
    /// The permission that the step needs.
    pub scope: &'a str,
    /// W3C trace context of the call's span.
    pub traceparent: Option<&'a str>,
    /// How long all of it may take.
    pub timeout: Duration,
    /// Ask by the participant's probe whether the action was done; method, path and body are then the probe's.
    pub probe: bool,
    /// The present moment.
    pub now: Timestamp,
    /// Asked when the call leaves, after its waits for a turn and for a connection: whether it still may.
    pub may_leave: &'a (dyn Fn() -> bool + Send + Sync),
}

impl fmt::Debug for Outgoing<'_> {
    /// Without the user and the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("key", &format_args!("{}", self.key))
            .field("attempt", &self.attempt)
            .field("knowledge", &self.knowledge)
            .field("timeout", &self.timeout)
            .field("probe", &self.probe)
            .finish_non_exhaustive()
    }
}

/// What a request is made of, for whichever base URL takes it.
pub(super) struct Draft<'a> {
    pub(super) participant: &'a str,
    pub(super) key: &'a Key,
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<Bytes>,
    pub(super) outgoing: &'a Outgoing<'a>,
    /// The moment of `outgoing.now`.
    pub(super) start: Instant,
}

impl Draft<'_> {
    /// The request to this base.
    pub(super) fn request(&self, base: &Base) -> Result<Request<Full<Bytes>>, String> {
        let uri = target(&base.prefix, self.path)?;
        let headers = self.headers(base)?;
        let mut request = Request::new(Full::new(self.body.clone().unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn headers(&self, base: &Base) -> Result<HeaderMap, String> {
        let call = self.outgoing;
        // All values of this call in one piece of memory. Writing to it cannot fail.
        let mut text = BytesMut::with_capacity(160);
        let _ = write!(text, "{}", call.key);
        let key = text.len();
        let _ = write!(text, "{}", call.attempt);
        let attempt = text.len();
        let _ = write!(text, "{}", call.started.as_millis());
        let started = text.len();
        let _ = write!(text, "{}", call.epoch);
        let epoch = text.len();
        let text = text.freeze();
        let op = call.key.op.as_str().len() + 1;
        let step = key - op - call.key.step.len();

        let mut headers = HeaderMap::with_capacity(13);
        headers.insert(HOST, base.host_header.clone());
        headers.insert(AUTHORIZATION, self.bearer(&text[..key])?);
        headers.insert(IDEMPOTENCY_KEY, value(text.slice(..key))?);
        headers.insert(SAGA_ID, value(text.slice(..step - 1))?);
        headers.insert(SAGA_STEP, value(text.slice(step..key - op))?);
        headers.insert(SAGA_ATTEMPT, value(text.slice(key..attempt))?);
        headers.insert(SAGA_STARTED, value(text.slice(attempt..started))?);
        headers.insert(SAGA_EPOCH, value(text.slice(started..epoch))?);
        if let Some(knowledge) = call.knowledge {
            headers.insert(SAGA_ACTION, HeaderValue::from_static(knowledge.as_str()));
        }
        // A trace that cannot be told is no reason not to call.
        if let Some(Ok(traceparent)) = call.traceparent.map(HeaderValue::from_str) {
            headers.insert(TRACEPARENT, traceparent);
        }
        headers.insert(ACCEPT, ACCEPTED);
        headers.insert(ACCEPT_ENCODING, PLAIN);
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        Ok(headers)
    }

    /// Minted when the call leaves: it may have waited for its turn for a good part of a token's life.
    fn bearer(&self, key: &[u8]) -> Result<HeaderValue, String> {
        let call = self.outgoing;
        let claims = Claims {
            issuer: ISSUER.into(),
            audience: self.participant.into(),
            user: call.user.into(),
            scope: call.scope.into(),
            key: String::from_utf8_lossy(key),
        };
        let token = token::mint(self.key, &claims, call.now + self.start.elapsed());
        let mut bearer = String::with_capacity(7 + token.len());
        bearer.push_str("Bearer ");
        bearer.push_str(&token);
        let mut value = value(Bytes::from(bearer))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn value(bytes: Bytes) -> Result<HeaderValue, String> {
    HeaderValue::from_maybe_shared(bytes).map_err(|_| "the step's name cannot stand in a header".to_owned())
}

/// Path and query below a base; nothing of it can lead to another host.
fn target(prefix: &str, path: &str) -> Result<Uri, String> {
    if !path.starts_with('/') {
        return Err("the path must begin with a slash".to_owned());
    }
    let whole: PathAndQuery = if prefix.is_empty() {
        path.try_into()
    } else {
        PathAndQuery::from_maybe_shared(Bytes::from([prefix, path].concat()))
    }
    .map_err(|error| format!("the path is not one: {error}"))?;
    Ok(Uri::from(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_its_base_and_never_a_host() {
        assert_eq!(target("", "/a?b=c").unwrap().to_string(), "/a?b=c");
        assert_eq!(target("/saga", "/a").unwrap().to_string(), "/saga/a");
        let sly = target("", "//evil.example/a").unwrap();
        assert_eq!((sly.host(), sly.path()), (None, "//evil.example/a"));
        for path in ["", "a", "http://evil.example/", "*", "@evil", "/a b", "/a\r\nHost: evil"] {
            assert!(target("", path).is_err(), "{path:?}");
        }
    }
}
