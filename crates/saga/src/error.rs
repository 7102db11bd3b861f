//! What can go wrong, by what can be done about it.

use steadfast_core::{Classified, ErrorKind, Problem};

/// An error of the saga crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database answered with an error, or did not answer.
    #[error("saga: the database failed")]
    Db(#[from] steadfast_db::Error),
    /// Events could not be appended in the transaction of the state that they report.
    #[error("saga: the events could not be appended")]
    Sink(#[source] steadfast_db::BoxError),
    /// Another process has taken the lane: this one must not write any more.
    #[error("saga: the lane {lane} is owned by another process since epoch {found}; this one held {held}")]
    Fenced {
        /// The lane.
        lane: i64,
        /// The epoch that this process held.
        held: i64,
        /// The epoch in the database.
        found: i64,
    },
    /// Stored data contradicts itself.
    #[error("saga: stored data contradicts itself: {0}")]
    Corrupt(String),
    /// The caller is answered with this problem.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The configuration is at fault.
    #[error("saga: {0}")]
    Config(String),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
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
            Self::Sink(_) => ErrorKind::Transient,
            Self::Fenced { .. } => ErrorKind::Conflict,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Config(_) => ErrorKind::Invalid,
            Self::Problem(problem) => problem_kind(problem.status),
        }
    }
}

fn problem_kind(status: u16) -> ErrorKind {
    match status {
        429 | 503 => ErrorKind::Transient,
        409 | 412 => ErrorKind::Conflict,
        401 | 403 => ErrorKind::Refused,
        500.. => ErrorKind::Bug,
        _ => ErrorKind::Invalid,
    }
}

impl Error {
    /// The problem that answers a client.
    pub fn to_problem(&self) -> Problem {
        match self {
            Self::Problem(problem) => (**problem).clone(),
            other => match other.kind() {
                ErrorKind::Transient | ErrorKind::Conflict => steadfast_core::problem::UNAVAILABLE
                    .with("the journal cannot be written at present: ask again in a moment")
                    .retry_after(1),
                _ => steadfast_core::problem::INTERNAL.with("an error of the orchestrator: see its log"),
            },
        }
    }
}
