//! What the barrier needs of a database. Each backend is a file named for it.

use sqlx::{Database, Transaction};
use steadfast_core::Timestamp;

use super::answer::Answer;
use super::decision::State;
use crate::Error;
use crate::participant::call::Call;

pub(super) mod sealed {
    /// Only the backends of this crate.
    pub trait Sealed {}
}

/// A database that can hold the barrier beside the effects. Sealed: [`sqlx::Sqlite`] and, with the feature `postgres`,
/// `sqlx::Postgres`.
pub trait Backend: Database + sealed::Sealed {
    /// Whether [`meet`](Self::meet) sets the mark that a refusal rolls back to, so that it costs nothing.
    #[doc(hidden)]
    const MARKS: bool;

    /// Takes the step's lock, reads its rows and decides; writes the row of an action that must never happen.
    #[doc(hidden)]
    fn meet(
        tx: &mut Transaction<'_, Self>,
        call: &Call,
        request: [u8; 8],
        now: Timestamp,
    ) -> impl Future<Output = Result<Met, Error>> + Send;

    /// Sets the mark, where [`MARKS`](Self::MARKS) says that it is not set yet.
    #[doc(hidden)]
    fn mark(tx: &mut Transaction<'_, Self>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Records what became of an effect: it was done, or refused before anything was written.
    #[doc(hidden)]
    fn record(tx: &mut Transaction<'_, Self>, row: NewRow<'_>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Takes the work back to the mark and records its refusal.
    #[doc(hidden)]
    fn refuse(tx: &mut Transaction<'_, Self>, row: NewRow<'_>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Raises the horizon and removes a batch of rows behind it.
    #[doc(hidden)]
    fn prune(
        tx: &mut Transaction<'_, Self>,
        horizon: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<u64, Error>> + Send;
}

/// What a call has met.
#[derive(Debug)]
pub enum Met {
    /// Nothing: the work is to be done.
    Run,
    /// The answer of an earlier attempt.
    Stored {
        /// It.
        answer: Answer,
        /// Whether that attempt was refused.
        refused: bool,
        /// Whether that attempt had another body.
        altered: bool,
    },
    /// An action that never took effect: there is nothing to take back.
    Nothing,
    /// No action at all, and now a row that says that it must never happen.
    Void,
    /// Something that forbids the work.
    Problem(Answer),
}

/// One row to be.
#[derive(Clone, Copy, Debug)]
pub struct NewRow<'a> {
    pub(super) pass: &'a super::Pass,
    pub(super) state: State,
    pub(super) answer: &'a Answer,
    pub(super) now: Timestamp,
}
