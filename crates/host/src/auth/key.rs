//! Keys that tokens are checked with. Each is for one algorithm, whatever a token's header says.

use std::fmt;

use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use crate::Error;
use crate::config::Secret;

/// The algorithms that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256; who checks could also mint, so it is for development and for one's own services.
    Hs256,
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA with SHA-256.
    Rs256,
}

impl Algorithm {
    pub(super) fn of_jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
        }
    }
}

/// A key with its id and its algorithm.
#[derive(Clone)]
pub struct Key {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl fmt::Debug for Key {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    /// A shared secret of at least 32 bytes.
    pub fn hs256(kid: impl Into<String>, secret: &[u8]) -> Result<Self, Error> {
        let kid = kid.into();
        check_secret(&kid, secret)?;
        Ok(Self { kid, algorithm: Algorithm::Hs256, decoding: DecodingKey::from_secret(secret) })
    }

    /// An Ed25519 public key: `x` of its JWK (RFC 8037), in base64url.
    pub fn ed_dsa(kid: impl Into<String>, x: &str) -> Result<Self, Error> {
        Self::public(kid.into(), Algorithm::EdDsa, DecodingKey::from_ed_components(x))
    }

    /// A P-256 public key: `x` and `y` of its JWK, in base64url.
    pub fn es256(kid: impl Into<String>, x: &str, y: &str) -> Result<Self, Error> {
        Self::public(kid.into(), Algorithm::Es256, DecodingKey::from_ec_components(x, y))
    }

    /// An RSA public key: `n` and `e` of its JWK, in base64url.
    pub fn rs256(kid: impl Into<String>, n: &str, e: &str) -> Result<Self, Error> {
        Self::public(kid.into(), Algorithm::Rs256, DecodingKey::from_rsa_components(n, e))
    }

    fn public(
        kid: String,
        algorithm: Algorithm,
        decoding: Result<DecodingKey, jsonwebtoken::errors::Error>,
    ) -> Result<Self, Error> {
        match decoding {
            Ok(decoding) => Ok(Self { kid, algorithm, decoding }),
            Err(error) => {
                Err(Error::Key { kid, fault: format!("its numbers must be base64url as in a JSON Web Key ({error})") })
            }
        }
    }
}

pub(super) fn check_secret(kid: &str, secret: &[u8]) -> Result<(), Error> {
    if secret.len() >= 32 {
        return Ok(());
    }
    Err(Error::Key {
        kid: kid.to_owned(),
        fault: format!(
            "a secret must have at least 32 bytes and this has {}: generate one with `openssl rand -base64 48`",
            secret.len()
        ),
    })
}

/// A key in the configuration.
///
/// ```toml
/// [[auth.keys]]
/// kid = "dev"
/// algorithm = "hs256"
/// secret = { file = "dev.key" }
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Its id, as tokens name it (`kid`).
    pub kid: String,
    /// The one algorithm that it is for.
    pub algorithm: KeyKind,
    /// For `hs256`.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// For `eddsa` and `es256`.
    #[serde(default)]
    pub x: Option<String>,
    /// For `es256`.
    #[serde(default)]
    pub y: Option<String>,
    /// For `rs256`.
    #[serde(default)]
    pub n: Option<String>,
    /// For `rs256`.
    #[serde(default)]
    pub e: Option<String>,
}

/// An algorithm's name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum KeyKind {
    /// HMAC with SHA-256.
    Hs256,
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA with SHA-256.
    Rs256,
}

impl KeyConfig {
    /// The key.
    pub fn build(&self) -> Result<Key, Error> {
        let need = |name: &str, value: &Option<String>| {
            value.clone().ok_or_else(|| Error::Key {
                kid: self.kid.clone(),
                fault: format!("{name} is missing: this algorithm needs it, as in a JSON Web Key"),
            })
        };
        match self.algorithm {
            KeyKind::Hs256 => {
                let secret = self.secret.as_ref().ok_or_else(|| Error::Key {
                    kid: self.kid.clone(),
                    fault: "secret is missing: hs256 needs one, as in secret = { file = \"dev.key\" }".to_owned(),
                })?;
                Key::hs256(&self.kid, secret.expose().as_bytes())
            }
            KeyKind::EdDsa => Key::ed_dsa(&self.kid, &need("x", &self.x)?),
            KeyKind::Es256 => Key::es256(&self.kid, &need("x", &self.x)?, &need("y", &self.y)?),
            KeyKind::Rs256 => Key::rs256(&self.kid, &need("n", &self.n)?, &need("e", &self.e)?),
        }
    }
}
