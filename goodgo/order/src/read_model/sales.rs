//! What was sold on which day.

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::Transaction;
use steadfast::core::Event;
use steadfast::db::BoxError;
use steadfast::projection::{Projection, Subscription};

use super::{Tables, id_of, tables};

/// Keeps `sales_by_day`, from rows that [`Orders`](super::Orders) has made: it stands behind it under one checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sales;

#[async_trait]
impl<DB: Tables> Projection<DB> for Sales {
    fn name(&self) -> &'static str {
        "sales"
    }

    fn subscribes(&self) -> Subscription {
        Subscription::aggregates(["order", "return"]).types(["order.confirmed.v1", "return.confirmed.v1"])
    }

    async fn apply(&self, tx: &mut Transaction<'static, DB>, events: &[Event]) -> Result<(), BoxError> {
        let row = |event: &Event| -> Result<Option<Value>, BoxError> {
            let kind = match event.event_type.as_str() {
                "order.confirmed.v1" => "order",
                "return.confirmed.v1" => "return",
                _ => return Ok(None),
            };
            Ok(Some(json!([id_of(event)?, kind])))
        };
        let rows = events.iter().filter_map(|event| row(event).transpose()).collect::<Result<_, _>>()?;
        DB::write(tx, tables::Rows::Sales, rows).await
    }
}
