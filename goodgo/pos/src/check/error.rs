//! Why nothing can be said.

use steadfast::core::{Classified, ErrorKind};

/// The check cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A database cannot be read.
    #[error("the {database} database cannot be read")]
    Read {
        /// Which.
        database: &'static str,
        /// Why.
        #[source]
        source: steadfast::db::Error,
    },
    /// The event log cannot be read.
    #[error(transparent)]
    Log(#[from] steadfast::bus::Error),
    /// A row is not what it can be.
    #[error("the {database} database holds a row that it cannot hold: {fault}")]
    Corrupt {
        /// Which.
        database: &'static str,
        /// The row and its fault.
        fault: String,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } => source.kind(),
            Self::Log(source) => source.kind(),
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }
}
