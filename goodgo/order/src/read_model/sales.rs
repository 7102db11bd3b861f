//! What was sold on which day.

use async_trait::async_trait;
use serde_json::Value;
use steadfast::core::Event;
use steadfast::db::BoxError;
use steadfast::db::tx::Tx;
use steadfast::projection::{Projection, Subscription};

use super::{id_of, write};

/// Keeps `sales_by_day`, from rows that [`Orders`](super::Orders) has made: it stands behind it under one checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sales;

#[async_trait]
impl Projection for Sales {
    fn name(&self) -> &'static str {
        "sales"
    }

    fn subscribes(&self) -> Subscription {
        Subscription::aggregates(["order", "return"]).types(["order.confirmed.v1", "return.confirmed.v1"])
    }

    async fn apply(&self, tx: &mut Tx, events: &[Event]) -> Result<(), BoxError> {
        let ids = |event_type: &str| {
            events
                .iter()
                .filter(|event| event.event_type == event_type)
                .map(|event| Ok(Value::from(id_of(event)?)))
                .collect::<Result<Vec<_>, BoxError>>()
        };
        write(tx, include_str!("sqlite/count_sales.sql"), ids("order.confirmed.v1")?).await?;
        write(tx, include_str!("sqlite/count_returns.sql"), ids("return.confirmed.v1")?).await
    }
}
