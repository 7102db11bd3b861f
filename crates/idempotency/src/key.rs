//! The key: as clients send it in the header `Idempotency-Key`, and as services derive one from what they mean to do.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use steadfast_core::{header, hex};

use crate::Error;

/// The longest key, in bytes.
const LONGEST: usize = 255;

/// The largest integer up to which every whole number has a double of its own.
const SAFE: f64 = 9_007_199_254_740_992.0;

/// A key that a client chose: one for each intent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The header is missing.
    #[error("the header Idempotency-Key is required: send a key of your own, one for each intent")]
    Missing,
    /// The header stands there more than once.
    #[error("the header Idempotency-Key stands there more than once: send one")]
    Repeated,
    /// The key has no characters.
    #[error("the Idempotency-Key is empty: send a key of your own, one for each intent")]
    Empty,
    /// The key is longer than 255 bytes.
    #[error("the Idempotency-Key is longer than {LONGEST} bytes: send a shorter one, such as a UUID or a hash")]
    TooLong,
    /// The value is neither a quoted string nor a bare key.
    #[error(
        "the Idempotency-Key is not one key: send \"key\" in quotes, or bare visible ASCII without quotes, commas and spaces"
    )]
    Malformed,
}

impl IdempotencyKey {
    /// A key of this text, as a caller without HTTP has it.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        match text.len() {
            0 => Err(KeyError::Empty),
            1..=LONGEST => Ok(Self(text.into())),
            _ => Err(KeyError::TooLong),
        }
    }

    /// The key of a request: one header, a quoted string (RFC 9651) or bare. `"k"` and `k` are the same key.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, KeyError> {
        let mut values = headers.get_all(header::IDEMPOTENCY_KEY).iter();
        match (values.next(), values.next()) {
            (None, _) => Err(KeyError::Missing),
            (Some(_), Some(_)) => Err(KeyError::Repeated),
            (Some(value), None) => Self::parse(value.as_bytes()),
        }
    }

    fn parse(value: &[u8]) -> Result<Self, KeyError> {
        let value = value.trim_ascii();
        match value.split_first() {
            None => Err(KeyError::Empty),
            Some((b'"', rest)) => Self::new(&unquote(rest)?),
            Some(_) => {
                let bare = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',');
                if !value.iter().all(bare) {
                    return Err(KeyError::Malformed);
                }
                // All of it is ASCII.
                Self::new(&String::from_utf8_lossy(value))
            }
        }
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The content of a quoted string whose opening quote has been read.
fn unquote(rest: &[u8]) -> Result<String, KeyError> {
    let mut text = String::with_capacity(rest.len());
    let mut bytes = rest.iter();
    loop {
        match bytes.next() {
            Some(b'"') => break,
            Some(b'\\') => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => text.push(char::from(*escaped)),
                _ => return Err(KeyError::Malformed),
            },
            Some(byte @ 0x20..=0x7e) => text.push(char::from(*byte)),
            _ => return Err(KeyError::Malformed),
        }
    }
    if bytes.as_slice().is_empty() { Ok(text) } else { Err(KeyError::Malformed) }
}

/// The key of an intent: SHA-256 over `{operation, userId, data}` in the canonical form of RFC 8785, in hexadecimal, so
/// that any language can derive the same.
///
/// Equal data is the same intent. Two orders that are both meant and happen to be equal need an intent id in `data`,
/// such as till and receipt number; without one the second is taken for a repeat of the first.
///
/// Whole numbers outside ±2^53 are refused, because readers of JSON disagree about them: send them as strings.
///
/// ```
/// use steadfast_idempotency::idempotency_key;
///
/// let data = serde_json::json!({"till": 7, "receipt": 1201, "total": "12.50"});
/// let key = idempotency_key("place_order", "user-1", &data)?;
/// assert_eq!(key.len(), 64);
/// assert_ne!(key, idempotency_key("place_order", "user-2", &data)?);
/// # Ok::<(), steadfast_idempotency::Error>(())
/// ```
pub fn idempotency_key(operation: &str, user: &str, data: &impl Serialize) -> Result<String, Error> {
    let data = serde_json::to_value(data).map_err(Error::Json)?;
    refuse_unsafe(&data, &mut String::new())?;
    let intent = serde_json::json!({ "operation": operation, "userId": user, "data": data });
    let canonical = serde_json_canonicalizer::to_vec(&intent).map_err(Error::Json)?;
    Ok(hex(digest::digest(&digest::SHA256, &canonical).as_ref()))
}

fn refuse_unsafe(value: &Value, path: &mut String) -> Result<(), Error> {
    let within = |path: &mut String, part: String, value: &Value| {
        let length = path.len();
        path.push_str(&part);
        refuse_unsafe(value, path)?;
        path.truncate(length);
        Ok(())
    };
    match value {
        Value::Number(number) => {
            let whole = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            // A larger one has become a double on its way and is whole, as every double of that size is.
            let safe = match whole {
                Some(magnitude) => magnitude <= 1 << 53,
                None => number.as_f64().is_some_and(|double| double.abs() <= SAFE),
            };
            if safe { Ok(()) } else { Err(Error::UnsafeNumber { path: path.clone(), number: number.to_string() }) }
        }
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| within(path, format!("[{index}]"), item))
        }
        Value::Object(members) => {
            members.iter().try_for_each(|(name, member)| within(path, format!(".{name}"), member))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn of(values: &[&[u8]]) -> Result<String, KeyError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
        }
        IdempotencyKey::from_headers(&headers).map(|key| key.as_str().to_owned())
    }

    #[test]
    fn quoted_and_bare_are_the_same_key() {
        assert_eq!(of(&[b"abc-1"]), Ok("abc-1".into()));
        assert_eq!(of(&[b"\"abc-1\""]), Ok("abc-1".into()));
        assert_eq!(of(&[b"  \"a, \\\"b\\\\\" "]), Ok("a, \"b\\".into()));
        assert_eq!(of(&["k".repeat(255).as_bytes()]).map(|key| key.len()), Ok(255));
    }

    #[test]
    fn what_is_not_one_key_is_refused() {
        assert_eq!(of(&[]), Err(KeyError::Missing));
        assert_eq!(of(&[b""]), Err(KeyError::Empty));
        assert_eq!(of(&[b"\"\""]), Err(KeyError::Empty));
        assert_eq!(of(&[b"a", b"a"]), Err(KeyError::Repeated));
        assert_eq!(of(&["k".repeat(256).as_bytes()]), Err(KeyError::TooLong));
        for value in [
            &b"a,b"[..],
            b"a, b",
            b"\"a\", \"b\"",
            b"\"a\",\"b\"",
            b"\"a",
            b"a\"",
            b"a b",
            b"\"a\";p=1",
            b"\"\\n\"",
            b"k\xc3\xa9",
            b"\"\xc3\xa9\"",
        ] {
            assert_eq!(of(&[value]), Err(KeyError::Malformed), "{value:?}");
        }
    }

    #[test]
    fn a_derived_key_is_the_documented_hash_and_ignores_the_order_of_members() {
        let expected =
            hex(digest::digest(&digest::SHA256, br#"{"data":{"a":1,"b":[1.5,"x"]},"operation":"pay","userId":"u"}"#)
                .as_ref());
        assert_eq!(idempotency_key("pay", "u", &json!({"b": [1.5, "x"], "a": 1.0})).unwrap(), expected);
        assert_ne!(idempotency_key("refund", "u", &json!({"b": [1.5, "x"], "a": 1})).unwrap(), expected);
    }

    #[test]
    fn numbers_that_readers_disagree_about_are_refused_with_their_place() {
        let safe = json!([9_007_199_254_740_992_u64, -9_007_199_254_740_992_i64, 0.1]);
        assert!(idempotency_key("o", "u", &safe).is_ok());
        for number in
            [json!(9_007_199_254_740_993_u64), json!(-9_007_199_254_740_993_i64), json!(1e20), json!(u64::MAX)]
        {
            let error = idempotency_key("o", "u", &json!({"order": {"lines": [1, number]}})).unwrap_err();
            assert!(error.to_string().starts_with("data.order.lines[1]: "), "{error}");
        }
    }
}
