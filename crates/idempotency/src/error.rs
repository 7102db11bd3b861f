//! What can go wrong, by what can be done about it.

use std::sync::Arc;

use steadfast_core::{Classified, ErrorKind};

use crate::key::KeyError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database answered with an error, or did not answer; shared by all that were in one commit.
    #[error("the database did not read or write the idempotency record: send the same request with the same key again")]
    Db(#[source] Arc<steadfast_db::Error>),
    /// A stored record contradicts itself.
    #[error("idempotency record {id}: {fault}; look at the row, and delete it only if its effect is known")]
    Corrupt {
        /// The record.
        id: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The store has been shut down.
    #[error("the idempotency store has been shut down")]
    Closed,
    /// The system gave no random bytes.
    #[error("the system's source of randomness failed")]
    Randomness,
    /// The key is not one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A number that not every JSON reader would read alike.
    #[error("data{path}: {number} lies outside ±2^53, where readers of JSON no longer agree; send it as a string")]
    UnsafeNumber {
        /// Where it stands in the data.
        path: String,
        /// The number.
        number: String,
    },
    /// The data cannot be written as JSON.
    #[error("the data cannot be written as JSON")]
    Json(#[source] serde_json::Error),
}

impl Error {
    /// From an error of the SQL library.
    pub(crate) fn sql(error: sqlx::Error) -> Self {
        Self::from(steadfast_db::Error::from(error))
    }
}

impl From<steadfast_db::Error> for Error {
    fn from(error: steadfast_db::Error) -> Self {
        Self::Db(Arc::new(error))
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Db(error) => error.kind(),
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Closed | Self::Randomness => ErrorKind::Transient,
            Self::Key(_) | Self::UnsafeNumber { .. } | Self::Json(_) => ErrorKind::Invalid,
        }
    }
}
