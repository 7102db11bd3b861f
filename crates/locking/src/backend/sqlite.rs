//! SQLite: one writer, so that a row cannot change between two statements of a transaction that has written or was begun
//! immediate.

use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Acquire, AssertSqlSafe, Row, Sqlite, Transaction};
use uuid::Uuid;

use super::{Backend, sealed};
use crate::statement::BULK;
use crate::{Error, Part, Value};

impl sealed::Sealed for Sqlite {}

fn db(error: sqlx::Error) -> Error {
    Error::Db(error.into())
}

impl Backend for Sqlite {
    const ROWS_MOVE: bool = false;

    fn bulk_rows(like: &[Part]) -> String {
        let columns = like.len();
        let names: Vec<_> = (0..columns).map(|n| format!("_k{n}, ")).collect();
        // JSON has no bytes: they travel as {"x": hex}.
        let value = |n| {
            format!(
                "case json_type(value, '$[{n}]') when 'object' then unhex(json_extract(value, '$[{n}].x')) \
                 else json_extract(value, '$[{n}]') end, "
            )
        };
        let values: Vec<_> = (0..columns).map(value).collect();
        let (names, values) = (names.concat(), values.concat());
        format!(
            "{BULK} ({names}_n) as materialized (select {values}json_extract(value, '$[{columns}]') from json_each($1))"
        )
    }

    async fn fetch(
        tx: &mut Transaction<'_, Sqlite>,
        sql: Arc<str>,
        values: Vec<Value>,
    ) -> Result<Vec<SqliteRow>, Error> {
        // Safe: assembled by `statement` from checked identifiers and the program's own text; values are bound.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in values {
            query = match value {
                Value::Null => query.bind(None::<i64>),
                Value::Bool(flag) => query.bind(flag),
                Value::Int(number) => query.bind(number),
                Value::Real(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Uuid(id) => query.bind(id.as_bytes().to_vec()),
            };
        }
        query.fetch_all(&mut **tx).await.map_err(db)
    }

    async fn savepoint<'t>(tx: &'t mut Transaction<'_, Sqlite>) -> Result<Transaction<'t, Sqlite>, Error> {
        tx.begin().await.map_err(db)
    }

    fn int(row: &SqliteRow, column: usize) -> Result<i64, Error> {
        row.try_get(column).map_err(db)
    }

    fn part(row: &SqliteRow, column: usize, like: &Part) -> Result<Part, Error> {
        match like {
            Part::Int(_) => row.try_get(column).map(Part::Int),
            Part::Text(_) => row.try_get(column).map(Part::Text),
            Part::Bytes(_) => row.try_get(column).map(Part::Bytes),
            Part::Uuid(_) => row.try_get::<Vec<u8>, _>(column).and_then(|bytes| {
                let id = Uuid::from_slice(&bytes).map_err(|error| sqlx::Error::Decode(error.into()))?;
                Ok(Part::Uuid(id))
            }),
        }
        .map_err(db)
    }
}
