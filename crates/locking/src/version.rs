//! How often a row has changed.

use std::fmt;

/// The version of a row: 1 when it is created, one more with every change.
///
/// It has no `Deserialize`: a version is never accepted from a client. Over HTTP it travels inside an opaque entity tag,
/// see [`Etags`](crate::Etags).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(i64);

impl Version {
    /// What a new row starts with.
    pub const FIRST: Self = Self(1);

    /// A version as it is stored.
    pub const fn from_stored(version: i64) -> Self {
        Self(version)
    }

    /// As it is stored; also the `sequence` of the event that tells of the change.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The version after one more change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
