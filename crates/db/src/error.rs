//! What a database says, by what can be done about it.

use std::path::PathBuf;

use steadfast_core::{Classified, ErrorKind};

/// An error of the SQL ground.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database answered with an error, or did not answer.
    #[error("database: {}", describe(.0))]
    Sql(#[source] sqlx::Error),
    /// The file cannot be opened as a database.
    #[error(
        "{path} cannot be opened as a database: check that the folder exists, is writable and holds a database of this program"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A migration that has run differs from the one this program knows.
    #[error(
        "migration {line} {version} in {path} has another content than this program's: the file belongs to another build; use that build, or another data folder"
    )]
    MigrationChanged {
        /// The file.
        path: PathBuf,
        /// The migration line.
        line: &'static str,
        /// The migration's number.
        version: u32,
    },
    /// The database has migrations that this program does not know.
    #[error(
        "{path} was written by a newer version ({line} {found}, this program knows {known}): use that version, or another data folder"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The migration line.
        line: &'static str,
        /// The newest migration in the database.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// One line, without the statement's values.
fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(db) => db.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no connection became free in time".to_owned(),
        other => other.to_string(),
    }
}

/// SQLite's primary result codes (sqlite.org/rescode.html), by what can be done.
fn sqlite_kind(code: i64) -> ErrorKind {
    const BUSY: i64 = 5;
    const LOCKED: i64 = 6;
    const READONLY: i64 = 8;
    const IOERR: i64 = 10;
    const CORRUPT: i64 = 11;
    const FULL: i64 = 13;
    const CANTOPEN: i64 = 14;
    const CONSTRAINT: i64 = 19;
    const NOTADB: i64 = 26;
    match code & 0xff {
        BUSY | LOCKED | READONLY | IOERR | FULL | CANTOPEN => ErrorKind::Transient,
        CORRUPT | NOTADB => ErrorKind::Corrupt,
        CONSTRAINT => ErrorKind::Conflict,
        _ => ErrorKind::Bug,
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Sql(error) | Self::Open { source: error, .. } => match error {
                sqlx::Error::Database(db) => {
                    db.code().and_then(|code| code.parse().ok()).map_or(ErrorKind::Bug, sqlite_kind)
                }
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Protocol(_) => ErrorKind::Transient,
                _ => ErrorKind::Bug,
            },
            Self::MigrationChanged { .. } | Self::Newer { .. } => ErrorKind::Invalid,
        }
    }
}

impl Error {
    /// Whether a unique key was violated: somebody else was first.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(db)) if db.is_unique_violation())
    }

    /// Whether a CHECK constraint was violated: a guard of the table said no.
    pub fn is_check_violation(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(db)) if db.is_check_violation())
    }
}
