//! An answer as it is stored and replayed.

use std::fmt;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, LAST_MODIFIED, LINK, LOCATION,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// Headers that are replayed without being named. `Content-Length` is reckoned anew. `Content-Encoding` is in the
/// list because a stored body would be noise without it; the layer asks the handler for none.
const REPLAYED: [HeaderName; 9] = [
    CONTENT_TYPE,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    CONTENT_ENCODING,
    LOCATION,
    ETAG,
    LAST_MODIFIED,
    LINK,
    CACHE_CONTROL,
];

/// Headers that belong to one exchange, connection or client, and are never replayed, not even where they are named.
const NEVER: [&str; 15] = [
    "set-cookie",
    "set-cookie2",
    "date",
    "age",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "traceparent",
    "tracestate",
];

/// What a tombstone keeps of the headers.
const ENTOMBED: [HeaderName; 2] = [LOCATION, ETAG];

/// An answer: status, headers and body.
///
/// ```
/// use http::{StatusCode, header};
/// use steadfast_idempotency::Answer;
///
/// let answer = Answer::json(StatusCode::CREATED, &serde_json::json!({"id": "o-1"}))?
///     .with_header(header::LOCATION, http::HeaderValue::from_static("/v1/orders/o-1"));
/// assert_eq!(answer.status, StatusCode::CREATED);
/// # Ok::<(), steadfast_idempotency::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, in order.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; `None` when it was not kept, or is no longer: a tombstone.
    pub body: Option<Bytes>,
    /// Whether the transactional form rolls back and keeps nothing, see [`Answer::not_final`].
    pub(crate) provisional: bool,
}

impl Answer {
    /// An answer with an empty body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Some(Bytes::new()), provisional: false }
    }

    /// An answer whose body is `value` in JSON.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Self, crate::Error> {
        let body = serde_json::to_vec(value).map_err(crate::Error::Json)?;
        Ok(Self::new(status)
            .with_header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .with_body(Bytes::from(body)))
    }

    /// An answer that is a problem.
    pub fn problem(problem: &steadfast_core::Problem) -> Self {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let answer = Self::new(status)
            .with_header(CONTENT_TYPE, HeaderValue::from_static(steadfast_core::problem::CONTENT_TYPE))
            .with_body(Bytes::from(problem.to_json()));
        match problem.retry_after {
            Some(seconds) => answer.with_header(http::header::RETRY_AFTER, HeaderValue::from(seconds)),
            None => answer,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// In the transactional form: roll back, answer this, and keep nothing, so that the same key may try again.
    #[must_use]
    pub fn not_final(mut self) -> Self {
        self.provisional = true;
        self
    }

    /// The value of the first header of this name.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// As an HTTP response; without a body where none was kept.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.unwrap_or_default()));
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }

    /// What is kept of a response: the status, the headers on the list, the body.
    pub(crate) fn keep(status: StatusCode, headers: &HeaderMap, body: Bytes, named: &[HeaderName]) -> Self {
        let kept = headers.iter().filter(|(name, _)| is_replayed(name, named));
        Self {
            status,
            headers: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
            body: Some(body),
            provisional: false,
        }
    }

    /// The same answer with only the headers that are replayed, and as a tombstone when its body is above `limit`.
    pub(crate) fn for_storage(&self, named: &[HeaderName], limit: usize) -> Self {
        let mut kept = self.clone();
        kept.headers.retain(|(name, _)| is_replayed(name, named));
        if kept.body.as_ref().is_some_and(|body| body.len() > limit) { kept.entombed() } else { kept }
    }

    /// The tombstone of an answer that is too large, or has no end: status, `Location` and `ETag`.
    pub(crate) fn entombed(mut self) -> Self {
        self.headers.retain(|(name, _)| ENTOMBED.contains(name));
        self.body = None;
        self
    }

    /// The tombstone of an answer whose login has ended: the status alone.
    pub(crate) fn forgotten(&self) -> Self {
        Self { status: self.status, headers: Vec::new(), body: None, provisional: false }
    }
}

fn is_replayed(name: &HeaderName, named: &[HeaderName]) -> bool {
    let text = name.as_str();
    let never = NEVER.contains(&text) || text.starts_with("ratelimit") || text.starts_with("x-ratelimit");
    REPLAYED.contains(name) || (named.contains(name) && !never)
}

impl fmt::Debug for Answer {
    /// Without the content of headers and body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Answer")
            .field("status", &self.status.as_u16())
            .field("headers", &names)
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .finish_non_exhaustive()
    }
}
