//! What the service keeps. Above a backend's file nobody knows which backend it is.

mod rows;
mod tables;

use serde_json::Value;
use steadfast::core::{NewEvent, SagaId, Timestamp};
use steadfast::db::{Line, Migration};
use steadfast::locking::Version;
use steadfast::saga::participant::call::Call;
use uuid::Uuid;

use crate::payment::Payment;

pub(crate) use rows::PaymentRow;
pub use rows::{Home, Rows};
pub(crate) use tables::{Store, stored};

/// The service's own tables.
pub(crate) const LINE: Line = Line {
    name: "payment",
    sqlite: &[Migration { version: 1, name: "payment", sql: include_str!("../../migrations/sqlite/0001_payment.sql") }],
    postgres: &[Migration {
        version: 1,
        name: "payment",
        sql: include_str!("../../migrations/postgres/0001_payment.sql"),
    }],
};

/// A payment as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: Uuid,
    pub(crate) customer: String,
    pub(crate) payment: Payment,
    pub(crate) version: Version,
}

/// A movement of money: what is booked.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub(crate) kind: &'static str,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) return_id: Option<Uuid>,
    pub(crate) customer: &'a str,
    /// Signed: what goes out is negative.
    pub(crate) amount: i64,
    pub(crate) reference: Option<&'a str>,
    pub(crate) reason: Option<&'a str>,
}

impl<'a> Entry<'a> {
    pub(crate) const fn new(kind: &'static str, customer: &'a str, amount: i64) -> Self {
        Self { kind, order_id: None, return_id: None, customer, amount, reference: None, reason: None }
    }

    fn of_order(mut self, order_id: Option<Uuid>) -> Self {
        self.order_id = order_id;
        self
    }

    fn of_return(mut self, return_id: Option<Uuid>) -> Self {
        self.return_id = return_id;
        self
    }
}

/// On whose behalf something happens, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause {
    pub(crate) saga: Option<SagaId>,
    pub(crate) traceparent: Option<String>,
    pub(crate) now: Timestamp,
}

impl Cause {
    /// A step of a saga.
    pub(crate) fn of_call(call: &Call, now: Timestamp) -> Self {
        Self { saga: Some(call.key.saga), traceparent: call.traceparent.clone(), now }
    }

    /// An event with this cause.
    pub(crate) fn event(&self, aggregate: &str, id: &str, event_type: &str, version: i64, payload: Value) -> NewEvent {
        let mut event = NewEvent::new(aggregate, id, event_type, payload)
            .with_sequence(version)
            .with_traceparent(self.traceparent.clone());
        event.saga = self.saga;
        event
    }
}
