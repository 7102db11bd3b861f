//! The tables, whatever database they lie in. Everything takes the caller's transaction, so that it is atomic with the
//! barrier's row.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::Transaction;
use steadfast::locking::{Entity, Version};
use steadfast::outbox;
use uuid::Uuid;

use super::{Cause, NewOrder, NewReturn, Rows, StoredOrder, StoredReturn};
use crate::Error;
use crate::order::{self, Line};
use crate::returns::{self, Returnable};

/// The tables' declarations; made once, since they hold the handles of metrics.
#[derive(Debug)]
pub(crate) struct Store {
    orders: Entity,
    returns: Entity,
}

impl Store {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { orders: Entity::new("orders", &["id"])?, returns: Entity::new("returns", &["id"])? })
    }

    /// An order with its lines and its event; `false` where its id is taken.
    pub(crate) async fn create_order<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        new: &NewOrder<'_>,
        cause: &Cause,
    ) -> Result<bool, Error> {
        let Some(key) = DB::insert_order(tx, new, cause.now).await? else { return Ok(false) };
        let lines = in_json(new.lines)?;
        DB::insert_order_lines(tx, key, &lines).await?;
        let payload = json!({
            "order_id": new.id.to_string(),
            "order_no": new.order_no,
            "customer": new.customer,
            "placed_at": new.placed_at.as_millis(),
            "total": new.total,
            "currency": new.currency,
            "lines": lines,
        });
        let event = cause.event("order", new.id, "order.created.v1", Version::FIRST, payload);
        outbox::append(tx, &event, cause.now).await?;
        Ok(true)
    }

    /// An order's state.
    pub(crate) async fn order<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        id: Uuid,
    ) -> Result<Option<StoredOrder>, Error> {
        let Some((key, status, total, returned, version)) = DB::read_order(tx, id).await? else { return Ok(None) };
        let status =
            order::Status::parse(&status).ok_or_else(|| Error::Corrupt(format!("the status of order {id}")))?;
        Ok(Some(StoredOrder { key, status, total, returned, version: Version::from_stored(version) }))
    }

    /// Moves an order that was read in this transaction on, and tells of it.
    pub(crate) async fn move_order<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        id: Uuid,
        before: &StoredOrder,
        (status, event_type): (order::Status, &str),
        cause: &Cause,
    ) -> Result<(), Error> {
        let edit = self.orders.replace(id, before.version).set("status", status.as_str());
        let saved = edit.run(tx).await?;
        let payload = json!({"order_id": id.to_string(), "status": status.as_str(), "total": before.total});
        outbox::append(tx, &cause.event("order", id, event_type, saved.version, payload), cause.now).await?;
        Ok(())
    }

    /// What is left of an order to be returned.
    pub(crate) async fn returnable<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        order: &StoredOrder,
    ) -> Result<Returnable, Error> {
        let rows = DB::read_quantities(tx, order.key).await?;
        let quantities: BTreeMap<_, _> =
            rows.into_iter().map(|(product, bought, back)| (product, (bought, back))).collect();
        // What is confirmed was charged whole.
        Ok(Returnable { status: order.status, paid: order.total, returned: order.returned, quantities })
    }

    /// A return with its lines and its event, and its claim on the order that was read in this transaction; `false` where
    /// its id is taken.
    pub(crate) async fn create_return<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        new: &NewReturn<'_>,
        claim: Option<(&StoredOrder, i64)>,
        cause: &Cause,
    ) -> Result<bool, Error> {
        let order_key = claim.map(|(order, _)| order.key);
        let Some(key) = DB::insert_return(tx, new, order_key, cause.now).await? else { return Ok(false) };
        let lines = in_json(new.lines)?;
        DB::insert_return_lines(tx, key, &lines).await?;
        let payload = json!({
            "return_id": new.id.to_string(),
            "return_no": new.return_no,
            "order_id": new.order_id.map(|id| id.to_string()),
            "customer": new.customer,
            "placed_at": new.placed_at.as_millis(),
            "amount": new.amount,
            "lines": lines,
        });
        let mut events = vec![cause.event("return", new.id, "return.recorded.v1", Version::FIRST, payload)];
        if let (Some(order_id), Some((order, returned))) = (new.order_id, claim) {
            let saved = self.claim(tx, order_id, order.version, returned).await?;
            let payload = claimed(order_id, new.id, new.amount, returned);
            events.push(cause.event("order", order_id, "order.return_claimed.v1", saved, payload));
        }
        outbox::append_many(tx, &events, cause.now).await?;
        Ok(true)
    }

    /// A return's state.
    pub(crate) async fn find_return<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        id: Uuid,
    ) -> Result<StoredReturn, Error> {
        let corrupt = |fault: &str| Error::Corrupt(format!("return {id}: {fault}"));
        let (status, version, amount, order, returned, order_version) =
            DB::read_return(tx, id).await?.ok_or_else(|| corrupt("there is none"))?;
        let order = match (order, returned, order_version) {
            (Some(order), Some(returned), Some(version)) => Some((order, returned, Version::from_stored(version))),
            _ => None,
        };
        let status = returns::Status::parse(&status).ok_or_else(|| corrupt("its status"))?;
        Ok(StoredReturn { status, version: Version::from_stored(version), amount, order })
    }

    /// Moves a return that was read in this transaction on, and tells of it. A cancelled one gives its claim back.
    pub(crate) async fn move_return<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        id: Uuid,
        before: &StoredReturn,
        (status, event_type): (returns::Status, &str),
        cause: &Cause,
    ) -> Result<(), Error> {
        let edit = self.returns.replace(id, before.version).set("status", status.as_str());
        let saved = edit.run(tx).await?;
        let payload = json!({
            "return_id": id.to_string(),
            "order_id": before.order.as_ref().map(|(order_id, ..)| order_id.to_string()),
            "amount": before.amount,
            "status": status.as_str(),
        });
        let mut events = vec![cause.event("return", id, event_type, saved.version, payload)];
        if let (returns::Status::Cancelled, Some((order_id, returned, version))) = (status, before.order) {
            let returned = returned - before.amount;
            let saved = self.claim(tx, order_id, version, returned).await?;
            let payload = claimed(order_id, id, -before.amount, returned);
            events.push(cause.event("order", order_id, "order.return_released.v1", saved, payload));
        }
        outbox::append_many(tx, &events, cause.now).await?;
        Ok(())
    }

    async fn claim<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        order_id: Uuid,
        version: Version,
        returned: i64,
    ) -> Result<Version, Error> {
        Ok(self.orders.replace(order_id, version).set("returned", returned).run(tx).await?.version)
    }
}

fn claimed(order_id: Uuid, return_id: Uuid, amount: i64, returned: i64) -> Value {
    json!({
        "order_id": order_id.to_string(),
        "return_id": return_id.to_string(),
        "amount": amount,
        "returned": returned,
    })
}

fn in_json(lines: &[Line]) -> Result<Value, Error> {
    serde_json::to_value(lines).map_err(|error| Error::Corrupt(format!("lines have no form in JSON: {error}")))
}
