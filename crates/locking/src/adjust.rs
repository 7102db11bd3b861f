//! A change of counted columns: a delta and a guard, no expected version.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::Transaction;

use crate::backend::Backend;
use crate::statement;
use crate::{Changed, Entity, Error, Key, Loser, Part, Reason, Value, Version};

/// A declared adjustment; see [`Entity::adjust`]. Cheap to clone.
///
/// The guard makes it safe without a version: the database evaluates it on the row as it is at the moment of the change,
/// so that concurrent sales can neither oversell nor refuse what is there. A `check` constraint on the table is still
/// advised as the last line.
#[derive(Clone, Debug)]
pub struct Adjust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entity: Entity,
    set: &'static str,
    guard: &'static str,
    returning: Option<&'static str>,
    /// The statement for one row.
    one: Arc<str>,
    /// What tells a refusal from a row that is not there.
    look: Arc<str>,
}

/// One row of several that were adjusted.
#[derive(Debug)]
pub struct Adjusted<R> {
    /// Which row.
    pub key: Key,
    /// By how much: the sum, where it was named several times.
    pub amount: i64,
    /// The version after the change.
    pub version: Version,
    /// The row as the database returned it: `version`, the key columns, then the columns of `returning`.
    pub row: R,
}

impl Adjust {
    pub(crate) fn new(entity: Entity, set: &'static str, guard: &'static str) -> Result<Self, Error> {
        statement::check_text(entity.name(), "set", set)?;
        statement::check_text(entity.name(), "guard", guard)?;
        if !statement::has_amount(set) {
            let fault = format!("set {set:?} does not use the amount: write it as :n");
            return Err(Error::Declaration { entity: entity.name(), fault });
        }
        Ok(Self::build(entity, set, guard, None))
    }

    fn build(entity: Entity, set: &'static str, guard: &'static str, returning: Option<&'static str>) -> Self {
        let one = statement::adjust(&entity, set, guard, returning).into();
        let look = statement::look_at_guard(&entity, guard).into();
        Self(Arc::new(Inner { entity, set, guard, returning, one, look }))
    }

    /// The same adjustment, with columns or named expressions to return: `on_hand, on_hand - reserved as free`.
    #[must_use]
    pub fn returning(&self, columns: &'static str) -> Self {
        Self::build(self.0.entity.clone(), self.0.set, self.0.guard, Some(columns))
    }

    /// Changes one row by `amount`, in the caller's transaction: one round trip when it succeeds.
    ///
    /// # Errors
    /// [`Error::Refused`] when the guard does not hold, [`Error::NotFound`] when there is no such row, [`Error::Amount`]
    /// when `amount` is not positive. Nothing was written.
    pub async fn run<DB: Backend>(
        &self,
        tx: &mut Transaction<'_, DB>,
        key: impl Into<Key>,
        amount: i64,
    ) -> Result<Changed<DB::Row>, Error> {
        let key = key.into();
        self.check(&key, amount)?;
        let entity = self.0.entity.name();
        let mut values = vec![Value::from(amount)];
        values.extend(key.parts().iter().map(Value::from));
        let mut rows = DB::fetch(tx, Arc::clone(&self.0.one), values.clone()).await?;
        if rows.len() > 1 {
            return Err(Error::NotUnique { entity, rows: rows.len() });
        }
        self.0.entity.record(&key, false);
        if let Some(row) = rows.pop() {
            return Ok(Changed { version: Version::from_stored(DB::int(&row, 0)?), changed: true, row });
        }
        values.rotate_left(1);
        match DB::fetch(tx, Arc::clone(&self.0.look), values).await?.pop() {
            Some(_) => Err(Error::Refused { entity, key, guard: self.0.guard }),
            None => Err(Error::NotFound { entity, key }),
        }
    }

    /// Changes several rows, all or none, in one round trip when it succeeds. Amounts for the same row are summed first,
    /// as an invoice may name a product twice; rows are met and answered in key order.
    ///
    /// # Errors
    /// [`Error::Losers`] names every row that is not there or whose guard does not hold. Nothing was written.
    pub async fn run_all<DB: Backend>(
        &self,
        tx: &mut Transaction<'_, DB>,
        changes: impl IntoIterator<Item = (impl Into<Key>, i64)>,
    ) -> Result<Vec<Adjusted<DB::Row>>, Error> {
        let mut changes = self.sum(changes)?;
        let Some(first) = changes.keys().next() else { return Ok(Vec::new()) };
        let like = first.parts().to_vec();
        let entity = self.0.entity.name();
        let Inner { entity: stored, set, guard, returning, .. } = &*self.0;
        let source = DB::bulk_rows(&like);
        let sql = statement::adjust_all(stored, set, guard, *returning, &source, DB::ROWS_MOVE);
        let json = to_json(&changes);
        let count = i64::try_from(changes.len()).unwrap_or(i64::MAX);
        let rows = DB::fetch(tx, sql.into(), vec![Value::from(&json), Value::from(count)]).await?;
        for key in changes.keys() {
            self.0.entity.record(key, false);
        }
        if rows.is_empty() {
            return self.explain(tx, statement::losers(stored, guard, &source), json, &like).await;
        }
        let met = rows.len();
        let mut adjusted = Vec::with_capacity(met);
        for row in rows {
            let key = key_at::<DB>(&row, 1, &like)?;
            let Some(amount) = changes.remove(&key) else { return Err(Error::NotUnique { entity, rows: met }) };
            adjusted.push(Adjusted { key, amount, version: Version::from_stored(DB::int(&row, 0)?), row });
        }
        if !changes.is_empty() {
            return Err(Error::NotUnique { entity, rows: met });
        }
        adjusted.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(adjusted)
    }

    async fn explain<DB: Backend, T>(
        &self,
        tx: &mut Transaction<'_, DB>,
        sql: String,
        json: String,
        like: &[Part],
    ) -> Result<T, Error> {
        let mut losers = Vec::new();
        for row in DB::fetch(tx, sql.into(), vec![Value::from(json)]).await? {
            let reason = match (DB::int(&row, 0)? != 0, DB::int(&row, 1)? != 0) {
                (false, _) => Reason::NotFound,
                (true, false) => Reason::Refused,
                (true, true) => continue,
            };
            losers.push(Loser { key: key_at::<DB>(&row, 2, like)?, reason });
        }
        losers.sort_by(|a, b| a.key.cmp(&b.key));
        Err(Error::Losers { entity: self.0.entity.name(), losers })
    }

    fn sum(&self, changes: impl IntoIterator<Item = (impl Into<Key>, i64)>) -> Result<BTreeMap<Key, i64>, Error> {
        let mut sums = BTreeMap::new();
        for (key, amount) in changes {
            let key = key.into();
            self.check(&key, amount)?;
            let sum = sums.get(&key).copied().unwrap_or(0);
            let Some(sum) = amount.checked_add(sum) else {
                return Err(Error::Amount { entity: self.0.entity.name(), key, amount });
            };
            sums.insert(key, sum);
        }
        Ok(sums)
    }

    fn check(&self, key: &Key, amount: i64) -> Result<(), Error> {
        self.0.entity.check_key(key)?;
        if amount > 0 {
            return Ok(());
        }
        Err(Error::Amount { entity: self.0.entity.name(), key: key.clone(), amount })
    }
}

/// `[[key…, amount], …]`; bytes as `{"x": hex}`.
fn to_json(changes: &BTreeMap<Key, i64>) -> String {
    let part = |part: &Part| match part {
        Part::Int(number) => serde_json::json!(number),
        Part::Text(text) => serde_json::json!(text),
        Part::Bytes(bytes) => serde_json::json!({ "x": steadfast_core::hex(bytes) }),
        Part::Uuid(id) => serde_json::json!({ "x": steadfast_core::hex(id.as_bytes()) }),
    };
    let row = |(key, amount): (&Key, &i64)| {
        key.parts().iter().map(part).chain(std::iter::once(serde_json::json!(amount))).collect::<serde_json::Value>()
    };
    changes.iter().map(row).collect::<serde_json::Value>().to_string()
}

fn key_at<DB: Backend>(row: &DB::Row, first: usize, like: &[Part]) -> Result<Key, Error> {
    like.iter().zip(first..).map(|(part, column)| DB::part(row, column, part)).collect::<Result<_, _>>().map(Key)
}
