//! What a change is based on.

use steadfast_core::Principal;

use crate::Version;

/// A version and the life of the row that it belongs to. Where a row can be deleted and created again, an epoch in the
/// row (any number that differs between the two lives) keeps version 1 of the second from passing as version 1 of the
/// first; see [`Entity::with_epoch`](crate::Entity::with_epoch). Elsewhere it is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Which life of the row.
    pub epoch: i64,
    /// Which version within it.
    pub version: Version,
}

impl From<Version> for Stamp {
    fn from(version: Version) -> Self {
        Self { epoch: 0, version }
    }
}

/// What the row must be for a [`replace`](crate::Entity::replace) to happen: a version that was read, or what an
/// `If-Match` header said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub(crate) row: Row,
    /// Whether a client said so: then a conflict is 412, else 409.
    pub(crate) precondition: bool,
    pub(crate) user: Option<String>,
    pub(crate) key_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// Whatever it is, as long as it exists (`If-Match: *`, where a route allows it).
    Any,
    /// This version.
    Version(Version),
    /// One of these (`If-Match` may list several tags).
    OneOf(Vec<Stamp>),
}

impl Expected {
    /// Names the user, for the security log should the change conflict. An expectation from `If-Match` names it already.
    #[must_use]
    pub fn by(mut self, principal: &Principal) -> Self {
        self.user = Some(principal.subject().to_owned());
        self
    }

    /// Whether a row at `current` is what was expected. The statement itself checks this again.
    pub fn is_met_by(&self, current: Stamp) -> bool {
        match &self.row {
            Row::Any => true,
            Row::Version(version) => *version == current.version,
            Row::OneOf(stamps) => stamps.contains(&current),
        }
    }
}

impl From<Version> for Expected {
    fn from(version: Version) -> Self {
        Self { row: Row::Version(version), precondition: false, user: None, key_id: None }
    }
}
