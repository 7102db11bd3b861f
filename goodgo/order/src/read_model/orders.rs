//! One row for each order and each return.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Transaction;
use steadfast::core::Event;
use steadfast::db::BoxError;
use steadfast::projection::{Projection, Subscription};
use uuid::Uuid;

use super::{Money, Tables, hex, id_of, read, tables};

/// Keeps `order_summary` and `return_summary`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Orders;

#[derive(Debug, Deserialize, Serialize)]
struct Created {
    order_no: String,
    customer: String,
    placed_at: i64,
    currency: String,
    total: i64,
    lines: Value,
}

#[derive(Debug, Deserialize)]
struct Recorded {
    return_no: String,
    order_id: Option<Uuid>,
    placed_at: i64,
    amount: i64,
    lines: Value,
}

/// What a batch tells of one order: of its own events, and of payments and returns.
#[derive(Debug, Default, Serialize)]
struct Order {
    #[serde(flatten)]
    created: Option<Created>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    paid: i64,
    refunded: i64,
    returned: i64,
}

/// The rows of a batch. Those of one aggregate arrive in order, so each kind can be written at once. All that is told of orders
/// is one statement: workers that hold payments and orders of each other's would else lock the same rows in two orders.
#[derive(Debug, Default)]
struct Rows {
    orders: BTreeMap<String, Order>,
    returns: Vec<Value>,
    return_status: Vec<Value>,
}

#[async_trait]
impl<DB: Tables> Projection<DB> for Orders {
    fn name(&self) -> &'static str {
        "orders"
    }

    fn subscribes(&self) -> Subscription {
        Subscription::aggregates(["order", "return", "payment"]).types([
            "order.created.v1",
            "order.confirmed.v1",
            "order.cancelled.v1",
            "return.recorded.v1",
            "return.confirmed.v1",
            "return.cancelled.v1",
            "payment.captured.v1",
            "payment.refunded.v1",
        ])
    }

    async fn apply(&self, tx: &mut Transaction<'static, DB>, events: &[Event]) -> Result<(), BoxError> {
        let mut rows = Rows::default();
        for event in events {
            rows.add(event)?;
        }
        let orders = rows.orders.into_iter().map(|(id, order)| {
            let mut row = serde_json::to_value(order)?;
            row["id"] = id.into();
            Ok(row)
        });
        DB::write(tx, tables::Rows::Orders, orders.collect::<serde_json::Result<_>>()?).await?;
        DB::write(tx, tables::Rows::NewReturns, rows.returns).await?;
        DB::write(tx, tables::Rows::ReturnStatus, rows.return_status).await
    }
}

impl Rows {
    fn add(&mut self, event: &Event) -> Result<(), BoxError> {
        match event.event_type.as_str() {
            "order.created.v1" => {
                let order = self.orders.entry(id_of(event)?).or_default();
                order.created = Some(read(event)?);
                order.status = Some("created");
            }
            "order.confirmed.v1" => self.orders.entry(id_of(event)?).or_default().status = Some("confirmed"),
            "order.cancelled.v1" => self.orders.entry(id_of(event)?).or_default().status = Some("cancelled"),
            "return.recorded.v1" => {
                let Recorded { return_no, order_id, placed_at, amount, lines } = read(event)?;
                self.returns.push(json!({
                    "id": id_of(event)?, "return_no": return_no, "order": order_id.map(hex), "placed_at": placed_at,
                    "amount": amount, "lines": lines,
                }));
            }
            "return.confirmed.v1" => {
                self.return_status.push(json!([id_of(event)?, "confirmed"]));
                self.count(event, |order| &mut order.returned)?;
            }
            "return.cancelled.v1" => self.return_status.push(json!([id_of(event)?, "cancelled"])),
            "payment.captured.v1" => self.count(event, |order| &mut order.paid)?,
            "payment.refunded.v1" => self.count(event, |order| &mut order.refunded)?,
            _ => {}
        }
        Ok(())
    }

    /// Money of no order of ours is nobody's row.
    fn count(&mut self, event: &Event, sum: fn(&mut Order) -> &mut i64) -> Result<(), BoxError> {
        let Money { order_id, amount } = read(event)?;
        if let Some(order_id) = order_id {
            *sum(self.orders.entry(hex(order_id)).or_default()) += amount;
        }
        Ok(())
    }
}
