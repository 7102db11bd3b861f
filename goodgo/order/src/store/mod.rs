//! What the service keeps. Above a backend's file nobody knows which backend it is.

mod rows;
mod tables;

use serde_json::Value;
use steadfast::core::{NewEvent, SagaId, Timestamp};
use steadfast::db::{Line as MigrationLine, Migration};
use steadfast::locking::Version;
use steadfast::saga::participant::call::Call;
use uuid::Uuid;

use crate::order::{self, Line};
use crate::returns;

pub use rows::Rows;
pub(crate) use tables::Store;

/// The service's own tables.
pub(crate) const LINE: MigrationLine = MigrationLine {
    name: "order",
    sqlite: &[Migration { version: 1, name: "order", sql: include_str!("../../migrations/sqlite/0001_order.sql") }],
    postgres: &[Migration { version: 1, name: "order", sql: include_str!("../../migrations/postgres/0001_order.sql") }],
};

/// An order that is to be stored.
#[derive(Clone, Debug)]
pub struct NewOrder<'a> {
    pub(crate) id: Uuid,
    pub(crate) order_no: &'a str,
    pub(crate) customer: &'a str,
    pub(crate) placed_at: Timestamp,
    pub(crate) total: i64,
    pub(crate) currency: &'a str,
    pub(crate) lines: &'a [Line],
}

/// An order's state as it was read.
#[derive(Clone, Debug)]
pub(crate) struct StoredOrder {
    pub(crate) key: i64,
    pub(crate) status: order::Status,
    pub(crate) total: i64,
    pub(crate) returned: i64,
    pub(crate) version: Version,
}

/// A return that is to be stored.
#[derive(Clone, Debug)]
pub struct NewReturn<'a> {
    pub(crate) id: Uuid,
    pub(crate) return_no: &'a str,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) customer: &'a str,
    pub(crate) placed_at: Timestamp,
    pub(crate) amount: i64,
    pub(crate) lines: &'a [Line],
}

/// A return's state as it was read, with what its order says.
#[derive(Clone, Debug)]
pub(crate) struct StoredReturn {
    pub(crate) status: returns::Status,
    pub(crate) version: Version,
    pub(crate) amount: i64,
    /// The order, what returns have claimed of it, and its version.
    pub(crate) order: Option<(Uuid, i64, Version)>,
}

/// On whose behalf something happens, and when.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) saga: SagaId,
    pub(crate) traceparent: Option<String>,
    pub(crate) now: Timestamp,
}

impl Cause {
    /// A step of a saga.
    pub(crate) fn of_call(call: &Call, now: Timestamp) -> Self {
        Self { saga: call.key.saga, traceparent: call.traceparent.clone(), now }
    }

    /// An event with this cause.
    pub(crate) fn event(
        &self,
        aggregate: &str,
        id: Uuid,
        event_type: &str,
        version: Version,
        payload: Value,
    ) -> NewEvent {
        NewEvent::new(aggregate, id.to_string(), event_type, payload)
            .with_sequence(version.get())
            .with_saga(self.saga)
            .with_traceparent(self.traceparent.clone())
    }
}
