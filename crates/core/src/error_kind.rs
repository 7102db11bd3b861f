//! What can be done about an error: one small table that retries, HTTP answers and alerts derive from.

/// The kind of an error, by what a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The world was not ready: a connection lost, a lock not gained in time, a server away. The same call may succeed later.
    Transient,
    /// Somebody else changed what this was based on. Read again, decide again.
    Conflict,
    /// A rule of the business or of access said no. Asking again gives the same answer.
    Refused,
    /// The input is at fault. The caller must change it.
    Invalid,
    /// Stored data contradicts itself. An operator must look.
    Corrupt,
    /// This program broke a promise to itself. Report it.
    Bug,
}

impl ErrorKind {
    /// Whether the whole unit of work may be tried again from fresh reads.
    pub const fn is_retriable(self) -> bool {
        matches!(self, Self::Transient | Self::Conflict)
    }
}

/// An error that knows its kind.
pub trait Classified {
    /// What can be done about this error.
    fn kind(&self) -> ErrorKind;
}
