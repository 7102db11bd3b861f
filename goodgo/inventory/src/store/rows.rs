//! The statements. Both databases take and give the same values; each has its own text, in the folder named for it. Rows
//! of several things go in as one JSON array.

use std::sync::Arc;

use serde_json::Value;
use sqlx::{Row as _, Transaction};
use steadfast::core::{Clock, Timestamp};
use steadfast::locking::lane::Bounds;
#[cfg(feature = "postgres")]
use steadfast::locking::lane::Lane;
use steadfast::{db, idempotency, locking, outbox, saga};
use uuid::Uuid;

use super::Cause;
#[cfg(feature = "postgres")]
use super::hot::Batches;
use super::hot::Combine;

/// A handle on a database that the service can be kept in.
pub trait Home: db::Backend<Sql: Rows> + idempotency::Backend {
    /// The records of the keys of users' requests, which lie in the same database.
    #[doc(hidden)]
    fn keys(&self, clock: Arc<dyn Clock>) -> Arc<dyn idempotency::Store>;

    /// What combines reservations of hot products; nothing where one writer does so already.
    #[doc(hidden)]
    fn lane(&self, bounds: Bounds) -> Option<Arc<dyn Combine>>;
}

impl Home for db::Db {
    fn keys(&self, clock: Arc<dyn Clock>) -> Arc<dyn idempotency::Store> {
        Arc::new(idempotency::Sqlite::new(self.clone(), clock))
    }

    fn lane(&self, _: Bounds) -> Option<Arc<dyn Combine>> {
        None
    }
}

#[cfg(feature = "postgres")]
impl Home for db::postgres::Db {
    fn keys(&self, _: Arc<dyn Clock>) -> Arc<dyn idempotency::Store> {
        // It counts by the clock of its database.
        Arc::new(idempotency::Postgres::new(self.clone()))
    }

    fn lane(&self, bounds: Bounds) -> Option<Arc<dyn Combine>> {
        Some(Arc::new(Lane::open(Batches::new(self.clone()), bounds)))
    }
}

/// A database that the service can be kept in: [`sqlx::Sqlite`], and `sqlx::Postgres` with the feature `postgres`.
pub trait Rows: locking::Backend + outbox::Backend + saga::barrier::Backend {
    /// Books changes of what is on hand, `[product, signed quantity]` each.
    #[doc(hidden)]
    fn insert_movements(
        tx: &mut Transaction<'_, Self>,
        kind: &'static str,
        rows: Value,
        cause: &Cause,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Lists products, `[product, description, price, quantity]` each; says which were not there yet.
    #[doc(hidden)]
    fn insert_products(
        tx: &mut Transaction<'_, Self>,
        rows: Value,
    ) -> impl Future<Output = sqlx::Result<Vec<String>>> + Send;

    /// Opens their stock, from the same rows.
    #[doc(hidden)]
    fn insert_stock(tx: &mut Transaction<'_, Self>, rows: Value) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Promises stock to an order; nothing where something is promised already.
    #[doc(hidden)]
    fn insert_reservation(
        tx: &mut Transaction<'_, Self>,
        order_id: Uuid,
        now: Timestamp,
    ) -> impl Future<Output = sqlx::Result<Option<i64>>> + Send;

    /// Its lines, `[product, quantity]` each.
    #[doc(hidden)]
    fn insert_reservation_lines(
        tx: &mut Transaction<'_, Self>,
        key: i64,
        rows: Value,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Status and version with each line's product and quantity.
    #[doc(hidden)]
    fn read_reservation(
        tx: &mut Transaction<'_, Self>,
        order_id: Uuid,
    ) -> impl Future<Output = sqlx::Result<Vec<(String, i64, String, i64)>>> + Send;

    /// Code, description, price and version.
    #[doc(hidden)]
    fn read_product(
        connection: &mut Self::Connection,
        product: &str,
    ) -> impl Future<Output = sqlx::Result<Option<(String, String, i64, i64)>>> + Send;

    /// `on_hand` and `reserved` of a row that was adjusted.
    #[doc(hidden)]
    fn level(row: &Self::Row) -> sqlx::Result<(i64, i64)>;
}

macro_rules! rows {
    ($database:ty, $folder:literal) => {
        impl Rows for $database {
            async fn insert_movements(
                tx: &mut Transaction<'_, Self>,
                kind: &'static str,
                rows: Value,
                cause: &Cause,
            ) -> sqlx::Result<()> {
                let insert = sqlx::query(include_str!(concat!($folder, "/insert_movements.sql")))
                    .bind(rows.to_string())
                    .bind(kind)
                    .bind(cause.order_id)
                    .bind(cause.return_id)
                    .bind(cause.reference.as_deref())
                    .bind(cause.reason.as_deref())
                    .bind(cause.now.as_millis());
                insert.execute(&mut **tx).await?;
                Ok(())
            }

            async fn insert_products(tx: &mut Transaction<'_, Self>, rows: Value) -> sqlx::Result<Vec<String>> {
                let sql = include_str!(concat!($folder, "/insert_products.sql"));
                sqlx::query_scalar(sql).bind(rows.to_string()).fetch_all(&mut **tx).await
            }

            async fn insert_stock(tx: &mut Transaction<'_, Self>, rows: Value) -> sqlx::Result<()> {
                let sql = include_str!(concat!($folder, "/insert_stock.sql"));
                sqlx::query(sql).bind(rows.to_string()).execute(&mut **tx).await?;
                Ok(())
            }

            async fn insert_reservation(
                tx: &mut Transaction<'_, Self>,
                order_id: Uuid,
                now: Timestamp,
            ) -> sqlx::Result<Option<i64>> {
                let sql = include_str!(concat!($folder, "/insert_reservation.sql"));
                sqlx::query_scalar(sql).bind(order_id).bind(now.as_millis()).fetch_optional(&mut **tx).await
            }

            async fn insert_reservation_lines(
                tx: &mut Transaction<'_, Self>,
                key: i64,
                rows: Value,
            ) -> sqlx::Result<()> {
                let sql = include_str!(concat!($folder, "/insert_reservation_lines.sql"));
                sqlx::query(sql).bind(key).bind(rows.to_string()).execute(&mut **tx).await?;
                Ok(())
            }

            async fn read_reservation(
                tx: &mut Transaction<'_, Self>,
                order_id: Uuid,
            ) -> sqlx::Result<Vec<(String, i64, String, i64)>> {
                let sql = include_str!(concat!($folder, "/read_reservation.sql"));
                sqlx::query_as(sql).bind(order_id).fetch_all(&mut **tx).await
            }

            async fn read_product(
                connection: &mut Self::Connection,
                product: &str,
            ) -> sqlx::Result<Option<(String, String, i64, i64)>> {
                let sql = include_str!(concat!($folder, "/read_product.sql"));
                sqlx::query_as(sql).bind(product).fetch_optional(connection).await
            }

            fn level(row: &Self::Row) -> sqlx::Result<(i64, i64)> {
                Ok((row.try_get("on_hand")?, row.try_get("reserved")?))
            }
        }
    };
}

rows!(sqlx::Sqlite, "sqlite");
#[cfg(feature = "postgres")]
rows!(sqlx::Postgres, "postgres");
