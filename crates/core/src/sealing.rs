//! Sealing: JWE in compact form (RFC 7516), each text under a content key of its own (`A256GCM`), which is wrapped by a
//! key of the ring (`A256KW`, RFC 3394). Any JOSE library that has the key reads it.
//!
//! The protected header names what a text is bound to (`sub`, the claim replicated as RFC 7519, 5.3 has it). It is
//! authenticated and compared when the text is opened, so a text that was moved to another place does not open there.
//! Length is not hidden.
//!
//! ```
//! use steadfast_core::sealing::Keyring;
//!
//! let ring = Keyring::new("2026-q1", [7; 32]);
//! let random = [42; 44]; // from a source fit for keys
//! let sealed = ring.seal(b"4111 1111", "order/1/card", random)?;
//! assert_eq!(ring.open(&sealed, "order/1/card")?, b"4111 1111");
//! assert!(ring.open(&sealed, "order/2/card").is_err());
//! # Ok::<(), steadfast_core::sealing::Error>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::{Classified, ErrorKind};

/// The length of a key.
pub const KEY_LEN: usize = 32;

/// How many random bytes one sealing takes: a content key and a nonce.
pub const RANDOM_LEN: usize = KEY_LEN + NONCE_LEN;

/// A wrapped key is longer by one block.
const WRAPPED_LEN: usize = KEY_LEN + 8;
const TAG_LEN: usize = 16;
const ALG: &str = "A256KW";
const ENC: &str = "A256GCM";

/// Why a text was not sealed or opened. Holds neither plain text nor keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It was sealed with a key that the ring does not have.
    #[error("sealed with the key {kid:?}, which the keyring does not have: add it as a former key")]
    UnknownKey {
        /// The key's name, as the text says it.
        kid: String,
    },
    /// It was changed, moved from where it was bound to, or sealed with another key of the same name.
    #[error("the sealed text was changed or moved, or the key of its name is another")]
    Tampered,
    /// It is no text of this form.
    #[error("not a sealed text: a compact JWE of A256KW and A256GCM is expected")]
    Malformed,
    /// More than one sealing may hold (2^36 bytes).
    #[error("too long to be sealed")]
    TooLong,
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownKey { .. } | Self::TooLong => ErrorKind::Invalid,
            Self::Tampered | Self::Malformed => ErrorKind::Corrupt,
        }
    }
}

/// The keys by name: one seals, all open.
#[derive(Clone)]
pub struct Keyring {
    current: String,
    key: [u8; KEY_LEN],
    former: BTreeMap<String, [u8; KEY_LEN]>,
}

impl fmt::Debug for Keyring {
    /// Names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let former: Vec<_> = self.former.keys().collect();
        f.debug_struct("Keyring").field("current", &self.current).field("former", &former).finish_non_exhaustive()
    }
}

/// The protected header. Whatever else one says (`zip`, `crit`) is not of this form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    enc: String,
    kid: String,
    sub: String,
}

impl Keyring {
    /// A ring with the key that seals.
    pub fn new(kid: impl Into<String>, key: [u8; KEY_LEN]) -> Self {
        Self { current: kid.into(), key, former: BTreeMap::new() }
    }

    /// With a former key, which only opens. A name that the ring has already keeps its key.
    #[must_use]
    pub fn with_former(mut self, kid: impl Into<String>, key: [u8; KEY_LEN]) -> Self {
        self.former.entry(kid.into()).or_insert(key);
        self
    }

    fn key(&self, kid: &str) -> Option<&[u8; KEY_LEN]> {
        if kid == self.current { Some(&self.key) } else { self.former.get(kid) }
    }

    /// Seals a text and binds it to `context`. `random` must come from a source fit for keys, and be fresh each time.
    ///
    /// # Errors
    /// [`Error::TooLong`] beyond what one content key may encrypt.
    pub fn seal(&self, plaintext: &[u8], context: &str, random: [u8; RANDOM_LEN]) -> Result<String, Error> {
        let (cek, nonce) = random.split_at(KEY_LEN);
        let header =
            Header { alg: ALG.to_owned(), enc: ENC.to_owned(), kid: self.current.clone(), sub: context.to_owned() };
        // A struct of strings always has a form in JSON.
        let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).unwrap_or_default());
        let wrapped = wrap(&self.key, cek).map_err(|Unspecified| Error::TooLong)?;
        let mut text = plaintext.to_vec();
        let tag = cipher(cek)
            .and_then(|cipher| {
                let nonce = Nonce::try_assume_unique_for_key(nonce)?;
                cipher.seal_in_place_separate_tag(nonce, Aad::from(header.as_bytes()), &mut text)
            })
            .map_err(|Unspecified| Error::TooLong)?;
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Ok([header, part(&wrapped), part(nonce), part(&text), part(tag.as_ref())].join("."))
    }

    /// Opens a text where it belongs.
    ///
    /// # Errors
    /// [`Error::UnknownKey`], [`Error::Tampered`] (also where `context` is another than the one it was sealed with) and
    /// [`Error::Malformed`].
    pub fn open(&self, sealed: &str, context: &str) -> Result<Vec<u8>, Error> {
        let mut parts = sealed.split('.');
        let mut next = || parts.next().ok_or(Error::Malformed);
        let (protected, wrapped, nonce, text, tag) = (next()?, next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(Error::Malformed);
        }
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Malformed);
        let header: Header = serde_json::from_slice(&bytes(protected)?).map_err(|_| Error::Malformed)?;
        let (wrapped, nonce, mut text, tag) = (bytes(wrapped)?, bytes(nonce)?, bytes(text)?, bytes(tag)?);
        let lengths = (wrapped.len(), nonce.len(), tag.len());
        if header.alg != ALG || header.enc != ENC || lengths != (WRAPPED_LEN, NONCE_LEN, TAG_LEN) {
            return Err(Error::Malformed);
        }
        let Some(key) = self.key(&header.kid) else {
            return Err(Error::UnknownKey { kid: header.kid.chars().take(64).collect() });
        };
        if header.sub != context {
            return Err(Error::Tampered);
        }
        text.extend_from_slice(&tag);
        let length = unwrap(key, &wrapped)
            .and_then(|content| cipher(&content))
            .and_then(|cipher| {
                let nonce = Nonce::try_assume_unique_for_key(&nonce)?;
                Ok(cipher.open_in_place(nonce, Aad::from(protected.as_bytes()), &mut text)?.len())
            })
            .map_err(|Unspecified| Error::Tampered)?;
        text.truncate(length);
        Ok(text)
    }
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new)
}

fn wrap(key: &[u8; KEY_LEN], content: &[u8]) -> Result<[u8; WRAPPED_LEN], Unspecified> {
    let mut out = [0; WRAPPED_LEN];
    AesKek::new(&AES_256, key)?.wrap(content, &mut out)?;
    Ok(out)
}

fn unwrap(key: &[u8; KEY_LEN], wrapped: &[u8]) -> Result<[u8; KEY_LEN], Unspecified> {
    let mut out = [0; KEY_LEN];
    AesKek::new(&AES_256, key)?.unwrap(wrapped, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: &str = "saga/1/card";

    fn ring() -> Keyring {
        Keyring::new("now", [7; 32])
    }

    fn random() -> [u8; RANDOM_LEN] {
        std::array::from_fn(|index| u8::try_from(index).unwrap())
    }

    fn sealed() -> String {
        ring().seal(b"\"tok_secret\"", CONTEXT, random()).unwrap()
    }

    /// RFC 3394, 4.6: 256 bits of key data with a 256-bit key.
    #[test]
    fn keys_are_wrapped_as_the_rfc_says() {
        let key: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let data = [
            0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF, 0x00, 0x01,
            0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
        ];
        let wrapped = wrap(&key, &data).unwrap();
        assert_eq!(
            crate::hex(&wrapped),
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
        );
        assert_eq!(unwrap(&key, &wrapped).unwrap(), data);
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_of_it_shows() {
        for text in [b"".as_slice(), b"x", &[0xff; 5_000]] {
            let sealed = ring().seal(text, CONTEXT, random()).unwrap();
            assert_eq!(ring().open(&sealed, CONTEXT).unwrap(), text);
        }
        assert!(!sealed().contains("tok_secret"));
    }

    /// The parts by hand: whoever changes the form makes everything that is stored unreadable.
    #[test]
    fn the_form_is_a_compact_jwe() {
        let sealed = sealed();
        let parts: Vec<_> = sealed.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let [header, wrapped, nonce, text, tag] = parts.as_slice() else { panic!("{} parts", parts.len()) };
        assert_eq!(header, br#"{"alg":"A256KW","enc":"A256GCM","kid":"now","sub":"saga/1/card"}"#);
        assert_eq!(wrapped.as_slice(), wrap(&[7; 32], &random()[..32]).unwrap());
        assert_eq!(nonce.as_slice(), &random()[32..]);
        // RFC 7516, 5.1, step 14: the additional data are the ASCII bytes of the encoded header.
        let mut whole = [text.as_slice(), tag].concat();
        let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
        let aad = Aad::from(sealed.split('.').next().unwrap().as_bytes());
        assert_eq!(cipher(&random()[..32]).unwrap().open_in_place(nonce, aad, &mut whole).unwrap(), b"\"tok_secret\"");
        assert_eq!(sealed, GOLDEN);
        assert_eq!(ring().open(GOLDEN, CONTEXT).unwrap(), b"\"tok_secret\"");
    }

    const GOLDEN: &str = concat!(
        "eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIiwia2lkIjoibm93Iiwic3ViIjoic2FnYS8xL2NhcmQifQ.KZI",
        "TNqky5qtGe1o88BhEeuLRiPKWLV7HYxqtUnooUzSyYxbHWutpew.ICEiIyQlJicoKSor.8E7JGzPrf21oGTbs.l8Uf",
        "Exz7Rl_ASoj3wT7mDQ",
    );

    #[test]
    fn any_changed_character_keeps_it_shut() {
        let sealed = sealed();
        for at in 0..sealed.len() {
            for put in ["A", "B", "-", "."] {
                if &sealed[at..=at] == put {
                    continue;
                }
                let changed = format!("{}{put}{}", &sealed[..at], &sealed[at + 1..]);
                ring().open(&changed, CONTEXT).expect_err(&changed);
            }
            ring().open(&sealed[..at], CONTEXT).expect_err("cut short");
        }
        assert_eq!(ring().open(&format!("{sealed}."), CONTEXT), Err(Error::Malformed));
    }

    #[test]
    fn each_part_is_authenticated() {
        let (one, two) = (sealed(), ring().seal(b"\"tok_public\"", CONTEXT, [9; RANDOM_LEN]).unwrap());
        let (one, two): (Vec<_>, Vec<_>) = (one.split('.').collect(), two.split('.').collect());
        assert_eq!(one[0], two[0]);
        for part in 1..5 {
            let mut mixed = one.clone();
            mixed[part] = two[part];
            assert_eq!(ring().open(&mixed.join("."), CONTEXT), Err(Error::Tampered), "part {part}");
        }
    }

    #[test]
    fn a_header_of_another_form_is_not_read() {
        let sealed = sealed();
        let (_, rest) = sealed.split_once('.').unwrap();
        for (header, expected) in [
            (r#"{"alg":"dir","enc":"A256GCM","kid":"now","sub":"saga/1/card"}"#, Error::Malformed),
            (r#"{"alg":"A256KW","enc":"A128GCM","kid":"now","sub":"saga/1/card"}"#, Error::Malformed),
            (r#"{"alg":"A256KW","enc":"A256GCM","kid":"now","sub":"saga/1/card","zip":"DEF"}"#, Error::Malformed),
            (r#"{"alg":"A256KW","enc":"A256GCM","kid":"now"}"#, Error::Malformed),
            (r#"{"enc":"A256GCM","alg":"A256KW","kid":"now","sub":"saga/1/card"}"#, Error::Tampered),
            (
                r#"{"alg":"A256KW","enc":"A256GCM","kid":"x","sub":"saga/1/card"}"#,
                Error::UnknownKey { kid: "x".into() },
            ),
        ] {
            let changed = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(ring().open(&changed, CONTEXT), Err(expected), "{header}");
        }
        for text in ["", "....", "tok_secret", "a.b.c.d.e"] {
            assert_eq!(ring().open(text, CONTEXT), Err(Error::Malformed), "{text}");
        }
    }

    #[test]
    fn it_opens_only_where_it_belongs() {
        assert_eq!(ring().open(&sealed(), "saga/2/card"), Err(Error::Tampered));
        // Also where the header is made to fit.
        let sealed = sealed();
        let header = r#"{"alg":"A256KW","enc":"A256GCM","kid":"now","sub":"saga/2/card"}"#;
        let moved = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), sealed.split_once('.').unwrap().1);
        assert_eq!(ring().open(&moved, "saga/2/card"), Err(Error::Tampered));
    }

    #[test]
    fn a_former_key_opens_and_does_not_seal() {
        let rotated = Keyring::new("next", [8; 32]).with_former("now", [7; 32]);
        assert_eq!(rotated.open(&sealed(), CONTEXT).unwrap(), b"\"tok_secret\"");
        let new = rotated.seal(b"x", CONTEXT, random()).unwrap();
        assert_eq!(ring().open(&new, CONTEXT), Err(Error::UnknownKey { kid: "next".to_owned() }));
        let other = Keyring::new("now", [1; 32]);
        assert_eq!(other.open(&sealed(), CONTEXT), Err(Error::Tampered));
        assert_eq!(other.with_former("now", [7; 32]).open(&sealed(), CONTEXT), Err(Error::Tampered));
    }

    #[test]
    fn a_keyring_shows_no_key() {
        let shown = format!("{:?}", Keyring::new("next", [0xAB; 32]).with_former("now", [0xCD; 32]));
        assert_eq!(shown, r#"Keyring { current: "next", former: ["now"], .. }"#);
    }
}
