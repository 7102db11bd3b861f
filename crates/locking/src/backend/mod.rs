//! What a versioned change needs of a database. Each backend is a file named for it.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::sync::Arc;

use sqlx::{Database, Transaction};

use crate::{Error, Part, Value};

mod sealed {
    pub trait Sealed {}
}

/// A database that can hold versioned rows. Sealed: [`sqlx::Sqlite`], and `sqlx::Postgres` with the feature `postgres`.
pub trait Backend: Database + sealed::Sealed {
    /// Whether a row can change between the look at it and the change of it within one statement, so that a statement on
    /// several rows has to lock them first.
    #[doc(hidden)]
    const ROWS_MOVE: bool;

    /// The common table expression that reads `$1`, a JSON array of `[key…, amount]`, as a table with keys like these.
    #[doc(hidden)]
    fn bulk_rows(like: &[Part]) -> String;

    /// Runs one statement to its end.
    #[doc(hidden)]
    fn fetch(
        tx: &mut Transaction<'_, Self>,
        sql: Arc<str>,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send;

    /// A transaction within the transaction, rolled back when it is dropped.
    #[doc(hidden)]
    fn savepoint<'t>(
        tx: &'t mut Transaction<'_, Self>,
    ) -> impl Future<Output = Result<Transaction<'t, Self>, Error>> + Send;

    /// The integer in a column.
    #[doc(hidden)]
    fn int(row: &Self::Row, column: usize) -> Result<i64, Error>;

    /// The part of a key in a column, of the same type as `like`.
    #[doc(hidden)]
    fn part(row: &Self::Row, column: usize, like: &Part) -> Result<Part, Error>;
}
