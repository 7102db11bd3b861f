//! PostgreSQL under READ COMMITTED: a change waits for a row that another transaction has changed and is then decided on
//! the row as that one left it.

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgRow, PgTypeInfo};
use sqlx::{Acquire, AssertSqlSafe, Encode, Postgres, Row, Transaction, Type, TypeInfo, ValueRef};
use uuid::Uuid;

use super::{Backend, sealed};
use crate::statement::BULK;
use crate::{Error, Part, Value};

impl sealed::Sealed for Postgres {}

fn db(error: sqlx::Error) -> Error {
    Error::Db(error.into())
}

/// NULL of the type that the statement says.
struct Null;

impl Type<Postgres> for Null {
    fn type_info() -> PgTypeInfo {
        // Unspecified: the server infers it.
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Null {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

/// A value of the type `uuid`.
struct Id([u8; 16]);

impl Type<Postgres> for Id {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(2950))
    }
}

impl Encode<'_, Postgres> for Id {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
}

impl Backend for Postgres {
    const ROWS_MOVE: bool = true;

    fn bulk_rows(like: &[Part]) -> String {
        let names: Vec<_> = (0..like.len()).map(|n| format!("_k{n}, ")).collect();
        let value = |(n, part): (usize, &Part)| match part {
            Part::Int(_) => format!("(value ->> {n})::bigint, "),
            Part::Text(_) => format!("value ->> {n}, "),
            Part::Bytes(_) => format!("decode(value #>> '{{{n},x}}', 'hex'), "),
            Part::Uuid(_) => format!("(value #>> '{{{n},x}}')::uuid, "),
        };
        let values: Vec<_> = like.iter().enumerate().map(value).collect();
        let (names, values, amount) = (names.concat(), values.concat(), like.len());
        format!(
            "{BULK} ({names}_n) as materialized \
             (select {values}(value ->> {amount})::bigint from jsonb_array_elements($1::text::jsonb))"
        )
    }

    async fn fetch(tx: &mut Transaction<'_, Postgres>, sql: Arc<str>, values: Vec<Value>) -> Result<Vec<PgRow>, Error> {
        // A prepared statement is kept under its text and has the types that its first values had: another type, another text.
        let mut text = String::with_capacity(sql.len() + values.len() + 8);
        write!(text, "{sql} /* {} */", values.iter().map(letter).collect::<String>()).ok();
        // Safe: assembled by `statement` from checked identifiers and the program's own text; values are bound.
        let mut query = sqlx::query(AssertSqlSafe(text));
        for value in values {
            query = match value {
                Value::Null => query.bind(Null),
                Value::Bool(flag) => query.bind(flag),
                Value::Int(number) => query.bind(number),
                Value::Real(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Uuid(id) => query.bind(Id(id.into_bytes())),
            };
        }
        query.fetch_all(&mut **tx).await.map_err(db)
    }

    async fn savepoint<'t>(tx: &'t mut Transaction<'_, Postgres>) -> Result<Transaction<'t, Postgres>, Error> {
        tx.begin().await.map_err(db)
    }

    fn int(row: &PgRow, column: usize) -> Result<i64, Error> {
        let kind = row.try_get_raw(column).map_err(db)?.type_info().name().to_owned();
        match kind.as_str() {
            "BOOL" => row.try_get::<bool, _>(column).map(i64::from),
            "INT2" => row.try_get::<i16, _>(column).map(i64::from),
            "INT4" => row.try_get::<i32, _>(column).map(i64::from),
            _ => row.try_get::<i64, _>(column),
        }
        .map_err(db)
    }

    fn part(row: &PgRow, column: usize, like: &Part) -> Result<Part, Error> {
        match like {
            Part::Int(_) => Self::int(row, column).map(Part::Int),
            Part::Text(_) => row.try_get(column).map(Part::Text).map_err(db),
            Part::Bytes(_) => row.try_get(column).map(Part::Bytes).map_err(db),
            Part::Uuid(_) => {
                let raw = row.try_get_raw(column).map_err(db)?;
                let decode = |error: BoxDynError| db(sqlx::Error::Decode(error));
                let bytes = raw.as_bytes().map_err(decode)?;
                Uuid::from_slice(bytes).map(Part::Uuid).map_err(|error| decode(error.into()))
            }
        }
    }
}

const fn letter(value: &Value) -> char {
    match value {
        Value::Null => '-',
        Value::Bool(_) => 'f',
        Value::Int(_) => 'i',
        Value::Real(_) => 'r',
        Value::Text(_) => 't',
        Value::Bytes(_) => 'b',
        Value::Uuid(_) => 'u',
    }
}
