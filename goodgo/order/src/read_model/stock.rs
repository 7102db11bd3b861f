//! What is there of each product.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use steadfast::core::Event;
use steadfast::db::BoxError;
use steadfast::db::tx::Tx;
use steadfast::projection::{Projection, Subscription};

use super::{read, write};

/// Keeps `stock_on_hand`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stock;

#[derive(Debug, Deserialize)]
struct Level {
    on_hand: i64,
    reserved: i64,
}

#[async_trait]
impl Projection for Stock {
    fn name(&self) -> &'static str {
        "stock"
    }

    fn subscribes(&self) -> Subscription {
        Subscription::aggregates(["stock"])
    }

    async fn apply(&self, tx: &mut Tx, events: &[Event]) -> Result<(), BoxError> {
        // Every event says the level after it, so the last of a product is all that counts.
        let mut levels: BTreeMap<&str, Level> = BTreeMap::new();
        for event in events.iter().filter(|event| event.aggregate_type == "stock") {
            levels.insert(&event.aggregate_id, read(event)?);
        }
        let rows = levels.into_iter().map(|(product, level)| json!([product, level.on_hand, level.reserved]));
        write(tx, include_str!("sqlite/upsert_stock.sql"), rows.collect()).await
    }
}
