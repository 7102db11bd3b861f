//! The tables, whatever database they lie in. Everything takes the caller's transaction, so that it is atomic with the
//! caller's record.

use serde_json::json;
use sqlx::Transaction;
use steadfast::locking::{Entity, Version};
use steadfast::outbox;
use uuid::Uuid;

use super::{Cause, Entry, Rows, Stored};
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
    pub(crate) async fn payment<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        order_id: Uuid,
    ) -> Result<Option<Stored>, Error> {
        DB::read_payment(&mut **tx, order_id).await?.map(|row| stored(order_id, row)).transpose()
    }

    /// A payment comes in, is booked and told of; `false` where the order has one already.
    pub(crate) async fn capture<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        id: Uuid,
        (order_id, customer): (Uuid, &str),
        payment: Payment,
        cause: &Cause,
    ) -> Result<bool, Error> {
        if !DB::insert_payment(tx, (id, order_id), customer, payment.amount, cause.now).await? {
            return Ok(false);
        }
        let entry = Entry::new("capture", customer, payment.amount).of_order(Some(order_id));
        DB::insert_entry(tx, &entry, cause.now).await?;
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
    pub(crate) async fn give_back<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        (order_id, return_id): (Uuid, Option<Uuid>),
        before: &Stored,
        after: Payment,
        cause: &Cause,
    ) -> Result<(), Error> {
        let saved = self
            .payment
            .replace(order_id, before.version)
            .set("refunded", after.refunded)
            .set("status", after.status.as_str())
            .run(tx)
            .await?;
        let amount = after.refunded - before.payment.refunded;
        let entry = Entry::new("refund", &before.customer, -amount).of_order(Some(order_id)).of_return(return_id);
        DB::insert_entry(tx, &entry, cause.now).await?;
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
    pub(crate) async fn refund_alone<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        return_id: Uuid,
        customer: &str,
        amount: i64,
        cause: &Cause,
    ) -> Result<(), Error> {
        let entry = Entry::new("refund", customer, -amount).of_return(Some(return_id));
        DB::insert_entry(tx, &entry, cause.now).await?;
        let id = return_id.to_string();
        let payload = json!({"order_id": null, "return_id": id, "customer": customer, "amount": amount});
        outbox::append(tx, &cause.event("payment", &id, "payment.refunded.v1", 1, payload), cause.now).await?;
        Ok(())
    }

    /// An account is adjusted; answers with its new balance.
    pub(crate) async fn adjust<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        entry: &Entry<'_>,
        cause: &Cause,
    ) -> Result<i64, Error> {
        let (balance, version) = DB::adjust_account(tx, entry.customer, entry.amount).await?;
        DB::insert_entry(tx, entry, cause.now).await?;
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

/// A payment from its row.
pub(crate) fn stored(order_id: Uuid, row: super::PaymentRow) -> Result<Stored, Error> {
    let (id, customer, amount, refunded, status, version) = row;
    let corrupt = || Error::Corrupt(format!("the payment for order {order_id}"));
    Ok(Stored {
        id,
        customer,
        payment: Payment { amount, refunded, status: Status::parse(&status).ok_or_else(corrupt)? },
        version: Version::from_stored(version),
    })
}
