//! Checking tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;
use steadfast_core::{Clock, Principal, Problem, problem};

use super::{Key, KeyConfig};
use crate::Error;
use crate::problem::Reply;

/// How far the issuer's clock may be from ours.
const LEEWAY: Duration = Duration::from_secs(30);

/// No honest token is longer.
const MAX_LENGTH: usize = 8 * 1024;

/// Whose tokens are accepted, as the configuration says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who issues them (`iss`).
    pub issuer: String,
    /// Whom they must be for (`aud`).
    pub audience: String,
    /// What they may be signed with.
    pub keys: Vec<KeyConfig>,
}

/// Checks tokens; cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: BTreeMap<String, (Key, Validation)>,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    nbf: Option<i64>,
    #[serde(default)]
    permissions: Vec<String>,
}

impl Verifier {
    /// Accepts tokens of `issuer` for `audience`, signed with one of the keys.
    pub fn new(
        issuer: &str,
        audience: &str,
        keys: impl IntoIterator<Item = Key>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let mut by_kid = BTreeMap::new();
        for key in keys {
            let mut validation = Validation::new(key.algorithm.of_jwt());
            validation.set_issuer(&[issuer]);
            validation.set_audience(&[audience]);
            validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
            // Checked against our own clock below.
            validation.validate_exp = false;
            validation.validate_nbf = false;
            let kid = key.kid.clone();
            if by_kid.insert(kid.clone(), (key, validation)).is_some() {
                return Err(Error::Key { kid, fault: "another key has the same kid: give each its own".to_owned() });
            }
        }
        Ok(Self(Arc::new(Inner { keys: by_kid, clock })))
    }

    /// As the configuration says.
    pub fn from_config(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let keys = config.keys.iter().map(KeyConfig::build).collect::<Result<Vec<_>, _>>()?;
        Self::new(&config.issuer, &config.audience, keys, clock)
    }

    /// The caller that the bearer in these headers speaks for.
    ///
    /// # Errors
    /// 401, with what is wrong, without anything that the token says.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (all.next(), all.next()) else {
            return Err(denied("one Authorization header with a bearer token is required"));
        };
        let text = value.to_str().map_err(|_| denied("the Authorization header is not text"))?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(denied("the Authorization header is not a bearer"));
        }
        self.verify(token.trim())
    }

    /// The caller that this token speaks for.
    ///
    /// # Errors
    /// 401, with what is wrong, without anything that the token says.
    pub fn verify(&self, token: &str) -> Result<Principal, Problem> {
        if token.len() > MAX_LENGTH {
            return Err(denied("the token is too long"));
        }
        let header = decode_header(token).map_err(|_| denied("the token is not well formed"))?;
        let (key, validation) = self.key(header.kid.as_deref())?;
        let claims = decode::<Claims>(token, &key.decoding, validation)
            .map_err(|error| denied(&format!("the token is not accepted: {error}")))?
            .claims;
        let now = self.0.clock.now().as_millis().div_euclid(1000);
        let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or(0);
        if now > claims.exp.saturating_add(leeway) {
            return Err(denied("the token has expired: get a new one"));
        }
        if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(leeway)) {
            return Err(denied("the token is not valid yet: is the issuer's clock right?"));
        }
        if claims.sub.is_empty() {
            return Err(denied("the token names nobody: its sub is empty"));
        }
        Ok(Principal::new(claims.sub, claims.permissions))
    }

    /// The key that a token names; where there is one key only, it need not.
    fn key(&self, kid: Option<&str>) -> Result<&(Key, Validation), Problem> {
        let found = match kid {
            Some(kid) => self.0.keys.get(kid),
            None if self.0.keys.len() == 1 => self.0.keys.values().next(),
            None => None,
        };
        found.ok_or_else(|| denied("the token's kid names no key that is configured here"))
    }
}

fn denied(detail: &str) -> Problem {
    problem::UNAUTHENTICATED.with(detail)
}

/// Middleware: puts the caller as [`Principal`] into the request's extensions, or answers 401.
///
/// ```no_run
/// # fn example(router: axum::Router, verifier: steadfast_host::auth::Verifier) -> axum::Router {
/// use axum::middleware::from_fn_with_state;
/// router.route_layer(from_fn_with_state(verifier, steadfast_host::auth::authenticate))
/// # }
/// ```
pub async fn authenticate(State(verifier): State<Verifier>, mut request: Request, next: Next) -> Response {
    match verifier.authenticate(request.headers()) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => Reply::from(problem).into_response(),
    }
}
