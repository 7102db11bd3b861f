//! Small worlds for the tests of the invariants.

use steadfast::core::{SagaId, Timestamp};
use time::macros::datetime;
use uuid::Uuid;

use super::Violation;
use super::facts::{LedgerRow, LineRow, OrderRow, ReturnRow, Saga, StockRow};
use super::journal::{Left, Remains};
use crate::invoice::{Customer, Milli, Order, OrderLine, Plan, Product, Return, ReturnKind, Step, Summary};
use crate::replay::{OrderEnd, Outcome};

pub(super) fn text(violations: &[Violation]) -> String {
    violations.iter().fold(String::new(), |text, violation| format!("{text}{violation}\n"))
}

/// The saga of order n, from 0 to 500 ms; its id, number and subject are all n.
pub(super) fn saga(n: u128, status: &str) -> Saga {
    Saga {
        id: SagaId::from(Uuid::from_u128(n)),
        definition: "place_order".into(),
        status: status.into(),
        started_at: Timestamp::from_millis(0),
        ended_at: (status != "running").then_some(Timestamp::from_millis(500)),
        number: n.to_string(),
        subject: Uuid::from_u128(n),
        remains: Remains::default(),
    }
}

/// A parked saga that leaves these effects.
pub(super) fn left(n: u128, effects: &[(&str, bool)]) -> Saga {
    let left = effects.iter().map(|(step, certain)| Left { step: (*step).to_owned(), certain: *certain }).collect();
    Saga { remains: Remains { parked: vec![], left }, ..saga(n, "failed") }
}

pub(super) fn order(n: u128, customer: &str, total: i64, status: &str) -> OrderRow {
    let quantity = i64::try_from(n).unwrap();
    OrderRow {
        id: Uuid::from_u128(n),
        number: n.to_string(),
        customer: customer.into(),
        placed_at: 0,
        total,
        status: status.into(),
        lines: vec![LineRow { product: "A".into(), quantity, unit_price: 100 }],
    }
}

/// The return of one A of order n.
pub(super) fn back(n: u128, amount: i64, status: &str) -> ReturnRow {
    ReturnRow {
        id: Uuid::from_u128(1_000 + n),
        number: format!("R{n}-1"),
        order: Some(Uuid::from_u128(n)),
        placed_at: 86_400_000,
        amount,
        status: status.into(),
        lines: vec![LineRow { product: "A".into(), quantity: 1, unit_price: 40 }],
    }
}

pub(super) fn capture(n: u128, customer: &str, amount: i64) -> LedgerRow {
    LedgerRow { customer: customer.into(), kind: "capture".into(), order: Some(Uuid::from_u128(n)), amount }
}

pub(super) fn refund(n: u128, customer: &str, amount: i64) -> LedgerRow {
    LedgerRow { kind: "refund".into(), ..capture(n, customer, amount) }
}

pub(super) fn stock(product: &str, on_hand: i64, reserved: i64) -> StockRow {
    StockRow { product: product.into(), on_hand, reserved, moved: on_hand }
}

pub(super) fn outcome(ends: &[(u128, &str)]) -> Outcome {
    let end = |(n, end): &(u128, &str)| {
        let order_id = Uuid::from_u128(*n).to_string();
        let end = match *end {
            "completed" => OrderEnd::Completed { order_id },
            "compensated" => OrderEnd::Compensated { order_id },
            "accepted" => OrderEnd::Accepted { order_id },
            _ => OrderEnd::Unanswered,
        };
        (n.to_string(), end)
    };
    Outcome { orders: ends.iter().map(end).collect(), ..Outcome::default() }
}

/// Orders 1 and 2 of customer 7, 3 of customer 8: n of product A for 100 each. Return R1-1: one A of order 1 for 40.
pub(super) fn plan() -> Plan {
    let at = datetime!(2010-12-01 08:26);
    let line = |quantity, price| vec![OrderLine { sku: "A".into(), quantity, unit_price: Milli(price), stocked: true }];
    let place = |n: usize, customer| {
        let quantity = i64::try_from(n).unwrap();
        Step::Place(Order {
            index: n - 1,
            invoice: n.to_string(),
            customer: Customer::Known(customer),
            country: "France".into(),
            at,
            lines: line(quantity, 100),
            total: Milli(100 * quantity),
        })
    };
    let take_back = Step::Return(Return {
        invoice: "R1".into(),
        part: 1,
        of: Some(0),
        kind: ReturnKind::Partial,
        customer: Customer::Known(7),
        at,
        lines: line(1, 40),
        refund: Milli(40),
    });
    let product = Product {
        sku: "A".into(),
        description: "A".into(),
        unit_price: Milli(100),
        stocked: true,
        demand: 6,
        opening_stock: 10,
        scarce: false,
    };
    Plan {
        steps: vec![place(1, 7), place(2, 7), place(3, 8), take_back],
        products: vec![product],
        summary: Summary::default(),
    }
}
