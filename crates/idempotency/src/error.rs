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
    /// Another request with this key was faster, and was gone again.
    #[error("another request with the same key was faster: send the same request again")]
    Overtaken,
    /// The store did not answer within its limit.
    #[error("the idempotency store did not answer in time: send the same request with the same key again")]
    TimedOut,
    /// Redis answered with an error, or did not answer.
    #[cfg(feature = "redis")]
    #[error("Redis did not read or write the idempotency record: send the same request with the same key again")]
    Redis(#[from] redis::RedisError),
    /// Redis must not be used as it is.
    #[cfg(feature = "redis")]
    #[error("Redis at {server} cannot keep idempotency records: {fault}")]
    RedisUnusable {
        /// `host:port`, or several.
        server: String,
        /// What is wrong, and the way out.
        fault: String,
    },
    /// A claim reached fewer replicas than were asked for.
    #[cfg(feature = "redis")]
    #[error(
        "only {reached} of {wanted} replicas have the idempotency record: nothing was executed, send the same request again"
    )]
    NotReplicated {
        /// How many were asked for.
        wanted: u32,
        /// How many have it.
        reached: u32,
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
            Self::Overtaken => ErrorKind::Conflict,
            Self::Closed | Self::TimedOut | Self::Randomness => ErrorKind::Transient,
            #[cfg(feature = "redis")]
            Self::Redis(error) => crate::store::redis::kind(error),
            #[cfg(feature = "redis")]
            Self::RedisUnusable { .. } => ErrorKind::Invalid,
            #[cfg(feature = "redis")]
            Self::NotReplicated { .. } => ErrorKind::Transient,
            Self::Key(_) | Self::UnsafeNumber { .. } | Self::Json(_) => ErrorKind::Invalid,
        }
    }
}
