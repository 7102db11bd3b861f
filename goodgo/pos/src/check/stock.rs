//! (c) Goods, per product.

use std::collections::{BTreeMap, BTreeSet};

use super::contract::{COMMIT_STOCK, PLACE_ORDER, RESERVE_INVENTORY, RESTOCK, RETURN_ORDER};
use super::facts::{Facts, Invoices, Range, Saga};
use super::{Violation, violations};
use crate::invoice::Plan;
use crate::replay::Applied;

/// What should be gone from a product's shelf, and what should be promised.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    gone: Range,
    reserved: Range,
}

pub(super) fn check(facts: &Facts, plan: &Plan, applied: &Applied) -> Vec<Violation> {
    let expected = expected(facts, &Invoices::of(plan), applied);
    let mut rows: BTreeMap<&str, _> = facts.stock.iter().map(|row| (row.product.as_str(), row)).collect();
    let mut details = Vec::new();
    for product in plan.products.iter().filter(|product| product.stocked) {
        let sku = product.sku.as_str();
        let Some(row) = rows.remove(sku) else {
            details.push(format!("product {sku} has no stock row"));
            continue;
        };
        let Expected { gone, reserved } = expected.get(sku).copied().unwrap_or_default();
        let actual = product.opening_stock - row.on_hand;
        if !gone.holds(actual) {
            details.push(format!("product {sku}: {actual} gone from the shelf ({} opened, {} on hand), but orders less returns, write-offs and parked sagas took {gone}", product.opening_stock, row.on_hand));
        }
        if !reserved.holds(row.reserved) {
            details.push(format!("product {sku}: {} reserved, but {reserved} by parked sagas", row.reserved));
        }
        if row.moved != row.on_hand {
            details.push(format!("product {sku}: {} on hand, but its movements come to {}", row.on_hand, row.moved));
        }
    }
    // Products without a shelf may have a row, in which nothing ever moves.
    let stray = rows.into_values().filter(|row| (row.on_hand, row.reserved, row.moved) != (0, 0, 0));
    details.extend(stray.map(|row| {
        format!("product {} moves no stock, but {} are on hand and {} reserved", row.product, row.on_hand, row.reserved)
    }));
    violations("stock", details)
}

fn expected(facts: &Facts, invoices: &Invoices<'_>, applied: &Applied) -> BTreeMap<String, Expected> {
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    let parked: BTreeSet<_> = facts.sagas.iter().filter(|saga| saga.is_parked()).map(|saga| saga.subject).collect();
    let mut gone = |sku: &str, amount: i64, certain: bool| {
        expected.entry(sku.to_owned()).or_default().gone.add_if(amount, certain);
    };
    for row in facts.orders.iter().filter(|row| row.status == "confirmed" && !parked.contains(&row.id)) {
        let order = invoices.orders.get(row.number.as_str());
        for (sku, quantity) in order.map(|order| order.takes()).unwrap_or_default() {
            gone(sku, quantity, true);
        }
    }
    for row in facts.returns.iter().filter(|row| row.status == "confirmed" && !parked.contains(&row.id)) {
        let back = invoices.returns.get(row.number.as_str());
        for (sku, quantity) in back.map(|back| back.restocks()).unwrap_or_default() {
            gone(sku, -quantity, true);
        }
    }
    for (sku, quantity) in &applied.write_offs {
        gone(sku, *quantity, true);
    }
    for (sku, quantity) in &applied.doubtful_write_offs {
        gone(sku, *quantity, false);
    }
    for saga in facts.sagas.iter().filter(|saga| saga.is_parked()) {
        leave(&mut expected, saga, invoices);
    }
    expected
}

/// What a parked saga leaves.
fn leave(expected: &mut BTreeMap<String, Expected>, saga: &Saga, invoices: &Invoices<'_>) {
    let number = saga.number.as_str();
    if saga.definition == RETURN_ORDER
        && let (Some(certain), Some(back)) = (saga.left(RESTOCK), invoices.returns.get(number))
    {
        for (sku, quantity) in back.restocks() {
            expected.entry(sku.to_owned()).or_default().gone.add_if(-quantity, certain);
        }
    }
    if saga.definition == PLACE_ORDER
        && let (Some(reserved), Some(order)) = (saga.left(RESERVE_INVENTORY), invoices.orders.get(number))
    {
        let committed = saga.left(COMMIT_STOCK);
        for (sku, quantity) in order.takes() {
            let expected = expected.entry(sku.to_owned()).or_default();
            if let Some(certain) = committed {
                expected.gone.add_if(quantity, certain);
            }
            if committed != Some(true) {
                expected.reserved.add_if(quantity, reserved && committed.is_none());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::testing::{back, left, order, plan, saga, stock, text};
    use super::*;

    /// Orders 1, 2 and 3 take 1, 2 and 3 of product A, of which 10 were opened; return 1 brings 1 back.
    fn world() -> (Facts, Plan) {
        let facts = Facts {
            sagas: vec![saga(1, "completed"), saga(2, "compensated"), saga(3, "completed")],
            orders: vec![
                order(1, "7", 100, "confirmed"),
                order(2, "7", 200, "cancelled"),
                order(3, "8", 300, "confirmed"),
            ],
            returns: vec![back(1, 40, "confirmed")],
            stock: vec![stock("A", 7, 0)],
            ..Facts::default()
        };
        (facts, plan())
    }

    fn found(facts: &Facts, plan: &Plan, applied: &Applied) -> String {
        text(&check(facts, plan, applied))
    }

    #[test]
    fn all_is_well() {
        let (facts, plan) = world();
        assert_eq!(found(&facts, &plan, &Applied::default()), "");
    }

    #[test]
    fn an_update_that_was_lost_and_a_reservation_that_was_left_are_found() {
        let (mut facts, plan) = world();
        facts.stock = vec![stock("A", 8, 2)];
        facts.stock[0].moved = 7;
        expect![[r"
            stock: product A: 2 gone from the shelf (10 opened, 8 on hand), but orders less returns, write-offs and parked sagas took 3
            stock: product A: 2 reserved, but 0 by parked sagas
            stock: product A: 8 on hand, but its movements come to 7
        "]]
        .assert_eq(&found(&facts, &plan, &Applied::default()));
        facts.stock = vec![stock("Z", 1, 0)];
        expect![[r"
            stock: product A has no stock row
            stock: product Z moves no stock, but 1 are on hand and 0 reserved
        "]]
        .assert_eq(&found(&facts, &plan, &Applied::default()));
    }

    #[test]
    fn write_offs_count_and_doubtful_ones_may() {
        let (mut facts, plan) = world();
        let takes = |quantity| [("A".to_owned(), quantity)].into();
        let applied = Applied { write_offs: takes(2), doubtful_write_offs: takes(1), ..Applied::default() };
        for (on_hand, holds) in [(6, false), (5, true), (4, true), (3, false)] {
            facts.stock = vec![stock("A", on_hand, 0)];
            assert_eq!(found(&facts, &plan, &applied).is_empty(), holds, "{on_hand}");
        }
    }

    #[test]
    fn what_a_parked_saga_leaves_counts() {
        let (mut facts, plan) = world();
        // The release of order 2 was refused: its two are still promised.
        facts.sagas[1] = left(2, &[("reserve_inventory", true)]);
        for (reserved, holds) in [(0, false), (1, false), (2, true), (3, false)] {
            facts.stock = vec![stock("A", 7, reserved)];
            assert_eq!(found(&facts, &plan, &Applied::default()).is_empty(), holds, "{reserved}");
        }
        facts.sagas[1] = left(2, &[("reserve_inventory", true), ("commit_stock", true)]);
        facts.stock = vec![stock("A", 5, 0)];
        assert_eq!(found(&facts, &plan, &Applied::default()), "");
    }
}
