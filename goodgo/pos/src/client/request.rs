//! What is asked.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use http_body_util::Full;
use serde::Serialize;
use steadfast::core::header::IDEMPOTENCY_KEY;

use super::Error;

/// A request that can be sent any number of times.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    method: Method,
    authority: String,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl std::fmt::Debug for Request {
    /// Without headers and body: they hold tokens and personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} http://{}{}", self.method, self.authority, self.path)
    }
}

impl Request {
    /// Asks `base`, such as `http://127.0.0.1:8081`, for `path`.
    pub fn get(base: &str, path: impl Into<String>) -> Self {
        let authority = base.strip_prefix("http://").unwrap_or(base).trim_end_matches('/').to_owned();
        Self { method: Method::GET, authority, path: path.into(), headers: vec![], body: Bytes::new() }
    }

    /// Posts JSON.
    pub fn post(base: &str, path: impl Into<String>, body: &impl Serialize) -> Self {
        Self { method: Method::POST, ..Self::get(base, path) }.json(body)
    }

    /// Puts JSON.
    pub fn put(base: &str, path: impl Into<String>, body: &impl Serialize) -> Self {
        Self { method: Method::PUT, ..Self::get(base, path) }.json(body)
    }

    /// Replaces the body.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        // What is sent here has string keys only, so it always serializes; an empty body would be refused.
        self.body = serde_json::to_vec(body).unwrap_or_default().into();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// In the name of whom the token says.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// One key for one intent.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header(IDEMPOTENCY_KEY, format!("\"{key}\""))
    }

    /// Where it goes: host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// As hyper wants it.
    pub(super) fn to_http(&self) -> Result<http::Request<Full<Bytes>>, Error> {
        let mut request = http::Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json");
        if self.method != Method::GET {
            request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request
            .body(Full::new(self.body.clone()))
            .map_err(|source| Error::Request { authority: self.authority.clone(), source })
    }

    /// As it goes over the wire, for a client that writes only a part of it.
    pub(super) fn to_bytes(&self) -> (String, &[u8]) {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            self.method,
            self.path,
            self.authority,
            self.body.len()
        );
        for (name, value) in &self.headers {
            let _infallible = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        (head, &self.body)
    }
}

/// A name as one segment of a path: everything but RFC 3986's unreserved characters is escaped.
pub fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_holds_no_delimiter() {
        assert_eq!(segment("85123A"), "85123A");
        assert_eq!(segment("BANK CHARGES/1?ü"), "BANK%20CHARGES%2F1%3F%C3%BC");
    }

    #[test]
    fn debug_shows_no_token() {
        let request = Request::post("http://127.0.0.1:1/", "/v1/orders", &1).bearer("secret");
        assert_eq!(format!("{request:?}"), "POST http://127.0.0.1:1/v1/orders");
    }
}
