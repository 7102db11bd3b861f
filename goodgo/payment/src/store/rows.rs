//! The statements. Both databases take and give the same values; each has its own text, in the folder named for it.

use std::sync::Arc;

use sqlx::Transaction;
use steadfast::core::{Clock, Timestamp};
use steadfast::{db, idempotency, locking, outbox, saga};
use uuid::Uuid;

use super::Entry;

/// Id, customer, amount, refunded, status, version.
pub(crate) type PaymentRow = (Uuid, String, i64, i64, String, i64);

/// A handle on a database that the service can be kept in.
pub trait Home: db::Backend<Sql: Rows> + idempotency::Backend {
    /// The records of the keys of users' requests, which lie in the same database.
    #[doc(hidden)]
    fn keys(&self, clock: Arc<dyn Clock>) -> Arc<dyn idempotency::Store>;
}

impl Home for db::Db {
    fn keys(&self, clock: Arc<dyn Clock>) -> Arc<dyn idempotency::Store> {
        Arc::new(idempotency::Sqlite::new(self.clone(), clock))
    }
}

#[cfg(feature = "postgres")]
impl Home for db::postgres::Db {
    fn keys(&self, _: Arc<dyn Clock>) -> Arc<dyn idempotency::Store> {
        // It counts by the clock of its database.
        Arc::new(idempotency::Postgres::new(self.clone()))
    }
}

/// A database that the service can be kept in: [`sqlx::Sqlite`], and `sqlx::Postgres` with the feature `postgres`.
pub trait Rows: locking::Backend + outbox::Backend + saga::barrier::Backend {
    /// The payment for an order.
    #[doc(hidden)]
    fn read_payment(
        connection: &mut Self::Connection,
        order_id: Uuid,
    ) -> impl Future<Output = sqlx::Result<Option<PaymentRow>>> + Send;

    /// `false` where the order has one already.
    #[doc(hidden)]
    fn insert_payment(
        tx: &mut Transaction<'_, Self>,
        ids: (Uuid, Uuid),
        customer: &str,
        amount: i64,
        now: Timestamp,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// Books a movement of money.
    #[doc(hidden)]
    fn insert_entry(
        tx: &mut Transaction<'_, Self>,
        entry: &Entry<'_>,
        now: Timestamp,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Counts into an account; answers with its balance and version.
    #[doc(hidden)]
    fn adjust_account(
        tx: &mut Transaction<'_, Self>,
        customer: &str,
        amount: i64,
    ) -> impl Future<Output = sqlx::Result<(i64, i64)>> + Send;
}

macro_rules! rows {
    ($database:ty, $folder:literal) => {
        impl Rows for $database {
            async fn read_payment(
                connection: &mut Self::Connection,
                order_id: Uuid,
            ) -> sqlx::Result<Option<PaymentRow>> {
                let sql = include_str!(concat!($folder, "/read_payment.sql"));
                sqlx::query_as(sql).bind(order_id).fetch_optional(connection).await
            }

            async fn insert_payment(
                tx: &mut Transaction<'_, Self>,
                (id, order_id): (Uuid, Uuid),
                customer: &str,
                amount: i64,
                now: Timestamp,
            ) -> sqlx::Result<bool> {
                let sql = include_str!(concat!($folder, "/insert_payment.sql"));
                let insert = sqlx::query(sql).bind(id).bind(order_id).bind(customer).bind(amount).bind(now.as_millis());
                Ok(insert.execute(&mut **tx).await?.rows_affected() == 1)
            }

            async fn insert_entry(
                tx: &mut Transaction<'_, Self>,
                entry: &Entry<'_>,
                now: Timestamp,
            ) -> sqlx::Result<()> {
                let insert = sqlx::query(include_str!(concat!($folder, "/insert_entry.sql")))
                    .bind(entry.kind)
                    .bind(entry.order_id)
                    .bind(entry.return_id)
                    .bind(entry.customer)
                    .bind(entry.amount)
                    .bind(entry.reference)
                    .bind(entry.reason)
                    .bind(now.as_millis());
                insert.execute(&mut **tx).await?;
                Ok(())
            }

            async fn adjust_account(
                tx: &mut Transaction<'_, Self>,
                customer: &str,
                amount: i64,
            ) -> sqlx::Result<(i64, i64)> {
                let sql = include_str!(concat!($folder, "/adjust_account.sql"));
                sqlx::query_as(sql).bind(customer).bind(amount).fetch_one(&mut **tx).await
            }
        }
    };
}

rows!(sqlx::Sqlite, "sqlite");
#[cfg(feature = "postgres")]
rows!(sqlx::Postgres, "postgres");
