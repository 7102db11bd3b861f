//! What is there of each product.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use sqlx::Transaction;
use steadfast::core::Event;
use steadfast::db::BoxError;
use steadfast::projection::{Projection, Subscription};

use super::{Tables, read, tables};

/// Keeps `stock_on_hand`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stock;

#[derive(Debug, Deserialize)]
struct Level {
    on_hand: i64,
    reserved: i64,
}

#[async_trait]
impl<DB: Tables> Projection<DB> for Stock {
    fn name(&self) -> &'static str {
        "stock"
    }

    fn subscribes(&self) -> Subscription {
        Subscription::aggregates(["stock"])
    }

    async fn apply(&self, tx: &mut Transaction<'static, DB>, events: &[Event]) -> Result<(), BoxError> {
        // Every event says the level after it, so the last of a product is all that counts.
        let mut levels: BTreeMap<&str, Level> = BTreeMap::new();
        for event in events.iter().filter(|event| event.aggregate_type == "stock") {
            levels.insert(&event.aggregate_id, read(event)?);
        }
        let rows = levels.into_iter().map(|(product, level)| json!([product, level.on_hand, level.reserved]));
        DB::write(tx, tables::Rows::Stock, rows.collect()).await
    }
}
