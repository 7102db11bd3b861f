//! (e) The read model is a fold of the write side: computed here from the services' own tables, not from events.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use time::OffsetDateTime;
use uuid::Uuid;

use super::facts::{Facts, LineRow, OrderRow, ReturnRow};
use super::{Violation, violations};

/// What the read model holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadModel {
    pub(super) orders: Vec<SummaryRow>,
    pub(super) returns: Vec<ReturnRow>,
    pub(super) sales: Vec<DayRow>,
    pub(super) stock: Vec<LevelRow>,
}

/// An order as queries see it; without what its own events tell, where only its money has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SummaryRow {
    pub(super) id: Uuid,
    pub(super) order: Option<OrderRow>,
    pub(super) paid: i64,
    pub(super) refunded: i64,
    pub(super) returned: i64,
}

/// Sales of a product on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DayRow {
    pub(super) day: String,
    pub(super) product: String,
    pub(super) quantity: i64,
    pub(super) revenue: i64,
}

/// Stock of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LevelRow {
    pub(super) product: String,
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
}

pub(super) fn check(facts: &Facts, model: &ReadModel) -> Vec<Violation> {
    let orders = model.orders.iter().map(|row| (row.id, row.clone())).collect();
    let mut details = differences("order_summary", &fold_orders(facts), &orders);
    let by_id = |rows: &[ReturnRow]| rows.iter().map(|row| (row.id, row.clone())).collect();
    details.extend(differences("return_summary", &by_id(&facts.returns), &by_id(&model.returns)));
    let sales = model.sales.iter().map(|row| ((row.day.clone(), row.product.clone()), (row.quantity, row.revenue)));
    details.extend(differences(
        "sales_by_day",
        &fold_sales(facts),
        &sales.filter(|(_, sums)| *sums != (0, 0)).collect(),
    ));
    let written = facts.stock.iter().map(|row| (row.product.clone(), (row.on_hand, row.reserved))).collect();
    let seen = model.stock.iter().map(|row| (row.product.clone(), (row.on_hand, row.reserved))).collect();
    details.extend(differences("stock_on_hand", &written, &seen));
    details.extend(doubled("order_summary", model.orders.iter().map(|row| row.id)));
    violations("read_model", details)
}

fn differences<K: Ord + Debug, V: PartialEq + Debug>(
    table: &str,
    expected: &BTreeMap<K, V>,
    actual: &BTreeMap<K, V>,
) -> Vec<String> {
    let keys: BTreeSet<&K> = expected.keys().chain(actual.keys()).collect();
    let differs = keys.into_iter().filter(|key| expected.get(key) != actual.get(key));
    let text = |value: Option<&V>| value.map_or_else(|| "no row".to_owned(), |value| short(&format!("{value:?}")));
    differs
        .map(|key| {
            let (expected, actual) = (text(expected.get(key)), text(actual.get(key)));
            format!("{table} {key:?}: a fold of the write side gives {expected}, the read model has {actual}")
        })
        .collect()
}

/// An order has many lines; what differs is mostly said before them.
fn short(text: &str) -> String {
    const MOST: usize = 400;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}

fn doubled(table: &str, ids: impl Iterator<Item = Uuid>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    ids.filter(|id| !seen.insert(*id)).map(|id| format!("{table} {id} is there twice")).collect()
}

fn fold_orders(facts: &Facts) -> BTreeMap<Uuid, SummaryRow> {
    let mut rows: BTreeMap<Uuid, SummaryRow> = BTreeMap::new();
    for order in &facts.orders {
        rows.insert(order.id, SummaryRow { id: order.id, order: Some(order.clone()), ..SummaryRow::default() });
    }
    let mut row = |id: Uuid, count: &dyn Fn(&mut SummaryRow)| {
        let row = rows.entry(id).or_insert_with(|| SummaryRow { id, ..SummaryRow::default() });
        count(row);
    };
    for entry in &facts.ledger {
        match (entry.order, entry.kind.as_str()) {
            (Some(order), "capture") => row(order, &|row| row.paid += entry.amount),
            (Some(order), "refund") => row(order, &|row| row.refunded -= entry.amount),
            _ => {}
        }
    }
    for back in facts.returns.iter().filter(|back| back.status == "confirmed") {
        if let Some(order) = back.order {
            row(order, &|row| row.returned += back.amount);
        }
    }
    rows
}

fn fold_sales(facts: &Facts) -> BTreeMap<(String, String), (i64, i64)> {
    let mut sales: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    let mut count = |placed_at: i64, lines: &[LineRow], sign: i64| {
        for line in lines {
            let sums = sales.entry((day(placed_at), line.product.clone())).or_default();
            sums.0 += sign * line.quantity;
            sums.1 += sign * line.quantity * line.unit_price;
        }
    };
    for order in facts.orders.iter().filter(|order| order.status == "confirmed") {
        count(order.placed_at, &order.lines, 1);
    }
    for back in facts.returns.iter().filter(|back| back.status == "confirmed") {
        count(back.placed_at, &back.lines, -1);
    }
    sales.retain(|_, sums| *sums != (0, 0));
    sales
}

/// The day in UTC, as `2010-12-01`.
fn day(millis: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(millis.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::testing::{back, capture, order, refund, stock, text};
    use super::*;

    /// Order 1 was paid and partly returned, order 2 cancelled and refunded; both are read as they are.
    fn world() -> (Facts, ReadModel) {
        let facts = Facts {
            orders: vec![order(1, "7", 100, "confirmed"), order(2, "7", 200, "cancelled")],
            returns: vec![back(1, 40, "confirmed")],
            ledger: vec![capture(1, "7", 100), capture(2, "7", 200), refund(2, "7", -200), refund(1, "7", -40)],
            stock: vec![stock("A", 7, 0)],
            ..Facts::default()
        };
        let summary = |order: &OrderRow, paid, refunded, returned| SummaryRow {
            id: order.id,
            order: Some(order.clone()),
            paid,
            refunded,
            returned,
        };
        let sales = |day: &str, quantity, revenue| DayRow { day: day.into(), product: "A".into(), quantity, revenue };
        let model = ReadModel {
            orders: vec![summary(&facts.orders[0], 100, 40, 40), summary(&facts.orders[1], 200, 200, 0)],
            returns: facts.returns.clone(),
            sales: vec![sales("1970-01-01", 1, 100), sales("1970-01-02", -1, -40), sales("1970-01-03", 0, 0)],
            stock: vec![LevelRow { product: "A".into(), on_hand: 7, reserved: 0 }],
        };
        (facts, model)
    }

    fn found(world: &(Facts, ReadModel)) -> String {
        text(&check(&world.0, &world.1))
    }

    #[test]
    fn all_is_well() {
        assert_eq!(found(&world()), "");
    }

    #[test]
    fn a_projection_that_was_applied_twice_is_found() {
        let mut world = world();
        world.1.sales[0].quantity = 2;
        world.1.sales[0].revenue = 200;
        world.1.orders[1].paid = 400;
        let text = found(&world);
        assert!(text.contains(r#"sales_by_day ("1970-01-01", "A"): a fold of the write side gives (1, 100), the read model has (2, 200)"#), "{text}");
        assert!(text.contains("order_summary 00000000-0000-0000-0000-000000000002"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn an_event_that_never_came_is_found() {
        let mut world = world();
        world.1.stock[0].on_hand = 8;
        world.1.returns.clear();
        world.1.orders[0].order = None;
        let text = found(&world);
        expect![[r#"
            read_model: stock_on_hand "A": a fold of the write side gives (7, 0), the read model has (8, 0)
        "#]]
        .assert_eq(&format!("{}\n", text.lines().last().unwrap_or("")));
        for table in ["order_summary", "return_summary"] {
            assert!(text.contains(table), "{text}");
        }
        assert!(text.contains("the read model has no row"), "{text}");
    }

    #[test]
    fn money_without_an_order_is_a_row_of_its_own() {
        let mut world = world();
        world.0.ledger.push(capture(9, "7", 5));
        assert_eq!(found(&world).lines().count(), 1);
        world.1.orders.push(SummaryRow { id: Uuid::from_u128(9), paid: 5, ..SummaryRow::default() });
        assert_eq!(found(&world), "");
        world.1.orders.push(world.1.orders[2].clone());
        assert!(found(&world).contains("is there twice"));
    }
}
