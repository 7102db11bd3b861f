//! The inside of an entity tag: `{key id}.{base64url(masked stamp, MAC)}`.
//!
//! The MAC is made over subject, epoch and version, and the mask that hides the two is made from the MAC (the construction
//! of SIV): deterministic, so that one version has one tag, and without a nonce to get wrong.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{Stamp, Version};

/// Epoch and version, eight bytes each.
const STAMP: usize = 16;
/// 128 bits of HMAC-SHA-256, as RFC 2104 (5) allows.
const MAC: usize = 16;

/// The key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EtagKeyError {
    /// The id cannot stand in an entity tag.
    #[error("the key id {0:?} must be 1 to 32 letters, digits, - or _")]
    Id(String),
    /// The secret is too short.
    #[error("the secret of key {id:?} has {len} bytes: at least 32 random ones are required")]
    Secret {
        /// The key's id.
        id: String,
        /// Its length.
        len: usize,
    },
}

/// A key for entity tags. Its `Debug` shows the id only.
#[derive(Clone)]
pub struct EtagKey {
    id: String,
    mac: hmac::Key,
    mask: hmac::Key,
}

impl fmt::Debug for EtagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtagKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl EtagKey {
    /// A key named `id`, of at least 32 random bytes. The id is public: it travels in every tag.
    pub fn new(id: &str, secret: &[u8]) -> Result<Self, EtagKeyError> {
        if !(1..=32).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(EtagKeyError::Id(id.chars().take(64).collect()));
        }
        if secret.len() < 32 {
            return Err(EtagKeyError::Secret { id: id.to_owned(), len: secret.len() });
        }
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, purpose).as_ref());
        Ok(Self { id: id.to_owned(), mac: derive(b"steadfast etag mac 1"), mask: derive(b"steadfast etag mask 1") })
    }

    /// The key's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn seal(&self, subject: &[&str], stamp: Stamp) -> String {
        let mut bytes = to_bytes(stamp);
        let mac = self.mac(subject, &bytes);
        self.mask(&mac, &mut bytes);
        format!("{}.{}", self.id, URL_SAFE_NO_PAD.encode([bytes, mac].concat()))
    }

    fn open(&self, subject: &[&str], sealed: &str) -> Option<Stamp> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (masked, mac) = sealed.split_at_checked(STAMP)?;
        let mut bytes: [u8; STAMP] = masked.try_into().ok()?;
        let mac: [u8; MAC] = mac.try_into().ok()?;
        self.mask(&mac, &mut bytes);
        constant_time::verify_slices_are_equal(&self.mac(subject, &bytes), &mac).ok()?;
        Some(from_bytes(bytes))
    }

    fn mac(&self, subject: &[&str], stamp: &[u8; STAMP]) -> [u8; MAC] {
        let mut context = hmac::Context::with_key(&self.mac);
        // Each part behind its length: no two subjects run together.
        for part in subject.iter().map(|part| part.as_bytes()).chain([stamp.as_slice()]) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut mac = [0; MAC];
        mac.copy_from_slice(&context.sign().as_ref()[..MAC]);
        mac
    }

    fn mask(&self, mac: &[u8; MAC], bytes: &mut [u8; STAMP]) {
        let mask = hmac::sign(&self.mask, mac);
        for (byte, mask) in bytes.iter_mut().zip(mask.as_ref()) {
            *byte ^= mask;
        }
    }
}

fn to_bytes(Stamp { epoch, version }: Stamp) -> [u8; STAMP] {
    let mut bytes = [0; STAMP];
    bytes[..8].copy_from_slice(&epoch.to_be_bytes());
    bytes[8..].copy_from_slice(&version.get().to_be_bytes());
    bytes
}

fn from_bytes(bytes: [u8; STAMP]) -> Stamp {
    let both = i128::from_be_bytes(bytes);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
    let (epoch, version) = ((both >> 64) as i64, both as i64);
    Stamp { epoch, version: Version::from_stored(version) }
}

/// What a tag turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened<'a> {
    /// Issued here, under this key id.
    Ours(Stamp, &'a str),
    /// Under a key id that we do not have (any more), or none at all.
    Foreign,
    /// Under a key id of ours, but not issued for this subject.
    Forged(&'a str),
}

pub(super) fn open<'a>(keys: &'a [EtagKey], subject: &[&str], tag: &str) -> Opened<'a> {
    let Some((id, sealed)) = tag.split_once('.') else { return Opened::Foreign };
    let Some(key) = keys.iter().find(|key| key.id == id) else { return Opened::Foreign };
    key.open(subject, sealed).map_or(Opened::Forged(&key.id), |stamp| Opened::Ours(stamp, &key.id))
}
