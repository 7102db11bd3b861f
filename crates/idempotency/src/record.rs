//! The record: one for each scope, user and key. It is the only thing that a store keeps.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use steadfast_core::{Timestamp, hex, sha256};

use crate::{Answer, Error, Fingerprint};

/// The prefix of a record's name in text.
const PREFIX: &str = "idempotency:";

/// The name of a record: SHA-256 over scope, user and key. The user is a part of it, so that a stranger's key is simply
/// absent: nothing in status or time tells that it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId([u8; 32]);

impl RecordId {
    /// The name of the record of this `key` of this user in this scope.
    pub fn derive(scope: &str, subject: &str, key: &str) -> Self {
        Self(sha256(&[scope.as_bytes(), subject.as_bytes(), key.as_bytes()]))
    }

    /// The thirty-two bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From stored bytes; `None` when there are not thirty-two.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex(&self.0))
    }
}

/// The text is not the name of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record's name: expected idempotency: and 64 hexadecimal digits, as `list` prints it")]
pub struct RecordIdError;

impl FromStr for RecordId {
    type Err = RecordIdError;

    fn from_str(text: &str) -> Result<Self, RecordIdError> {
        let digits = text.strip_prefix(PREFIX).unwrap_or(text).as_bytes();
        if digits.len() != 64 {
            return Err(RecordIdError);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(RecordIdError) };
            *byte = high << 4 | low;
        }
        Ok(Self(id))
    }
}

/// The token of one claim: 128 random bits that are compared for equality and for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner([u8; 16]);

impl Owner {
    /// A token of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A new token from the system's source of randomness.
    pub fn draw() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Randomness)?;
        Ok(Self(bytes))
    }

    /// The sixteen bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From stored bytes; `None` when there are not sixteen.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// What is known of the request that a record stands for.
///
/// ```text
/// absent ──claim──▶ pending ──complete──▶ done(answer) ──time to live──▶ absent
///                    │   │                  └─ forgotten, too large ──▶ tombstone(status, no body)
///                    │   └─ abandoned: known not executed ──▶ absent
///                    └─ ended unknown, or its lease is over ──▶ unknown: held, taken over or resolved
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Somebody executes it and renews the lease while it does. A lease that is over is evidence that it may have been executed.
    Pending {
        /// The end of the lease.
        lease_until: Timestamp,
    },
    /// An execution ended without saying whether it took effect.
    Unknown {
        /// When it ended.
        since: Timestamp,
    },
    /// Executed; the answer is kept. An answer without a body is a tombstone.
    Done(Arc<Answer>),
}

/// One record.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Method and route template.
    pub scope: Arc<str>,
    /// Whose record it is: part of its name, and kept to be compared.
    pub subject: Arc<str>,
    /// What was asked for.
    pub fingerprint: Fingerprint,
    /// The token of the claim that wrote it last.
    pub owner: Owner,
    /// 1 for the first execution.
    pub attempt: u32,
    /// Whether an attempt before this one may have taken effect.
    pub unsure: bool,
    /// The login that the answer belongs to, where answers end with the login.
    pub login: Option<Arc<str>>,
    /// Whether that login has ended: an answer that comes later is not kept.
    pub forgotten: bool,
    /// When it was claimed first.
    pub claimed_at: Timestamp,
    /// When it ceases to be; `None` as long as somebody has to resolve it first.
    pub expires_at: Option<Timestamp>,
    /// What is known.
    pub state: State,
}

impl fmt::Debug for Record {
    /// Without the names of the user and the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("scope", &self.scope)
            .field("owner", &self.owner)
            .field("attempt", &self.attempt)
            .field("unsure", &self.unsure)
            .field("forgotten", &self.forgotten)
            .field("claimed_at", &self.claimed_at)
            .field("expires_at", &self.expires_at)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What identifies one state of one record: it changes with every transition, so that a write can name exactly what its
/// writer saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The token of the claim that wrote it last.
    pub owner: Owner,
    /// Which state.
    pub phase: Phase,
    /// Whether its login has ended.
    pub forgotten: bool,
}

/// A state without its content; the lease is part of it, since a renewal is a transition as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// [`State::Pending`] with the end of its lease.
    Pending(Timestamp),
    /// [`State::Unknown`].
    Unknown,
    /// [`State::Done`] with its body.
    Done,
    /// [`State::Done`] without.
    Tombstone,
}

impl Record {
    /// What identifies this state of the record.
    pub fn stamp(&self) -> Stamp {
        let phase = match &self.state {
            State::Pending { lease_until } => Phase::Pending(*lease_until),
            State::Unknown { .. } => Phase::Unknown,
            State::Done(answer) if answer.body.is_none() => Phase::Tombstone,
            State::Done(_) => Phase::Done,
        };
        Stamp { owner: self.owner, phase, forgotten: self.forgotten }
    }

    /// Whether the record has ceased to be. A claim that is still leased never has.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        let leased = matches!(self.state, State::Pending { lease_until } if lease_until > now);
        !leased && self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether an operator, or the route's policy, has to say what became of it.
    pub fn is_unresolved(&self, now: Timestamp) -> bool {
        match self.state {
            State::Pending { lease_until } => lease_until <= now,
            State::Unknown { .. } => true,
            State::Done(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_depends_on_scope_user_and_key_and_reads_back() {
        let id = RecordId::derive("POST /v1/orders", "till-7", "k");
        assert_ne!(id, RecordId::derive("POST /v1/orders", "till-8", "k"));
        assert_ne!(id, RecordId::derive("PUT /v1/orders", "till-7", "k"));
        assert_ne!(RecordId::derive("s", "ab", "c"), RecordId::derive("s", "a", "bc"));
        assert_eq!(id.to_string().parse::<RecordId>().unwrap(), id);
        assert_eq!("idempotency:12".parse::<RecordId>(), Err(RecordIdError));
        assert_eq!("zz".repeat(32).parse::<RecordId>(), Err(RecordIdError));
    }
}
