//! What a request asks for, as a value that can be compared: fingerprint version 1.
//!
//! Method, path and query as sent, chosen headers, and the body. Two requests are the same when their bytes are, or when
//! their bodies have the same canonical form. A false mismatch costs the client a 422; a false match costs money. So a
//! form is canonical only where every reader must read it alike, and in all other cases only the bytes count.

mod form;
mod json;
mod multipart;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method};
use steadfast_core::sha256;

/// The version that [`Fingerprint::to_bytes`] writes.
const VERSION: u8 = 1;

/// A fingerprint, version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    raw: [u8; 32],
    canonical: Option<[u8; 32]>,
}

/// The parts of a request that count.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, as sent.
    pub target: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// Those of them that count.
    pub chosen: &'a [HeaderName],
    /// The body.
    pub body: &'a [u8],
}

impl Fingerprint {
    /// The fingerprint of an HTTP request.
    pub fn of(request: &Request<'_>) -> Self {
        let headers = chosen(request);
        let digest = |kind: &[u8], body: &[u8]| {
            sha256(&[kind, request.method.as_str().as_bytes(), request.target.as_bytes(), &headers, body])
        };
        let canonical = canonical(request).map(|(kind, body)| digest(kind, &body));
        Self { raw: digest(b"raw", request.body), canonical }
    }

    /// The fingerprint of a request that did not come over HTTP: JSON where it is JSON, bytes otherwise.
    pub fn of_data(data: &[u8]) -> Self {
        let canonical = json::canonical(data).map(|text| sha256(&[b"json", text.as_bytes()]));
        Self { raw: sha256(&[b"raw", data]), canonical }
    }

    /// Whether both are fingerprints of the same request.
    pub fn matches(&self, other: &Self) -> bool {
        self.raw == other.raw || (self.canonical.is_some() && self.canonical == other.canonical)
    }

    /// As it is stored: the version, then one digest or two.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(65);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.raw);
        bytes.extend(self.canonical.iter().flatten());
        bytes
    }

    /// From stored bytes; `None` when they are none, or of a version this program does not know.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, digests) = bytes.split_first()?;
        let (raw, canonical) = digests.split_at_checked(32)?;
        let raw = raw.try_into().ok()?;
        match canonical {
            _ if *version != VERSION => None,
            [] => Some(Self { raw, canonical: None }),
            canonical => Some(Self { raw, canonical: Some(canonical.try_into().ok()?) }),
        }
    }
}

/// The chosen headers with their values, each with its length before it.
fn chosen(request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for name in request.chosen {
        let values = request.headers.get_all(name);
        put(&mut out, name.as_str().as_bytes());
        out.extend((values.iter().count() as u64).to_be_bytes());
        values.iter().for_each(|value| put(&mut out, value.as_bytes()));
    }
    out
}

/// Appends a part with its length before it, so that parts cannot run together.
fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend((part.len() as u64).to_be_bytes());
    out.extend_from_slice(part);
}

/// The kind and the canonical form of the body, where it has one.
fn canonical(request: &Request<'_>) -> Option<(&'static [u8], Vec<u8>)> {
    if request.body.is_empty() || request.headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let mut types = request.headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else { return None };
    let content_type = content_type.to_str().ok()?;
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let essence = essence.trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-www-form-urlencoded" => Some((b"form", form::canonical(request.body)?)),
        "multipart/form-data" => Some((b"multipart", multipart::canonical(parameters, request.body)?)),
        "application/json" => Some((b"json", json::canonical(request.body)?.into_bytes())),
        suffixed if suffixed.starts_with("application/") && suffixed.ends_with("+json") => {
            Some((b"json", json::canonical(request.body)?.into_bytes()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(target: &str, content_type: &'static str, body: &[u8]) -> Fingerprint {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Fingerprint::of(&Request { method: &Method::POST, target, headers: &headers, chosen: &[], body })
    }

    #[test]
    fn the_same_json_written_differently_is_the_same_request() {
        let first = of("/o", "application/json", br#"{"b": [1, 2.50], "a": "x/y"}"#);
        assert!(first.matches(&of("/o", "application/json; charset=utf-8", b"{\"a\":\"x\\/y\",\n\"b\":[1,2.50]}")));
        assert!(!first.matches(&of("/o", "application/json", br#"{"b": [1, 2.5], "a": "x/y"}"#)));
        assert!(!first.matches(&of("/o?x=1", "application/json", br#"{"b": [1, 2.50], "a": "x/y"}"#)));
        assert!(!first.matches(&of("/o", "text/plain", b"{\"a\":\"x/y\",\"b\":[1,2.50]}")));
    }

    #[test]
    fn a_body_that_readers_would_read_differently_counts_by_its_bytes() {
        for (one, other) in [
            (&br#"{"a":1,"a":2}"#[..], &br#"{"a":1, "a":2}"#[..]),
            (br#"["\ud800"]"#, br#"[ "\ud800"]"#),
            (b"[1", b"[ 1"),
        ] {
            assert!(of("/", "application/json", one).matches(&of("/", "application/json", one)));
            assert!(!of("/", "application/json", one).matches(&of("/", "application/json", other)));
        }
    }

    #[test]
    fn only_chosen_headers_count() {
        let name = HeaderName::from_static("x-currency");
        let with = |value: Option<&'static str>, chosen: &[HeaderName]| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(&name, HeaderValue::from_static(value));
            }
            Fingerprint::of(&Request { method: &Method::POST, target: "/", headers: &headers, chosen, body: b"" })
        };
        assert!(with(Some("EUR"), &[]).matches(&with(Some("GBP"), &[])));
        let chosen = std::slice::from_ref(&name);
        assert!(!with(Some("EUR"), chosen).matches(&with(Some("GBP"), chosen)));
        assert!(!with(Some(""), chosen).matches(&with(None, chosen)));
    }

    #[test]
    fn stored_bytes_read_back_and_carry_their_version() {
        for fingerprint in [of("/", "application/json", b"{}"), of("/", "text/plain", b"{}")] {
            assert_eq!(fingerprint.to_bytes()[0], 1);
            assert_eq!(Fingerprint::from_bytes(&fingerprint.to_bytes()), Some(fingerprint));
        }
        assert_eq!(Fingerprint::from_bytes(&[2; 33]), None);
        assert_eq!(Fingerprint::from_bytes(&[1; 34]), None);
        assert_eq!(Fingerprint::from_bytes(&[]), None);
    }
}
