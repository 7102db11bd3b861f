//! An edit of what was read.

use sqlx::Transaction;

use crate::backend::Backend;
use crate::expected::{Expected, Row, Stamp};
use crate::statement::{self, ReplaceShape};
use crate::{Conflict, Entity, Error, Key, Loser, Reason, Value, Version};

/// What a change left behind.
#[derive(Debug)]
pub struct Changed<R> {
    /// The version after the change: the `sequence` of its event, and what its `ETag` holds.
    pub version: Version,
    /// Whether the row changed; `false` only after [`Replace::keep_if_equal`].
    pub changed: bool,
    /// The row as the database returned it: `version`, then the columns of `returning`.
    pub row: R,
}

/// An edit that is being described. Nothing happens before [`run`](Self::run).
#[derive(Clone, Debug)]
#[must_use = "an edit does nothing until it is run"]
pub struct Replace {
    entity: Entity,
    key: Key,
    expected: Expected,
    columns: Vec<&'static str>,
    values: Vec<Value>,
    guard: Option<&'static str>,
    keep_if_equal: bool,
    returning: Option<&'static str>,
}

/// Why no row was changed.
#[derive(Debug, PartialEq, Eq)]
enum Why {
    Unchanged,
    Conflict,
    Refused,
}

impl Replace {
    pub(crate) fn new(entity: Entity, key: Key, expected: Expected) -> Self {
        Self {
            entity,
            key,
            expected,
            columns: Vec::new(),
            values: Vec::new(),
            guard: None,
            keep_if_equal: false,
            returning: None,
        }
    }

    /// Sets a column. The last of two values for one column counts.
    pub fn set(mut self, column: &'static str, value: impl Into<Value>) -> Self {
        if let Some(index) = self.columns.iter().position(|name| *name == column) {
            self.values[index] = value.into();
        } else {
            self.columns.push(column);
            self.values.push(value.into());
        }
        self
    }

    /// A condition on the row beside its version, such as `state = 'placed'`; where it does not hold the edit is
    /// [`Error::Refused`].
    pub fn guard(mut self, condition: &'static str) -> Self {
        self.guard = Some(condition);
        self
    }

    /// Leaves the version as it is when every column has its new value already.
    pub fn keep_if_equal(mut self) -> Self {
        self.keep_if_equal = true;
        self
    }

    /// Columns, or expressions with a name, to return with the version: `price, on_hand - reserved as free`.
    pub fn returning(mut self, columns: &'static str) -> Self {
        self.returning = Some(columns);
        self
    }

    /// Runs the edit in the caller's transaction: one round trip when it succeeds.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the row is at another version, [`Error::NotFound`] when there is none (never was, was
    /// deleted, or is hidden), [`Error::Refused`] when the guard does not hold. Nothing was written.
    pub async fn run<DB: Backend>(self, tx: &mut Transaction<'_, DB>) -> Result<Changed<DB::Row>, Error> {
        self.check()?;
        let shape = ReplaceShape {
            entity: &self.entity,
            columns: &self.columns,
            expected: &self.expected.row,
            guard: self.guard,
            keep_if_equal: self.keep_if_equal,
            returning: self.returning,
        };
        let sql = statement::replace(&shape);
        let mut values = self.values.clone();
        values.extend(self.key.parts().iter().map(Value::from));
        values.extend(self.expected_values());
        let mut rows = DB::fetch(tx, sql.into(), values).await?;
        if rows.len() > 1 {
            return Err(Error::NotUnique { entity: self.entity.name(), rows: rows.len() });
        }
        if let Some(row) = rows.pop() {
            self.entity.record(&self.key, false);
            return Ok(Changed { version: Version::from_stored(DB::int(&row, 0)?), changed: true, row });
        }
        self.explain(tx).await
    }

    /// One statement cannot tell a row at another version from one that is not there.
    async fn explain<DB: Backend>(self, tx: &mut Transaction<'_, DB>) -> Result<Changed<DB::Row>, Error> {
        let sql = statement::look(&self.entity, self.guard);
        let values: Vec<Value> = self.key.parts().iter().map(Value::from).collect();
        let entity = self.entity.name();
        let Some(row) = DB::fetch(tx, sql.into(), values.clone()).await?.pop() else {
            self.entity.record(&self.key, false);
            return Err(Error::NotFound { entity, key: self.key });
        };
        let current = Stamp { version: Version::from_stored(DB::int(&row, 0)?), epoch: DB::int(&row, 1)? };
        let why = self.why(current, DB::int(&row, 2)? != 0);
        self.entity.record(&self.key, why == Why::Conflict);
        match why {
            Why::Unchanged => {
                let row = DB::fetch(tx, statement::read(&self.entity, self.returning).into(), values).await?.pop();
                let row = row.ok_or(Error::NotFound { entity, key: self.key })?;
                Ok(Changed { version: current.version, changed: false, row })
            }
            Why::Refused => Err(Error::Refused { entity, key: self.key, guard: self.guard.unwrap_or_default() }),
            Why::Conflict => {
                self.entity.report_conflict(&self.expected);
                let precondition = self.expected.precondition;
                Err(Conflict { entity, key: self.key, current: current.version, precondition }.into())
            }
        }
    }

    fn why(&self, current: Stamp, guard_holds: bool) -> Why {
        if !self.expected.is_met_by(current) {
            Why::Conflict
        } else if !guard_holds {
            Why::Refused
        } else if self.keep_if_equal {
            Why::Unchanged
        } else {
            // The row was what we expected a moment after it was not: somebody is at it.
            Why::Conflict
        }
    }

    /// The expected versions, in the order of the statement's placeholders.
    fn expected_values(&self) -> Vec<Value> {
        match &self.expected.row {
            Row::Any => Vec::new(),
            Row::Version(version) => vec![Value::from(*version)],
            Row::OneOf(stamps) => stamps
                .iter()
                .flat_map(|stamp| {
                    let epoch = self.entity.epoch_column().map(|_| Value::from(stamp.epoch));
                    std::iter::once(Value::from(stamp.version)).chain(epoch)
                })
                .collect(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let entity = self.entity.name();
        self.entity.check_key(&self.key)?;
        for column in &self.columns {
            statement::check_identifier(entity, column)?;
            if column.eq_ignore_ascii_case("version") {
                let fault = "version must not be set: it is counted for you".to_owned();
                return Err(Error::Declaration { entity, fault });
            }
        }
        self.guard.map_or(Ok(()), |guard| statement::check_text(entity, "guard", guard))
    }
}

/// Runs several edits, of one entity or of several: all or none. Rows are met in key order, so that two callers with the
/// same rows wait for each other instead of locking each other out.
///
/// # Errors
/// [`Error::Losers`] names every edit that could not be made and why; then nothing was written, and the caller's
/// transaction goes on as before.
pub async fn replace_all<DB: Backend>(
    tx: &mut Transaction<'_, DB>,
    mut edits: Vec<Replace>,
) -> Result<Vec<Changed<DB::Row>>, Error> {
    edits.sort_by(|a, b| (a.entity.name(), &a.key).cmp(&(b.entity.name(), &b.key)));
    let Some(entity) = edits.first().map(|edit| edit.entity.name()) else { return Ok(Vec::new()) };
    let mut inner = DB::savepoint(tx).await?;
    let mut changed = Vec::with_capacity(edits.len());
    let mut losers = Vec::new();
    for edit in edits {
        match edit.run(&mut inner).await {
            Ok(row) => changed.push(row),
            Err(Error::Conflict(Conflict { key, current, .. })) => {
                losers.push(Loser { key, reason: Reason::Conflict(current) });
            }
            Err(Error::NotFound { key, .. }) => losers.push(Loser { key, reason: Reason::NotFound }),
            Err(Error::Refused { key, .. }) => losers.push(Loser { key, reason: Reason::Refused }),
            Err(other) => return Err(other),
        }
    }
    if losers.is_empty() {
        inner.commit().await.map_err(steadfast_db::Error::from)?;
        return Ok(changed);
    }
    inner.rollback().await.map_err(steadfast_db::Error::from)?;
    Err(Error::Losers { entity, losers })
}
