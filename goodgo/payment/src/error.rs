//! What can go wrong here, by what can be done about it.

use steadfast::core::{Classified, ErrorKind};
use steadfast::{db, idempotency, locking, outbox, saga};

/// An error of the payment service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database failed.
    #[error("payment: the database failed")]
    Db(#[from] db::Error),
    /// The barrier of saga calls failed.
    #[error("payment: the barrier failed")]
    Saga(#[from] saga::Error),
    /// An event could not be appended, so nothing was changed.
    #[error("payment: an event could not be appended")]
    Outbox(#[from] outbox::Error),
    /// A row was not changed.
    #[error(transparent)]
    Locking(#[from] locking::Error),
    /// The idempotency record failed.
    #[error("payment: the idempotency record failed")]
    Idempotency(#[from] idempotency::Error),
    /// Stored data contradicts itself.
    #[error("payment: stored data contradicts itself: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Db(error) => error.kind(),
            Self::Saga(error) => error.kind(),
            Self::Outbox(error) => error.kind(),
            Self::Locking(error) => error.kind(),
            Self::Idempotency(error) => error.kind(),
            Self::Corrupt(_) => ErrorKind::Corrupt,
        }
    }
}
