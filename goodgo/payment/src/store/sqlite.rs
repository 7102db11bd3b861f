//! The store in SQLite. Everything takes the caller's transaction, so that it is atomic with the caller's record.

use serde_json::json;
use sqlx::{Executor, Sqlite};
use steadfast::db::tx::Tx;
use steadfast::locking::{Entity, Version};
use steadfast::outbox;
use uuid::Uuid;

use super::{Cause, Entry, Stored};
use crate::Error;
use crate::payment::{Payment, Status};

/// The tables' declarations; made once, since they hold the handles of metrics.
#[derive(Debug)]
pub(crate) struct Store {
    payment: Entity,
}

impl Store {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { payment: Entity::new("payment", &["order_id"])? })
    }

    /// The payment for an order.
    pub(crate) async fn payment(
        &self,
        executor: impl Executor<'_, Database = Sqlite>,
        order_id: Uuid,
    ) -> Result<Option<Stored>, Error> {
        let found: Option<(Vec<u8>, String, i64, i64, String, i64)> =
            sqlx::query_as(include_str!("sqlite/read_payment.sql"))
                .bind(order_id.as_bytes().as_slice())
                .fetch_optional(executor)
                .await?;
        let Some((id, customer, amount, refunded, status, version)) = found else { return Ok(None) };
        let corrupt = || Error::Corrupt(format!("the payment for order {order_id}"));
        Ok(Some(Stored {
            id: Uuid::from_slice(&id).map_err(|_| corrupt())?,
            customer,
            payment: Payment { amount, refunded, status: Status::parse(&status).ok_or_else(corrupt)? },
            version: Version::from_stored(version),
        }))
    }

    /// A payment comes in, is booked and told of; `false` where the order has one already.
    pub(crate) async fn capture(
        &self,
        tx: &mut Tx,
        id: Uuid,
        (order_id, customer): (Uuid, &str),
        payment: Payment,
        cause: &Cause,
    ) -> Result<bool, Error> {
        let key: Option<i64> = sqlx::query_scalar(include_str!("sqlite/insert_payment.sql"))
            .bind(id.as_bytes().as_slice())
            .bind(order_id.as_bytes().as_slice())
            .bind(customer)
            .bind(payment.amount)
            .bind(cause.now.as_millis())
            .fetch_optional(&mut **tx)
            .await?;
        if key.is_none() {
            return Ok(false);
        }
        let entry = Entry::new("capture", customer, payment.amount).of_order(Some(order_id));
        book(tx, &entry, cause).await?;
        let payload = json!({
            "order_id": order_id.to_string(),
            "payment_id": id.to_string(),
            "customer": customer,
            "amount": payment.amount,
        });
        let event = cause.event("payment", &order_id.to_string(), "payment.captured.v1", 1, payload);
        outbox::append(tx, &event, cause.now).await?;
        Ok(true)
    }

    /// Money goes back of a payment that was read in this transaction, is booked and told of. `after` is what the rules
    /// have made of it.
    pub(crate) async fn give_back(
        &self,
        tx: &mut Tx,
        (order_id, return_id): (Uuid, Option<Uuid>),
        before: &Stored,
        after: Payment,
        cause: &Cause,
    ) -> Result<(), Error> {
        let saved = self
            .payment
            .replace(order_id.as_bytes(), before.version)
            .set("refunded", after.refunded)
            .set("status", after.status.as_str())
            .run(tx)
            .await?;
        let amount = after.refunded - before.payment.refunded;
        let entry = Entry::new("refund", &before.customer, -amount).of_order(Some(order_id)).of_return(return_id);
        book(tx, &entry, cause).await?;
        let payload = json!({
            "order_id": order_id.to_string(),
            "return_id": return_id.map(|id| id.to_string()),
            "payment_id": before.id.to_string(),
            "customer": before.customer,
            "amount": amount,
            "status": after.status.as_str(),
        });
        let version = saved.version.get();
        let event = cause.event("payment", &order_id.to_string(), "payment.refunded.v1", version, payload);
        outbox::append(tx, &event, cause.now).await?;
        Ok(())
    }

    /// Money goes out for goods that were bought without an order of ours.
    pub(crate) async fn refund_alone(
        &self,
        tx: &mut Tx,
        return_id: Uuid,
        customer: &str,
        amount: i64,
        cause: &Cause,
    ) -> Result<(), Error> {
        book(tx, &Entry::new("refund", customer, -amount).of_return(Some(return_id)), cause).await?;
        let id = return_id.to_string();
        let payload = json!({"order_id": null, "return_id": id, "customer": customer, "amount": amount});
        outbox::append(tx, &cause.event("payment", &id, "payment.refunded.v1", 1, payload), cause.now).await?;
        Ok(())
    }

    /// An account is adjusted; answers with its new balance.
    pub(crate) async fn adjust(&self, tx: &mut Tx, entry: &Entry<'_>, cause: &Cause) -> Result<i64, Error> {
        let (balance, version): (i64, i64) = sqlx::query_as(include_str!("sqlite/adjust_account.sql"))
            .bind(entry.customer)
            .bind(entry.amount)
            .fetch_one(&mut **tx)
            .await?;
        book(tx, entry, cause).await?;
        let payload = json!({
            "customer": entry.customer,
            "reference": entry.reference,
            "reason": entry.reason,
            "amount": entry.amount,
            "balance": balance,
        });
        let event = cause.event("account", entry.customer, "account.adjusted.v1", version, payload);
        outbox::append(tx, &event, cause.now).await?;
        Ok(balance)
    }
}

impl<'a> Entry<'a> {
    pub(crate) const fn new(kind: &'static str, customer: &'a str, amount: i64) -> Self {
        Self { kind, order_id: None, return_id: None, customer, amount, reference: None, reason: None }
    }

    fn of_order(mut self, order_id: Option<Uuid>) -> Self {
        self.order_id = order_id;
        self
    }

    fn of_return(mut self, return_id: Option<Uuid>) -> Self {
        self.return_id = return_id;
        self
    }
}

async fn book(tx: &mut Tx, entry: &Entry<'_>, cause: &Cause) -> Result<(), Error> {
    let bytes = |id: Option<Uuid>| id.map(|id| id.as_bytes().to_vec());
    sqlx::query(include_str!("sqlite/insert_entry.sql"))
        .bind(entry.kind)
        .bind(bytes(entry.order_id))
        .bind(bytes(entry.return_id))
        .bind(entry.customer)
        .bind(entry.amount)
        .bind(entry.reference)
        .bind(entry.reason)
        .bind(cause.now.as_millis())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
