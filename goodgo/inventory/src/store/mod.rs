//! What the service keeps. Above a backend's file nobody knows which backend it is.

mod hot;
mod rows;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use steadfast::core::{NewEvent, SagaId, Timestamp};
use steadfast::db::{Line, Migration};
use steadfast::locking::Loser;
use steadfast::saga::participant::call::Call;
use uuid::Uuid;

pub use hot::Hot;
pub(crate) use hot::{Combine, Front, Want, amounts};
pub use rows::{Home, Rows};
pub(crate) use tables::Store;

/// The service's own tables.
pub(crate) const LINE: Line = Line {
    name: "inventory",
    sqlite: &[Migration {
        version: 1,
        name: "inventory",
        sql: include_str!("../../migrations/sqlite/0001_inventory.sql"),
    }],
    postgres: &[Migration {
        version: 1,
        name: "inventory",
        sql: include_str!("../../migrations/postgres/0001_inventory.sql"),
    }],
};

/// Quantities by product, in the order in which rows are locked.
pub(crate) type Quantities = BTreeMap<String, i64>;

/// A product as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Product {
    #[serde(rename = "product")]
    pub(crate) code: String,
    pub(crate) description: String,
    pub(crate) price: i64,
    /// Travels only as an entity tag.
    #[serde(skip)]
    pub(crate) version: i64,
}

/// A product that the shop begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningStock {
    /// Its code, 1 to 64 bytes.
    pub product: String,
    /// What it is.
    pub description: String,
    /// What one costs, in thousandths of the currency's unit.
    pub price: i64,
    /// How many there are.
    pub quantity: i64,
}

/// Why something happens, and when: what events and bookings say beside the change itself.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    pub(crate) saga: Option<SagaId>,
    pub(crate) traceparent: Option<String>,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) return_id: Option<Uuid>,
    pub(crate) reference: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) now: Timestamp,
}

impl Cause {
    /// A step of a saga.
    pub(crate) fn of_call(call: &Call, now: Timestamp) -> Self {
        Self { saga: Some(call.key.saga), traceparent: call.traceparent.clone(), now, ..Self::default() }
    }

    /// An event with this cause: the payload with whose it is.
    pub(crate) fn event(&self, aggregate: &str, id: &str, event_type: &str, version: i64, payload: Value) -> NewEvent {
        let mut event = NewEvent::new(aggregate, id, event_type, self.named(payload))
            .with_sequence(version)
            .with_traceparent(self.traceparent.clone());
        event.saga = self.saga;
        event
    }

    fn named(&self, payload: Value) -> Value {
        let Value::Object(mut members) = payload else { return payload };
        let text = |id: Option<Uuid>| id.map(|id| Value::from(id.to_string()));
        let more: Map<String, Value> = [
            ("order_id", text(self.order_id)),
            ("return_id", text(self.return_id)),
            ("reference", self.reference.clone().map(Value::from)),
            ("reason", self.reason.clone().map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
        members.extend(more);
        Value::Object(members)
    }
}

/// How a move of stock ended.
#[derive(Debug)]
pub(crate) enum Moved {
    /// All lines.
    All,
    /// None, for the sake of these.
    None(Vec<Loser>),
}
