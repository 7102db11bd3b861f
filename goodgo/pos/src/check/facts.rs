//! What was read, in the words of the checker.

use std::collections::BTreeMap;

use serde::Deserialize;
use steadfast::core::{SagaId, Timestamp};
use uuid::Uuid;

use super::journal::Remains;
use crate::invoice::{Customer, Order, Plan, Return, Step};

/// The write side.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) sagas: Vec<Saga>,
    pub(super) orders: Vec<OrderRow>,
    pub(super) returns: Vec<ReturnRow>,
    pub(super) ledger: Vec<LedgerRow>,
    pub(super) stock: Vec<StockRow>,
}

/// A saga, from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saga {
    pub(super) id: SagaId,
    pub(super) definition: String,
    pub(super) status: String,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    /// The order's or the return's number.
    pub(super) number: String,
    /// The order's or the return's id.
    pub(super) subject: Uuid,
    /// What is left, where it is parked.
    pub(super) remains: Remains,
}

impl Saga {
    pub(super) fn is_parked(&self) -> bool {
        self.status == "failed"
    }

    pub(super) fn is_settled(&self) -> bool {
        self.status == "completed" || self.status == "compensated"
    }

    /// Whether this step's effect is left: for certain, or perhaps.
    pub(super) fn left(&self, step: &str) -> Option<bool> {
        self.remains.left.iter().find(|left| left.step == step).map(|left| left.certain)
    }
}

/// A line of an order or of a return.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct LineRow {
    pub(super) product: String,
    pub(super) quantity: i64,
    pub(super) unit_price: i64,
}

/// An order, from the order service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderRow {
    pub(super) id: Uuid,
    pub(super) number: String,
    pub(super) customer: String,
    pub(super) placed_at: i64,
    pub(super) total: i64,
    pub(super) status: String,
    pub(super) lines: Vec<LineRow>,
}

/// A return, from the order service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReturnRow {
    pub(super) id: Uuid,
    pub(super) number: String,
    pub(super) order: Option<Uuid>,
    pub(super) placed_at: i64,
    pub(super) amount: i64,
    pub(super) status: String,
    pub(super) lines: Vec<LineRow>,
}

/// An entry of the payment service's ledger. Refunds are negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LedgerRow {
    pub(super) customer: String,
    pub(super) kind: String,
    pub(super) order: Option<Uuid>,
    pub(super) amount: i64,
}

/// A product's stock, from the inventory service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StockRow {
    pub(super) product: String,
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
    /// The sum of its movements.
    pub(super) moved: i64,
}

/// The plan, by the numbers that the services know.
#[derive(Debug)]
pub(super) struct Invoices<'a> {
    pub(super) orders: BTreeMap<&'a str, &'a Order>,
    pub(super) returns: BTreeMap<String, &'a Return>,
}

impl<'a> Invoices<'a> {
    pub(super) fn of(plan: &'a Plan) -> Self {
        let mut invoices = Self { orders: BTreeMap::new(), returns: BTreeMap::new() };
        for step in &plan.steps {
            match step {
                Step::Place(order) => {
                    invoices.orders.insert(&order.invoice, order);
                }
                Step::Return(back) => {
                    invoices.returns.insert(back.key(), back);
                }
                Step::WriteOff(_) | Step::Account(_) => {}
            }
        }
        invoices
    }
}

/// The customer of this text; whoever is no number is a walk-in.
pub(super) fn customer(text: &str) -> Customer {
    text.parse().map_or(Customer::WalkIn, Customer::Known)
}

/// A number that lies between two: they differ by what is in doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) least: i64,
    pub(super) most: i64,
}

impl Range {
    /// Adds an amount that is certain.
    pub(super) const fn add(&mut self, amount: i64) {
        self.least += amount;
        self.most += amount;
    }

    /// Adds an amount that may be there or not.
    pub(super) const fn doubt(&mut self, amount: i64) {
        if amount < 0 { self.least += amount } else { self.most += amount }
    }

    /// Adds an amount that is certain, or not.
    pub(super) const fn add_if(&mut self, amount: i64, certain: bool) {
        if certain { self.add(amount) } else { self.doubt(amount) }
    }

    pub(super) const fn holds(self, amount: i64) -> bool {
        self.least <= amount && amount <= self.most
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.least == self.most { self.least.fmt(f) } else { write!(f, "{} to {}", self.least, self.most) }
    }
}
