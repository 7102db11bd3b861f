//! (b) Money, per customer.

use std::collections::{BTreeMap, BTreeSet};

use super::contract::{PLACE_ORDER, PROCESS_PAYMENT, REFUND_PAYMENT, RETURN_ORDER};
use super::facts::{Facts, Invoices, Range, customer};
use super::{Violation, violations};
use crate::invoice::{Customer, Milli, Plan};
use crate::replay::Applied;

pub(super) fn check(facts: &Facts, plan: &Plan, applied: &Applied) -> Vec<Violation> {
    let invoices = Invoices::of(plan);
    let (expected, mut details) = expected(facts, &invoices);
    let mut actual: BTreeMap<Customer, i64> = BTreeMap::new();
    let mut adjusted = 0;
    for entry in &facts.ledger {
        if entry.kind == "adjustment" {
            adjusted += entry.amount;
        } else {
            *actual.entry(customer(&entry.customer)).or_default() += entry.amount;
        }
    }
    let customers: BTreeSet<Customer> = expected.keys().chain(actual.keys()).copied().collect();
    for customer in customers {
        let expected = expected.get(&customer).copied().unwrap_or_default();
        let actual = actual.get(&customer).copied().unwrap_or(0);
        if !expected.holds(actual) {
            details.push(format!(
                "customer {customer}: {actual} thousandths captured less refunded, but the completed orders less returns come to {expected} (difference {})",
                actual - expected.least
            ));
        }
    }
    let mut adjustments = Range::default();
    adjustments.add(applied.adjusted);
    applied.doubtful_adjustments.iter().for_each(|amount| adjustments.doubt(*amount));
    if !adjustments.holds(adjusted) {
        details.push(format!("accounts were adjusted by {adjusted}, but {adjustments} was booked by the tills"));
    }
    violations("money", details)
}

/// What each customer should have paid, by the invoices; and what contradicts them.
fn expected(facts: &Facts, invoices: &Invoices<'_>) -> (BTreeMap<Customer, Range>, Vec<String>) {
    let mut expected: BTreeMap<Customer, Range> = BTreeMap::new();
    let mut details = Vec::new();
    let parked: BTreeSet<_> = facts.sagas.iter().filter(|saga| saga.is_parked()).map(|saga| saga.subject).collect();
    for row in &facts.orders {
        let Some(order) = invoices.orders.get(row.number.as_str()) else {
            details.push(format!("order {} is on no invoice", row.number));
            continue;
        };
        if row.total != order.total.0 || customer(&row.customer) != order.customer {
            details.push(format!(
                "order {} is of {} for another customer or amount than its invoice, {}",
                row.number,
                Milli(row.total),
                order.total
            ));
        }
        // Of a parked saga counts what it lists as left, whatever its row says.
        if row.status == "confirmed" && !parked.contains(&row.id) {
            expected.entry(order.customer).or_default().add(order.total.0);
        }
    }
    for row in &facts.returns {
        let Some(back) = invoices.returns.get(row.number.as_str()) else {
            details.push(format!("return {} is on no invoice", row.number));
            continue;
        };
        if row.amount != back.refund.0 {
            details.push(format!("return {} is of {}, its invoice of {}", row.number, Milli(row.amount), back.refund));
        }
        if row.status == "confirmed" && !parked.contains(&row.id) {
            expected.entry(back.customer).or_default().add(-back.refund.0);
        }
    }
    for saga in facts.sagas.iter().filter(|saga| saga.is_parked()) {
        let left = match saga.definition.as_str() {
            PLACE_ORDER => invoices
                .orders
                .get(saga.number.as_str())
                .and_then(|order| Some((order.customer, order.total.0, saga.left(PROCESS_PAYMENT)?))),
            RETURN_ORDER => invoices
                .returns
                .get(saga.number.as_str())
                .and_then(|back| Some((back.customer, -back.refund.0, saga.left(REFUND_PAYMENT)?))),
            _ => None,
        };
        if let Some((customer, amount, certain)) = left {
            expected.entry(customer).or_default().add_if(amount, certain);
        }
    }
    (expected, details)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::testing::{back, capture, left, order, plan, refund, saga, text};
    use super::*;

    /// Orders 1 and 2 of customer 7 for 100 and 200, order 3 of customer 8 for 300; return 1 of order 1 for 40.
    fn world() -> (Facts, Plan) {
        let facts = Facts {
            sagas: vec![saga(1, "completed"), saga(2, "compensated"), saga(3, "completed")],
            orders: vec![
                order(1, "7", 100, "confirmed"),
                order(2, "7", 200, "cancelled"),
                order(3, "8", 300, "confirmed"),
            ],
            returns: vec![back(1, 40, "confirmed")],
            ledger: vec![
                capture(1, "7", 100),
                capture(2, "7", 200),
                refund(2, "7", -200),
                capture(3, "8", 300),
                refund(1, "7", -40),
            ],
            ..Facts::default()
        };
        (facts, plan())
    }

    fn found(facts: &Facts, plan: &Plan) -> String {
        text(&check(facts, plan, &Applied::default()))
    }

    #[test]
    fn all_is_well() {
        let (facts, plan) = world();
        assert_eq!(found(&facts, &plan), "");
    }

    #[test]
    fn a_refund_that_was_skipped_and_a_payment_that_was_taken_twice_are_found() {
        let (mut facts, plan) = world();
        facts.ledger.remove(2);
        facts.ledger.push(capture(3, "8", 300));
        expect![[r"
            money: customer 7: 260 thousandths captured less refunded, but the completed orders less returns come to 60 (difference 200)
            money: customer 8: 600 thousandths captured less refunded, but the completed orders less returns come to 300 (difference 300)
        "]]
        .assert_eq(&found(&facts, &plan));
    }

    #[test]
    fn an_order_that_differs_from_its_invoice_is_found() {
        let (mut facts, plan) = world();
        facts.orders[0].total = 99;
        facts.returns[0].amount = 41;
        facts.orders.push(order(77, "7", 0, "cancelled"));
        expect![[r"
            money: order 1 is of 0.099 for another customer or amount than its invoice, 0.100
            money: order 77 is on no invoice
            money: return R1-1 is of 0.041, its invoice of 0.040
        "]]
        .assert_eq(&found(&facts, &plan));
    }

    #[test]
    fn what_a_parked_saga_leaves_counts() {
        let (mut facts, plan) = world();
        facts.ledger.remove(2); // the refund of order 2, refused for good
        facts.sagas[1] = left(2, &[("process_payment", true)]);
        assert_eq!(found(&facts, &plan), "");
        facts.sagas[1] = left(2, &[("process_payment", false)]);
        assert_eq!(found(&facts, &plan), "", "perhaps left: either is right");
        facts.sagas[1] = left(2, &[]);
        assert!(
            found(&facts, &plan).contains("customer 7: 260 thousandths"),
            "nothing left, but the money is still there"
        );
    }

    #[test]
    fn adjustments_of_accounts_are_those_that_were_booked() {
        let (mut facts, plan) = world();
        let mut entry = capture(9, "walk-in", -500);
        entry.kind = "adjustment".into();
        facts.ledger.push(entry);
        let applied = |adjusted, doubtful: &[i64]| Applied {
            adjusted,
            doubtful_adjustments: doubtful.to_vec(),
            ..Applied::default()
        };
        assert_eq!(text(&check(&facts, &plan, &applied(-500, &[]))), "");
        assert_eq!(text(&check(&facts, &plan, &applied(0, &[-500]))), "");
        expect![[r"
            money: accounts were adjusted by -500, but 0 was booked by the tills
        "]]
        .assert_eq(&text(&check(&facts, &plan, &applied(0, &[]))));
    }
}
