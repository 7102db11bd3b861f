//! Errors over HTTP: problem details (RFC 9457) with stable types. Each type has a page in `docs/reference/errors`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::ErrorKind;

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// The prefix of every type of ours.
pub const TYPE_PREFIX: &str = "https://steadfast.dev/problems/";

/// A problem (RFC 9457). `detail` names the field, the value's fault and the way out; it never holds a secret or
/// personal data.
///
/// ```
/// use steadfast_core::problem::{self, Problem};
///
/// let problem = problem::MISSING_KEY.with("the header Idempotency-Key is required: send a key of your own, one per intent");
/// assert_eq!(problem.status, 400);
/// assert!(problem.is(&problem::MISSING_KEY));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable URI: [`TYPE_PREFIX`] and the type's code.
    #[serde(rename = "type")]
    pub type_uri: Cow<'static, str>,
    /// The same for every problem of this type.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and the way out.
    pub detail: String,
    /// Further members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
    /// Seconds after which to ask again; travels as the header `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

impl Problem {
    /// Whether this problem is of that type.
    pub fn is(&self, kind: &Type) -> bool {
        self.type_uri.strip_prefix(TYPE_PREFIX) == Some(kind.code)
    }

    /// Adds a member.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Asks the client to wait.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The body.
    pub fn to_json(&self) -> Vec<u8> {
        // A problem is strings, numbers and JSON values: none of them can fail to serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A stable type of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    /// The last part of its URI and the name of its page.
    pub code: &'static str,
    /// Its default status.
    pub status: u16,
    /// Its title.
    pub title: &'static str,
}

impl Type {
    /// A problem of this type.
    pub fn with(&self, detail: impl Into<String>) -> Problem {
        Problem {
            type_uri: Cow::Owned(format!("{TYPE_PREFIX}{}", self.code)),
            title: Cow::Borrowed(self.title),
            status: self.status,
            detail: detail.into(),
            extra: Map::new(),
            retry_after: None,
        }
    }

    /// The full URI.
    pub fn uri(&self) -> String {
        format!("{TYPE_PREFIX}{}", self.code)
    }
}

macro_rules! types {
    ($($const:ident = $code:literal, $status:literal, $title:literal;)*) => {
        $(#[doc = $title] pub const $const: Type = Type { code: $code, status: $status, title: $title };)*

        /// Every type of problem that any part of the platform can answer with.
        pub const ALL: &[Type] = &[$($const),*];
    };
}

types! {
    // requests
    INVALID = "invalid-request", 400, "The request is not valid";
    TOO_LARGE = "too-large", 413, "The request is too large";
    UNSUPPORTED_MEDIA = "unsupported-media-type", 415, "The content type is not supported";
    UNAUTHENTICATED = "unauthenticated", 401, "No valid credentials";
    FORBIDDEN = "forbidden", 403, "Not permitted";
    NOT_FOUND = "not-found", 404, "Not found";
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "The method is not allowed here";
    CONFLICT = "conflict", 409, "In conflict with the present state";
    RATE_LIMITED = "rate-limited", 429, "Too many requests";
    UNAVAILABLE = "unavailable", 503, "Not available at present";
    INTERNAL = "internal", 500, "An error of the service";
    // idempotency
    MISSING_KEY = "idempotency-key-missing", 400, "The Idempotency-Key header is required";
    INVALID_KEY = "idempotency-key-invalid", 400, "The Idempotency-Key is not valid";
    IN_FLIGHT = "in-flight", 409, "A request with this key is being processed";
    MISMATCH = "idempotency-mismatch", 422, "The key was used for another request";
    OUTCOME_UNKNOWN = "outcome-unknown", 409, "The outcome of the first request is not known";
    RESULT_UNAVAILABLE = "result-unavailable", 410, "The stored result is no longer available";
    // locking
    PRECONDITION_REQUIRED = "precondition-required", 428, "If-Match is required";
    VERSION_MISMATCH = "version-mismatch", 412, "Version mismatch - data was modified by another user";
    INVALID_ETAG = "etag-invalid", 400, "The entity tag was not issued here";
    VERSION_IN_BODY = "version-in-body", 400, "A version is not accepted from the client";
    // saga: participant
    VOIDED = "voided", 409, "The step was compensated before its action arrived";
    TOO_LATE = "too-late", 409, "The saga lies before the pruning horizon";
    ACTION_NOT_FOUND = "action-not-found", 409, "The action to compensate is not known here";
    BUSINESS_REFUSAL = "refused", 422, "Refused by a rule of the business";
    // saga: orchestrator
    UNKNOWN_DEFINITION = "unknown-definition", 404, "No such saga definition";
    INVALID_DEFINITION = "invalid-definition", 422, "The saga definition is not valid";
    INVALID_INPUT = "invalid-input", 422, "The input does not match the definition's schema";
    COMMIT_POINT_PASSED = "commit-point-passed", 409, "The saga can no longer be cancelled";
    OVERLOADED = "overloaded", 429, "Too many sagas in flight";
}

/// The answer to an error that no more specific type describes.
pub fn of_kind(kind: ErrorKind) -> &'static Type {
    match kind {
        ErrorKind::Transient => &UNAVAILABLE,
        ErrorKind::Conflict => &CONFLICT,
        ErrorKind::Refused => &BUSINESS_REFUSAL,
        ErrorKind::Invalid => &INVALID,
        ErrorKind::Corrupt | ErrorKind::Bug => &INTERNAL,
    }
}
