//! One row for each order and each return.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
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

#[derive(Debug, Deserialize)]
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

/// The rows of a batch. Those of one aggregate arrive in order, so each kind can be written at once: what creates, then
/// what moves on, and sums.
#[derive(Debug, Default)]
struct Rows {
    orders: Vec<Value>,
    order_status: Vec<Value>,
    returns: Vec<Value>,
    return_status: Vec<Value>,
    /// Paid, refunded, returned.
    money: BTreeMap<String, [i64; 3]>,
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
        DB::write(tx, tables::Rows::NewOrders, rows.orders).await?;
        DB::write(tx, tables::Rows::OrderStatus, rows.order_status).await?;
        DB::write(tx, tables::Rows::NewReturns, rows.returns).await?;
        DB::write(tx, tables::Rows::ReturnStatus, rows.return_status).await?;
        let money =
            rows.money.into_iter().map(|(id, [paid, refunded, returned])| json!([id, paid, refunded, returned]));
        DB::write(tx, tables::Rows::Money, money.collect()).await
    }
}

impl Rows {
    fn add(&mut self, event: &Event) -> Result<(), BoxError> {
        match event.event_type.as_str() {
            "order.created.v1" => {
                let Created { order_no, customer, placed_at, currency, total, lines } = read(event)?;
                self.orders.push(json!({
                    "id": id_of(event)?, "order_no": order_no, "customer": customer, "placed_at": placed_at,
                    "currency": currency, "total": total, "lines": lines,
                }));
            }
            "order.confirmed.v1" => self.order_status.push(json!([id_of(event)?, "confirmed"])),
            "order.cancelled.v1" => self.order_status.push(json!([id_of(event)?, "cancelled"])),
            "return.recorded.v1" => {
                let Recorded { return_no, order_id, placed_at, amount, lines } = read(event)?;
                self.returns.push(json!({
                    "id": id_of(event)?, "return_no": return_no, "order": order_id.map(hex), "placed_at": placed_at,
                    "amount": amount, "lines": lines,
                }));
            }
            "return.confirmed.v1" => {
                self.return_status.push(json!([id_of(event)?, "confirmed"]));
                self.count(event, 2)?;
            }
            "return.cancelled.v1" => self.return_status.push(json!([id_of(event)?, "cancelled"])),
            "payment.captured.v1" => self.count(event, 0)?,
            "payment.refunded.v1" => self.count(event, 1)?,
            _ => {}
        }
        Ok(())
    }

    /// Money of no order of ours is nobody's row.
    fn count(&mut self, event: &Event, column: usize) -> Result<(), BoxError> {
        let Money { order_id, amount } = read(event)?;
        if let Some(order_id) = order_id {
            self.money.entry(hex(order_id)).or_default()[column] += amount;
        }
        Ok(())
    }
}
