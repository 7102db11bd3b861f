//! Tokens: minting those of users, checking those that the orchestrator mints for its calls. Both are compact JWS with
//! HMAC-SHA-256, written here anew, as a service in another language would.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// A bearer of a user for the API.
pub(crate) fn mint(secret: &[u8], kid: &str, claims: &Value) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT", "kid": kid });
    let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(tag))
}

/// The claims of a bearer that was minted under `secret`.
pub(super) fn verified(secret: &[u8], token: &str) -> Option<Value> {
    let (signed, tag) = token.rsplit_once('.')?;
    let tag = BASE64.decode(tag).ok()?;
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes(), &tag).ok()?;
    let (header, claims) = signed.split_once('.')?;
    let header: Value = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
    if header["alg"] != "HS256" {
        return None;
    }
    serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_minted_under_the_key_is_believed() {
        let token = mint(b"one", "k", &json!({ "sub": "a" }));
        assert_eq!(verified(b"one", &token).unwrap()["sub"], "a");
        assert_eq!(verified(b"two", &token), None);
        assert_eq!(verified(b"one", &token[1..]), None);
        assert_eq!(verified(b"one", ""), None);
    }
}
