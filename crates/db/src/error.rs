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
    /// The commit was sent and its answer was lost: it stands or it does not. Look up what was written before trying
    /// again; repeating it blindly may do it twice.
    #[error("the answer to a commit was lost, it may or may not stand: {}", describe(.0))]
    CommitUnknown(#[source] sqlx::Error),
    /// A URL that names no database.
    #[cfg(feature = "postgres")]
    #[error("the database's URL cannot be used: {0}; write postgres://user:password@host:port/database")]
    Url(String),
    /// The server does not answer, or does not let us in.
    #[cfg(feature = "postgres")]
    #[error("PostgreSQL at {database} cannot be worked with: {}", describe(.source))]
    Connect {
        /// `host:port/database`.
        database: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The server is older than what the statements need.
    #[cfg(feature = "postgres")]
    #[error("PostgreSQL at {database} is of version {found}: use {oldest} or later")]
    OldServer {
        /// `host:port/database`.
        database: String,
        /// Its major version.
        found: i32,
        /// The oldest that can be used.
        oldest: i32,
    },
    /// The server takes no writes: a standby, or set so.
    #[cfg(feature = "postgres")]
    #[error("PostgreSQL at {database} is read-only: name the primary, or add target_session_attrs to your pooler")]
    ReadOnly {
        /// `host:port/database`.
        database: String,
    },
    /// A line that is not kept in PostgreSQL.
    #[cfg(feature = "postgres")]
    #[error("the tables of {line} are not kept in PostgreSQL")]
    NoMigrations {
        /// The migration line.
        line: &'static str,
    },
    /// A migration that has run differs from the one this program knows.
    #[error(
        "migration {line} {version} in {database} has another content than this program's: the database belongs to another build; use that build, or another database"
    )]
    MigrationChanged {
        /// The file, or `host:port/database`.
        database: String,
        /// The migration line.
        line: &'static str,
        /// The migration's number.
        version: u32,
    },
    /// The database has migrations that this program does not know.
    #[error(
        "{database} was written by a newer version ({line} {found}, this program knows {known}): use that version, or another database"
    )]
    Newer {
        /// The file, or `host:port/database`.
        database: String,
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

/// PostgreSQL's SQLSTATEs (PostgreSQL documentation, appendix A), by what can be done.
fn postgres_kind(state: &str) -> ErrorKind {
    match state {
        // Serialization failure, deadlock; a unique, foreign or exclusion key, a check.
        "40001" | "40P01" => ErrorKind::Conflict,
        state if state.starts_with("23") => ErrorKind::Conflict,
        // A lock that took too long, a standby that takes no writes; a statement that was stopped, a server that stops,
        // starts or has no room.
        "55P03" | "25006" | "40003" => ErrorKind::Transient,
        state if ["08", "53", "57", "58"].iter().any(|class| state.starts_with(class)) => ErrorKind::Transient,
        // No such role, database or right, an idle transaction that was ended by a setting: an operator can mend it.
        "42501" | "3D000" => ErrorKind::Transient,
        state if state.starts_with("28") => ErrorKind::Transient,
        state if state.starts_with("XX") => ErrorKind::Corrupt,
        _ => ErrorKind::Bug,
    }
}

/// A SQLSTATE has five characters; SQLite's extended codes are numbers of up to four digits.
fn is_sqlstate(code: &str) -> bool {
    code.len() == 5
}

/// What can be done about a database's error code: a SQLSTATE of PostgreSQL, or an extended result code of SQLite.
///
/// ```
/// use steadfast_core::ErrorKind;
///
/// assert_eq!(steadfast_db::kind_of_code("57P01"), ErrorKind::Transient);
/// assert_eq!(steadfast_db::kind_of_code("2067"), ErrorKind::Conflict);
/// ```
pub fn kind_of_code(code: &str) -> ErrorKind {
    if is_sqlstate(code) { postgres_kind(code) } else { code.parse().map_or(ErrorKind::Bug, sqlite_kind) }
}

/// Whether PostgreSQL goes away: its answer to a commit says nothing about the commit.
fn is_farewell(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| is_sqlstate(&code) && postgres_kind(&code) == ErrorKind::Transient)
}

/// What can be done about an error that is only borrowed; [`Error`] says the same of one that it holds.
pub fn kind_of(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Database(error) => error.code().map_or(ErrorKind::Bug, |code| kind_of_code(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => ErrorKind::Transient,
        _ => ErrorKind::Bug,
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Sql(error) | Self::Open { source: error, .. } => kind_of(error),
            // To the caller's own caller: try later. `tx::run` does not try again by itself.
            Self::CommitUnknown(_) => ErrorKind::Transient,
            Self::MigrationChanged { .. } | Self::Newer { .. } => ErrorKind::Invalid,
            #[cfg(feature = "postgres")]
            Self::Connect { source, .. } => kind_of(source),
            #[cfg(feature = "postgres")]
            Self::ReadOnly { .. } => ErrorKind::Transient,
            #[cfg(feature = "postgres")]
            Self::Url(_) | Self::OldServer { .. } => ErrorKind::Invalid,
            #[cfg(feature = "postgres")]
            Self::NoMigrations { .. } => ErrorKind::Bug,
        }
    }
}

impl Error {
    /// What a commit's error means: a refusal of the database is a rollback, anything else leaves it open, also the
    /// farewell of a server that stops.
    pub fn of_commit(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(said) if !is_farewell(&**said) => Self::Sql(error),
            _ => Self::CommitUnknown(error),
        }
    }

    /// Whether a unique key was violated: somebody else was first.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(db)) if db.is_unique_violation())
    }

    /// Whether a CHECK constraint was violated: a guard of the table said no.
    pub fn is_check_violation(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(db)) if db.is_check_violation())
    }
}
