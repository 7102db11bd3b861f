//! The statements. Both databases take and give the same values; each has its own text, in the folder named for it. Rows go
//! in as one JSON array, so that each kind is one statement.

use serde_json::Value;
use sqlx::{Database, Pool, Transaction};
use steadfast::db::BoxError;
use uuid::Uuid;

/// The number on the receipt, customer, moment, currency, status, total, paid, refunded, returned, lines.
type OrderRow = (String, String, i64, String, String, i64, i64, i64, i64, String);

/// What is written of a batch; each takes its rows as one array.
#[derive(Clone, Copy, Debug)]
pub enum Rows {
    /// What orders are, where they stand, and their money.
    Orders,
    /// Returns that were recorded.
    NewReturns,
    /// Where returns stand.
    ReturnStatus,
    /// Orders and returns that were confirmed.
    Sales,
    /// What is there of products.
    Stock,
}

/// A database that the read model can be kept in: [`sqlx::Sqlite`], and `sqlx::Postgres` with the feature `postgres`.
pub trait Tables: Database {
    /// Writes these rows; none where there are none.
    #[doc(hidden)]
    fn write(
        tx: &mut Transaction<'static, Self>,
        what: Rows,
        rows: Vec<Value>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// An order, once it has been heard of.
    #[doc(hidden)]
    fn find_order(pool: &Pool<Self>, id: Uuid) -> impl Future<Output = sqlx::Result<Option<OrderRow>>> + Send;

    /// Product, quantity and revenue of a day.
    #[doc(hidden)]
    fn find_sales(pool: &Pool<Self>, day: &str) -> impl Future<Output = sqlx::Result<Vec<(String, i64, i64)>>> + Send;

    /// What is there of a product, and what of it is reserved.
    #[doc(hidden)]
    fn find_stock(pool: &Pool<Self>, product: &str) -> impl Future<Output = sqlx::Result<Option<(i64, i64)>>> + Send;
}

macro_rules! tables {
    ($database:ty, $folder:literal) => {
        impl Tables for $database {
            async fn write(tx: &mut Transaction<'static, Self>, what: Rows, rows: Vec<Value>) -> Result<(), BoxError> {
                let sql = match what {
                    Rows::Orders => include_str!(concat!($folder, "/upsert_orders.sql")),
                    Rows::NewReturns => include_str!(concat!($folder, "/upsert_returns.sql")),
                    Rows::ReturnStatus => include_str!(concat!($folder, "/update_return_status.sql")),
                    Rows::Sales => include_str!(concat!($folder, "/count_sales.sql")),
                    Rows::Stock => include_str!(concat!($folder, "/upsert_stock.sql")),
                };
                if !rows.is_empty() {
                    sqlx::query(sql).bind(Value::from(rows).to_string()).execute(&mut **tx).await?;
                }
                Ok(())
            }

            async fn find_order(pool: &Pool<Self>, id: Uuid) -> sqlx::Result<Option<OrderRow>> {
                let sql = include_str!(concat!($folder, "/find_order.sql"));
                sqlx::query_as(sql).bind(id).fetch_optional(pool).await
            }

            async fn find_sales(pool: &Pool<Self>, day: &str) -> sqlx::Result<Vec<(String, i64, i64)>> {
                let sql = include_str!(concat!($folder, "/find_sales.sql"));
                sqlx::query_as(sql).bind(day.to_owned()).fetch_all(pool).await
            }

            async fn find_stock(pool: &Pool<Self>, product: &str) -> sqlx::Result<Option<(i64, i64)>> {
                let sql = include_str!(concat!($folder, "/find_stock.sql"));
                sqlx::query_as(sql).bind(product.to_owned()).fetch_optional(pool).await
            }
        }
    };
}

tables!(sqlx::Sqlite, "sqlite");
#[cfg(feature = "postgres")]
tables!(sqlx::Postgres, "postgres");
