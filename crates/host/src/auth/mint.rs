//! Tokens for development, demonstrations and tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;
use steadfast_core::Clock;

use super::key::check_secret;
use crate::Error;

/// Mints tokens under a shared secret. Where users are real, tokens come from an identity provider instead.
#[derive(Clone)]
pub struct Minter {
    header: Header,
    key: EncodingKey,
    issuer: String,
    audience: String,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Minter {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").field("issuer", &self.issuer).field("audience", &self.audience).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    permissions: Vec<String>,
}

impl Minter {
    /// Mints in the name of `issuer` for `audience` with the key `kid`, a secret of at least 32 bytes.
    pub fn new(kid: &str, secret: &[u8], issuer: &str, audience: &str, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        check_secret(kid, secret)?;
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(jsonwebtoken::Algorithm::HS256) };
        let key = EncodingKey::from_secret(secret);
        Ok(Self { header, key, issuer: issuer.to_owned(), audience: audience.to_owned(), clock })
    }

    /// A token that lets `subject` use `permissions` for `lifetime`.
    pub fn mint(
        &self,
        subject: &str,
        permissions: impl IntoIterator<Item = impl Into<String>>,
        lifetime: Duration,
    ) -> String {
        let now = self.clock.now();
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: subject,
            iat: now.as_millis().div_euclid(1000),
            exp: (now + lifetime).as_millis().div_euclid(1000),
            permissions: permissions.into_iter().map(Into::into).collect(),
        };
        // An HMAC over strings and numbers cannot fail; an empty token is refused everywhere.
        encode(&self.header, &claims, &self.key).unwrap_or_default()
    }
}
