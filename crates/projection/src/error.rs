//! What can go wrong, by what can be done about it.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

use steadfast_core::{Classified, ErrorKind};
use steadfast_db::BoxError;

/// An error of a projection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The read database failed.
    #[error("the read database failed")]
    Db(#[from] steadfast_db::Error),
    /// The event log failed.
    #[error("the event log failed")]
    Bus(#[from] steadfast_bus::Error),
    /// Somebody else has applied these events: this runner begins again where that one stands.
    #[error("another projector has moved the checkpoint of {projection}: this one continues from there")]
    Fenced {
        /// The projection.
        projection: String,
    },
    /// A projection could not apply a batch; the next attempt finds out which event it is.
    #[error("{projection} cannot apply a batch")]
    Apply {
        /// The projection.
        projection: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A stored row cannot be read back.
    #[error("table {table} holds a row that cannot be read: {fault}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// What is wrong.
        fault: String,
    },
    /// A YAML file has faults; all of them are listed.
    #[error("{}", Listed(.0))]
    Faults(Vec<Fault>),
    /// A file cannot be used.
    #[error("the projection in {} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// A chain of upcasters has no end.
    #[error("the upcasters of {event_type} lead back to it: each must lead to a newer version")]
    UpcastCycle {
        /// A type on the circle.
        event_type: String,
    },
    /// There is nothing parked for this aggregate.
    #[error("{projection} has no parked event of {aggregate_type} {aggregate_id}: list the parked events")]
    NotParked {
        /// The projection.
        projection: String,
        /// The aggregate's type.
        aggregate_type: String,
        /// The aggregate's id.
        aggregate_id: String,
    },
    /// The act does not fit what is parked.
    #[error("{act} does not apply to {aggregate_type} {aggregate_id}: {way_out}")]
    NotApplicable {
        /// What was asked.
        act: &'static str,
        /// The aggregate's type.
        aggregate_type: String,
        /// The aggregate's id.
        aggregate_id: String,
        /// What to do instead.
        way_out: &'static str,
    },
}

/// One fault of a YAML file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, counted from 1, where it is known.
    pub line: Option<u64>,
    /// Where in the document, such as `on.order.created.v1.sql`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub way_out: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}: {}", self.message, self.way_out)
    }
}

struct Listed<'a>(&'a [Fault]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
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
            Self::Bus(error) => error.kind(),
            Self::Fenced { .. } => ErrorKind::Conflict,
            Self::Apply { source, .. } if is_transient(source.as_ref()) => ErrorKind::Transient,
            Self::Apply { .. } => ErrorKind::Bug,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Faults(_) | Self::File { .. } | Self::UpcastCycle { .. } => ErrorKind::Invalid,
            Self::NotParked { .. } | Self::NotApplicable { .. } => ErrorKind::Refused,
        }
    }
}

/// Whether the cause of a projection's error lies in the world and not in the event, so that the same event may succeed
/// later: a locked or full database is nobody's poison.
pub(crate) fn is_transient(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(db) = error.downcast_ref::<steadfast_db::Error>() {
            return match db {
                steadfast_db::Error::Sql(sql) => sql_is_transient(sql),
                other => other.kind() == ErrorKind::Transient,
            };
        }
        if let Some(sql) = error.downcast_ref::<sqlx::Error>() {
            return sql_is_transient(sql);
        }
        cause = error.source();
    }
    false
}

/// As for every other user of a database; a deadlock too is the world's.
fn sql_is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code_is_transient(&code)),
        other => steadfast_db::kind_of(other) == ErrorKind::Transient,
    }
}

fn code_is_transient(code: &str) -> bool {
    let rolled_back = code.len() == 5 && code.starts_with("40");
    rolled_back || steadfast_db::kind_of_code(code) == ErrorKind::Transient
}

/// An error and its causes on one line, for a table or a log.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// What the YAML reader says, with its place.
pub(crate) fn yaml_fault(error: &serde_saphyr::Error) -> Fault {
    let line = error.location().map(|location| location.line());
    let text = error.without_snippet().to_string();
    let message = text.lines().next().unwrap_or_default();
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message).to_owned();
    Fault { line, path: String::new(), message, way_out: "compare it with the example in the documentation".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worlds_faults_are_nobodys_poison() {
        for code in ["5", "261", "13", "40P01", "40001", "55P03", "57014", "57P01", "08006", "53300", "42501"] {
            assert!(code_is_transient(code), "{code}");
        }
        for code in ["1", "19", "2067", "23505", "22P02", "22001", "42703", "P0001"] {
            assert!(!code_is_transient(code), "{code}");
        }
    }
}
