//! Identities. A saga's id is derived from who starts what with which key, so that a repeated start is the same saga,
//! also after a database has lost the first one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::{Timestamp, sha256};

/// The text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: expected a UUID such as 0192f0c1-7a5e-7cc3-9d57-2f0a6b1e4c11")]
pub struct IdError(String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A UUIDv7 (RFC 9562, 5.7): ordered by `now`, made unique by `random`, which the caller draws.
            pub fn from_parts(now: Timestamp, random: [u8; 10]) -> Self {
                let millis = u64::try_from(now.as_millis()).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The sixteen bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From sixteen stored bytes; `None` when there are not sixteen.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError(text.chars().take(64).collect()))
            }
        }
    };
}

id! {
    /// Identifies one saga.
    SagaId
}
id! {
    /// Identifies one event, wherever it is copied to.
    EventId
}

impl SagaId {
    /// The id of the saga that `principal` starts from `definition` under the client's `key`: a UUIDv8
    /// (RFC 9562, 5.8) of a SHA-256. The same three always name the same saga.
    ///
    /// ```
    /// use steadfast_core::SagaId;
    ///
    /// let first = SagaId::derive("till-7", "place_order", "receipt-1");
    /// assert_eq!(first, SagaId::derive("till-7", "place_order", "receipt-1"));
    /// assert_ne!(first, SagaId::derive("till-8", "place_order", "receipt-1"));
    /// ```
    pub fn derive(principal: &str, definition: &str, key: &str) -> Self {
        let hash = sha256(&[b"saga", principal.as_bytes(), definition.as_bytes(), key.as_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_version() {
        assert_eq!(SagaId::derive("a", "b", "c").0.get_version_num(), 8);
        let id = EventId::from_parts(Timestamp::from_millis(1_700_000_000_000), [7; 10]);
        assert_eq!(id.0.get_version_num(), 7);
        assert!(id < EventId::from_parts(Timestamp::from_millis(1_700_000_000_001), [0; 10]));
    }

    #[test]
    fn text_goes_both_ways_and_a_bad_one_is_named() {
        let id = SagaId::derive("a", "b", "c");
        assert_eq!(id.to_string().parse::<SagaId>().unwrap(), id);
        assert!("o-1".parse::<SagaId>().unwrap_err().to_string().contains("\"o-1\""));
    }
}
