//! The bearer that the orchestrator mints for each call: a compact JWS (RFC 7515) with HMAC-SHA-256 under a key that one
//! participant shares with the orchestrator. It is good for one call of one step, for a minute.
//!
//! ```
//! use steadfast_core::{Op, SagaId, StepKey, Timestamp};
//! use steadfast_saga::participant::token::{self, Claims, Key};
//!
//! let key = Key::new(b"thirty-two bytes or more of noise")?;
//! let step = StepKey { saga: SagaId::derive("till-7", "place_order", "1"), step: "process_payment".into(), op: Op::Action };
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let text = token::mint(&key, &Claims::new("steadfast", "payment", "till-7", "payment.process", &step), now);
//! let claims = token::verify(&key, &text, "payment", now)?;
//! assert_eq!(claims.key, step.to_string());
//! assert!(token::verify(&key, &text, "inventory", now).is_err());
//! # Ok::<(), token::Error>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use steadfast_core::{StepKey, Timestamp};

/// How long a token is good for.
pub const LIFETIME: Duration = Duration::from_mins(1);

/// How far the clocks of orchestrator and participant may differ.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// The shortest key, in bytes: that of the hash (RFC 7518, 3.2).
pub const MIN_KEY: usize = 32;

/// `{"alg":"HS256","typ":"JWT"}`, the only header that is minted.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// No honest token is longer.
const MAX_LENGTH: usize = 4096;

/// Why a token is not accepted, or a key not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key is too short to be a secret.
    #[error("the key has {0} bytes, and must have at least 32: generate one with `openssl rand -base64 48`")]
    ShortKey(usize),
    /// It is no compact JWS, or a required claim is missing.
    #[error(
        "the token is not well formed: three parts and the claims iss, aud, act, scope, jti, iat and exp are required"
    )]
    Malformed,
    /// Its header names another algorithm than the one that is pinned.
    #[error("the token's algorithm is not HS256, which is the only one accepted")]
    Algorithm,
    /// It was not signed with this key, or was changed.
    #[error("the token's signature does not match: do orchestrator and participant share the same key?")]
    Signature,
    /// It is for another participant.
    #[error("the token is for another audience: does the orchestrator know this participant by this name?")]
    Audience,
    /// It is too old.
    #[error("the token has expired: check the clocks of orchestrator and participant")]
    Expired,
    /// It was minted in the future.
    #[error("the token was issued in the future: check the clocks of orchestrator and participant")]
    Early,
    /// It is good for longer than any that is minted.
    #[error("the token is good for more than 60 seconds")]
    Lifetime,
}

/// The key that one participant shares with the orchestrator.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl Key {
    /// A key of these bytes, at least [`MIN_KEY`] of them.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() < MIN_KEY {
            return Err(Error::ShortKey(bytes.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// What a token says.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims<'a> {
    /// The orchestrator.
    pub issuer: Cow<'a, str>,
    /// The participant.
    pub audience: Cow<'a, str>,
    /// The user on whose behalf the saga runs.
    pub user: Cow<'a, str>,
    /// The permission that the step needs.
    pub scope: Cow<'a, str>,
    /// The step key in text, which is also the call's `Idempotency-Key`.
    pub key: Cow<'a, str>,
}

impl<'a> Claims<'a> {
    /// The claims for one call of this step.
    pub fn new(issuer: &'a str, audience: &'a str, user: &'a str, scope: &'a str, key: &StepKey) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            user: user.into(),
            scope: scope.into(),
            key: key.to_string().into(),
        }
    }
}

impl fmt::Debug for Claims<'_> {
    /// Without the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("scope", &self.scope)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    act: Cow<'a, str>,
    #[serde(borrow)]
    scope: Cow<'a, str>,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    crit: Option<serde_json::Value>,
}

/// A token for one call, good from now on for [`LIFETIME`].
pub fn mint(key: &Key, claims: &Claims<'_>, now: Timestamp) -> String {
    let iat = now.as_millis().div_euclid(1000);
    let payload = Payload {
        iss: Cow::Borrowed(&claims.issuer),
        aud: Cow::Borrowed(&claims.audience),
        act: Cow::Borrowed(&claims.user),
        scope: Cow::Borrowed(&claims.scope),
        jti: Cow::Borrowed(&claims.key),
        iat,
        exp: iat + seconds(LIFETIME),
    };
    // Strings and numbers always have a form in JSON.
    let json = serde_json::to_vec(&payload).unwrap_or_default();
    let mut text = String::with_capacity(HEADER.len() + 48 + json.len().div_ceil(3) * 4);
    text.push_str(HEADER);
    text.push('.');
    BASE64.encode_string(json, &mut text);
    let tag = hmac::sign(&key.0, text.as_bytes());
    text.push('.');
    BASE64.encode_string(tag.as_ref(), &mut text);
    text
}

/// What the token says, if it was minted under this key for this audience and is good at this moment. The signature is
/// compared in constant time, and before anything that the token says is believed.
pub fn verify(key: &Key, text: &str, audience: &str, now: Timestamp) -> Result<Claims<'static>, Error> {
    if text.len() > MAX_LENGTH {
        return Err(Error::Malformed);
    }
    let (signed, tag) = text.rsplit_once('.').ok_or(Error::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Error::Malformed)?;
    check_header(header)?;
    let tag = BASE64.decode(tag).map_err(|_| Error::Malformed)?;
    hmac::verify(&key.0, signed.as_bytes(), &tag).map_err(|_| Error::Signature)?;
    let json = BASE64.decode(payload).map_err(|_| Error::Malformed)?;
    let payload: Payload<'_> = serde_json::from_slice(&json).map_err(|_| Error::Malformed)?;
    if payload.aud != audience {
        return Err(Error::Audience);
    }
    check_times(payload.iat, payload.exp, now.as_millis().div_euclid(1000))?;
    Ok(Claims {
        issuer: payload.iss.into_owned().into(),
        audience: payload.aud.into_owned().into(),
        user: payload.act.into_owned().into(),
        scope: payload.scope.into_owned().into(),
        key: payload.jti.into_owned().into(),
    })
}

/// The algorithm is pinned; extensions that must be understood (`crit`) are not.
fn check_header(header: &str) -> Result<(), Error> {
    if header == HEADER {
        return Ok(());
    }
    let json = BASE64.decode(header).map_err(|_| Error::Malformed)?;
    let header: Header<'_> = serde_json::from_slice(&json).map_err(|_| Error::Malformed)?;
    if header.alg != "HS256" {
        Err(Error::Algorithm)
    } else if header.crit.is_some() {
        Err(Error::Malformed)
    } else {
        Ok(())
    }
}

fn check_times(iat: i64, exp: i64, now: i64) -> Result<(), Error> {
    let leeway = seconds(LEEWAY);
    if exp.saturating_sub(iat) > seconds(LIFETIME) || exp < iat {
        return Err(Error::Lifetime);
    }
    if now > exp.saturating_add(leeway) {
        return Err(Error::Expired);
    }
    if iat > now.saturating_add(leeway) {
        return Err(Error::Early);
    }
    Ok(())
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use steadfast_core::{Op, SagaId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 32]).unwrap()
    }

    fn claims() -> Claims<'static> {
        let key = StepKey { saga: SagaId::derive("a", "b", "c"), step: "pay".into(), op: Op::Action };
        Claims::new("steadfast", "payment", "till-7", "payment.process", &key)
    }

    /// Signs any header and payload, as an attacker with the key, or a careless orchestrator, might.
    fn signed(key: &Key, header: &str, payload: &str) -> String {
        let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
        let tag = hmac::sign(&key.0, text.as_bytes());
        format!("{text}.{}", BASE64.encode(tag))
    }

    #[test]
    fn the_constant_header_says_what_it_should() {
        assert_eq!(BASE64.decode(HEADER).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
    }

    #[test]
    fn what_was_minted_is_verified() {
        assert_eq!(verify(&key(1), &mint(&key(1), &claims(), NOW), "payment", NOW).unwrap(), claims());
    }

    #[test]
    fn forged_tokens_are_refused() {
        let good = mint(&key(1), &claims(), NOW);
        let check =
            |text: &str, expected: Error| assert_eq!(verify(&key(1), text, "payment", NOW), Err(expected), "{text}");
        assert_eq!(verify(&key(1), &good, "inventory", NOW), Err(Error::Audience));
        check(&mint(&key(2), &claims(), NOW), Error::Signature);
        let payload = good.split('.').nth(1).unwrap();
        let body = String::from_utf8(BASE64.decode(payload).unwrap()).unwrap();
        check(&signed(&key(1), r#"{"alg":"none"}"#, &body), Error::Algorithm);
        check(&signed(&key(1), r#"{"alg":"hs256"}"#, &body), Error::Algorithm);
        check(&signed(&key(1), r#"{"alg":"HS256","crit":["x"]}"#, &body), Error::Malformed);
        check(&format!("{}.{payload}.", BASE64.encode(r#"{"alg":"none"}"#)), Error::Algorithm);
        check(&format!("{HEADER}.{payload}."), Error::Signature);
        check(&format!("{HEADER}.{payload}"), Error::Malformed);
        check("", Error::Malformed);
        check(&"a.".repeat(4000), Error::Malformed);
        for missing in ["iss", "aud", "act", "scope", "jti", "iat", "exp"] {
            let mut value: serde_json::Value = serde_json::from_str(&body).unwrap();
            value.as_object_mut().unwrap().remove(missing);
            check(&signed(&key(1), r#"{"alg":"HS256"}"#, &value.to_string()), Error::Malformed);
        }
        check(&signed(&key(1), r#"{"alg":"HS256"}"#, &body.replacen('{', r#"{"jti":"other","#, 1)), Error::Malformed);
    }

    #[test]
    fn every_changed_or_missing_character_is_noticed() {
        let good = mint(&key(1), &claims(), NOW);
        for at in 0..good.len() {
            assert!(verify(&key(1), &good[..at], "payment", NOW).is_err(), "cut at {at}");
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(verify(&key(1), std::str::from_utf8(&bytes).unwrap(), "payment", NOW).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn a_token_is_good_for_a_minute_and_the_leeway() {
        let text = mint(&key(1), &claims(), NOW);
        let at =
            |seconds: i64| verify(&key(1), &text, "payment", Timestamp::from_millis(NOW.as_millis() + seconds * 1000));
        assert!(at(65).is_ok());
        assert_eq!(at(66), Err(Error::Expired));
        assert!(at(-5).is_ok());
        assert_eq!(at(-6), Err(Error::Early));
        let body = |iat: i64, exp: i64| {
            format!(r#"{{"iss":"s","aud":"payment","act":"u","scope":"p","jti":"j","iat":{iat},"exp":{exp}}}"#)
        };
        let now = NOW.as_millis() / 1000;
        for (iat, exp) in [(now, now + 61), (now, i64::MAX), (i64::MIN, now), (now + 1, now)] {
            let text = signed(&key(1), r#"{"alg":"HS256"}"#, &body(iat, exp));
            assert_eq!(verify(&key(1), &text, "payment", NOW), Err(Error::Lifetime), "{iat} {exp}");
        }
    }

    #[test]
    fn short_keys_are_refused_and_keys_do_not_show() {
        assert_eq!(Key::new(&[0; 31]).unwrap_err(), Error::ShortKey(31));
        assert_eq!(format!("{:?}", key(7)), "Key(hidden)");
        assert!(!format!("{:?}", claims()).contains("till-7"));
    }
}
