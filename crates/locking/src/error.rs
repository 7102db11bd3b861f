//! Why a change did not happen.

use std::fmt;

use steadfast_core::problem;
use steadfast_core::{Classified, ErrorKind, Problem};

use crate::{Key, Version};

/// Somebody else changed the row since it was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Version mismatch - data was modified by another user: {entity} {key} is at version {current}")]
pub struct Conflict {
    /// The kind of row.
    pub entity: &'static str,
    /// Which one.
    pub key: Key,
    /// What it is at now.
    pub current: Version,
    /// Whether the expectation came from a client's `If-Match`.
    pub precondition: bool,
}

/// Why one row of several did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Another user changed it; it is at this version now.
    Conflict(Version),
    /// It does not exist.
    NotFound,
    /// Its guard said no.
    Refused,
}

/// One row of several that did not change, for whose sake none did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loser {
    /// Which row.
    pub key: Key,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Loser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Conflict(current) => write!(f, "{} was modified and is at version {current}", self.key),
            Reason::NotFound => write!(f, "{} does not exist", self.key),
            Reason::Refused => write!(f, "{} is refused by its guard", self.key),
        }
    }
}

/// An error of a versioned change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else was faster: read again, decide again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// There is no such row.
    #[error("{entity} {key} does not exist")]
    NotFound {
        /// The kind of row.
        entity: &'static str,
        /// Which one.
        key: Key,
    },
    /// The guard said no, as for stock that is not there.
    #[error("{entity} {key} does not satisfy {guard}")]
    Refused {
        /// The kind of row.
        entity: &'static str,
        /// Which one.
        key: Key,
        /// The condition, as it was declared.
        guard: &'static str,
    },
    /// Of several rows these could not change, so none did.
    #[error("no {entity} was changed: {}", list(.losers))]
    Losers {
        /// The kind of rows.
        entity: &'static str,
        /// Each that could not change, in key order.
        losers: Vec<Loser>,
    },
    /// The amount of an adjustment is not positive (its direction is part of its declaration), or the sum for one row is
    /// beyond 63 bits.
    #[error(
        "the amount {amount} for {entity} {key} is not positive, or too large in sum: declare another adjustment for the other direction"
    )]
    Amount {
        /// The kind of row.
        entity: &'static str,
        /// Which one.
        key: Key,
        /// The amount.
        amount: i64,
    },
    /// A declaration is at fault: a name that is no identifier, a text that changes `version` itself, a key with
    /// another number of columns.
    #[error("{entity}: {fault}")]
    Declaration {
        /// The kind of row.
        entity: &'static str,
        /// What is wrong, and what was expected.
        fault: String,
    },
    /// More than one row has this key: roll back, and give the key columns a unique index.
    #[error("{rows} rows of {entity} have one key: its key columns need a unique index")]
    NotUnique {
        /// The kind of row.
        entity: &'static str,
        /// How many rows the statement met.
        rows: usize,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] steadfast_db::Error),
}

fn list(losers: &[Loser]) -> String {
    losers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::NotFound { .. } | Self::Amount { .. } => ErrorKind::Invalid,
            Self::Refused { .. } => ErrorKind::Refused,
            // What trying again cannot mend decides.
            Self::Losers { losers, .. } => {
                let any = |reason: Reason| losers.iter().any(|loser| loser.reason == reason);
                if any(Reason::Refused) {
                    ErrorKind::Refused
                } else if any(Reason::NotFound) {
                    ErrorKind::Invalid
                } else {
                    ErrorKind::Conflict
                }
            }
            Self::Declaration { .. } => ErrorKind::Bug,
            Self::NotUnique { .. } => ErrorKind::Corrupt,
            Self::Db(error) => error.kind(),
        }
    }
}

impl Error {
    /// The answer to the client. It never says a version: that travels only inside an entity tag.
    pub fn to_problem(&self) -> Problem {
        const AGAIN: &str = "read it again, and decide again on what it is now";
        match self {
            Self::Conflict(Conflict { entity, key, precondition: true, .. }) => {
                problem::VERSION_MISMATCH.with(format!(
                    "{entity} {key} was modified by another user: read it again, and send its new ETag in If-Match"
                ))
            }
            Self::Conflict(Conflict { entity, key, .. }) => {
                problem::CONFLICT.with(format!("{entity} {key} was modified by another user: {AGAIN}"))
            }
            Self::NotFound { entity, key } => problem::NOT_FOUND.with(format!("{entity} {key} does not exist")),
            Self::Refused { entity, key, .. } => problem::BUSINESS_REFUSAL
                .with(format!("{entity} {key} does not allow this change in its present state: {AGAIN}")),
            Self::Losers { entity, losers } => {
                let kind = problem::of_kind(self.kind());
                let text: Vec<_> = losers
                    .iter()
                    .map(|loser| match loser.reason {
                        Reason::Conflict(_) => format!("{} was modified by another user", loser.key),
                        Reason::NotFound | Reason::Refused => loser.to_string(),
                    })
                    .collect();
                kind.with(format!("no {entity} was changed: {}", text.join("; ")))
            }
            Self::Amount { .. } => problem::INVALID.with(self.to_string()),
            Self::Declaration { .. } | Self::NotUnique { .. } => {
                problem::INTERNAL.with("the service is at fault: report it, with the time of this answer")
            }
            Self::Db(error) => {
                let kind = problem::of_kind(error.kind());
                let answer = kind.with("the database did not take the change: try again later");
                if error.kind() == ErrorKind::Transient { answer.retry_after(1) } else { answer }
            }
        }
    }
}
