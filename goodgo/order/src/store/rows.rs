//! The statements. Both databases take and give the same values; each has its own text, in the folder named for it. Lines
//! go in as one JSON array.

use serde_json::Value;
use sqlx::Transaction;
use steadfast::core::Timestamp;
use steadfast::{locking, outbox, saga};
use uuid::Uuid;

use super::{NewOrder, NewReturn};
use crate::read_model::Tables;

/// Key, status, total, returned, version.
type OrderRow = (i64, String, i64, i64, i64);
/// Status, version, amount; the order's id, what returns have claimed of it, and its version.
type ReturnRow = (String, i64, i64, Option<Uuid>, Option<i64>, Option<i64>);

/// A database that the service can be kept in: [`sqlx::Sqlite`], and `sqlx::Postgres` with the feature `postgres`.
pub trait Rows: locking::Backend + outbox::Backend + saga::barrier::Backend + Tables {
    /// The key of the new order; nothing where its id is taken.
    #[doc(hidden)]
    fn insert_order(
        tx: &mut Transaction<'_, Self>,
        new: &NewOrder<'_>,
        now: Timestamp,
    ) -> impl Future<Output = sqlx::Result<Option<i64>>> + Send;

    /// All lines of an order.
    #[doc(hidden)]
    fn insert_order_lines(
        tx: &mut Transaction<'_, Self>,
        key: i64,
        lines: &Value,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// An order's state.
    #[doc(hidden)]
    fn read_order(
        tx: &mut Transaction<'_, Self>,
        id: Uuid,
    ) -> impl Future<Output = sqlx::Result<Option<OrderRow>>> + Send;

    /// What was bought of each product, and what of it returns have claimed.
    #[doc(hidden)]
    fn read_quantities(
        tx: &mut Transaction<'_, Self>,
        key: i64,
    ) -> impl Future<Output = sqlx::Result<Vec<(String, i64, i64)>>> + Send;

    /// The key of the new return; nothing where its id is taken.
    #[doc(hidden)]
    fn insert_return(
        tx: &mut Transaction<'_, Self>,
        new: &NewReturn<'_>,
        order_key: Option<i64>,
        now: Timestamp,
    ) -> impl Future<Output = sqlx::Result<Option<i64>>> + Send;

    /// All lines of a return.
    #[doc(hidden)]
    fn insert_return_lines(
        tx: &mut Transaction<'_, Self>,
        key: i64,
        lines: &Value,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// A return's state, with its order's where it has one.
    #[doc(hidden)]
    fn read_return(
        tx: &mut Transaction<'_, Self>,
        id: Uuid,
    ) -> impl Future<Output = sqlx::Result<Option<ReturnRow>>> + Send;
}

macro_rules! rows {
    ($database:ty, $folder:literal) => {
        impl Rows for $database {
            async fn insert_order(
                tx: &mut Transaction<'_, Self>,
                new: &NewOrder<'_>,
                now: Timestamp,
            ) -> sqlx::Result<Option<i64>> {
                let insert = sqlx::query_scalar(include_str!(concat!($folder, "/insert_order.sql")))
                    .bind(new.id)
                    .bind(new.order_no)
                    .bind(new.customer)
                    .bind(new.placed_at.as_millis())
                    .bind(new.total)
                    .bind(new.currency)
                    .bind(now.as_millis());
                insert.fetch_optional(&mut **tx).await
            }

            async fn insert_order_lines(tx: &mut Transaction<'_, Self>, key: i64, lines: &Value) -> sqlx::Result<()> {
                let sql = include_str!(concat!($folder, "/insert_order_lines.sql"));
                sqlx::query(sql).bind(key).bind(lines.to_string()).execute(&mut **tx).await?;
                Ok(())
            }

            async fn read_order(tx: &mut Transaction<'_, Self>, id: Uuid) -> sqlx::Result<Option<OrderRow>> {
                let sql = include_str!(concat!($folder, "/read_order.sql"));
                sqlx::query_as(sql).bind(id).fetch_optional(&mut **tx).await
            }

            async fn read_quantities(
                tx: &mut Transaction<'_, Self>,
                key: i64,
            ) -> sqlx::Result<Vec<(String, i64, i64)>> {
                let sql = include_str!(concat!($folder, "/read_quantities.sql"));
                sqlx::query_as(sql).bind(key).fetch_all(&mut **tx).await
            }

            async fn insert_return(
                tx: &mut Transaction<'_, Self>,
                new: &NewReturn<'_>,
                order_key: Option<i64>,
                now: Timestamp,
            ) -> sqlx::Result<Option<i64>> {
                let insert = sqlx::query_scalar(include_str!(concat!($folder, "/insert_return.sql")))
                    .bind(new.id)
                    .bind(new.return_no)
                    .bind(order_key)
                    .bind(new.customer)
                    .bind(new.placed_at.as_millis())
                    .bind(new.amount)
                    .bind(now.as_millis());
                insert.fetch_optional(&mut **tx).await
            }

            async fn insert_return_lines(tx: &mut Transaction<'_, Self>, key: i64, lines: &Value) -> sqlx::Result<()> {
                let sql = include_str!(concat!($folder, "/insert_return_lines.sql"));
                sqlx::query(sql).bind(key).bind(lines.to_string()).execute(&mut **tx).await?;
                Ok(())
            }

            async fn read_return(tx: &mut Transaction<'_, Self>, id: Uuid) -> sqlx::Result<Option<ReturnRow>> {
                let sql = include_str!(concat!($folder, "/read_return.sql"));
                sqlx::query_as(sql).bind(id).fetch_optional(&mut **tx).await
            }
        }
    };
}

rows!(sqlx::Sqlite, "sqlite");
#[cfg(feature = "postgres")]
rows!(sqlx::Postgres, "postgres");
