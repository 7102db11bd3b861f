//! Which order a cancellation takes back. The data does not say: it is matched by customer, product and price to earlier
//! orders, as far as those still hold what is taken back.
//!
//! In this order: an untouched order that is exactly what is taken back; the latest order that holds all of it; then line
//! by line, the latest order with the product at the same price, and the latest at a higher one. Never at a lower: more
//! than was paid is not refunded. What remains stands alone.

use std::collections::{BTreeMap, HashMap};

use super::model::{Customer, Milli};

/// What an order holds, and what a cancellation takes back: quantities by product and price.
pub(super) type Basket = BTreeMap<(String, Milli), i64>;

/// What a cancellation takes back of one order, or of none that is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The order's index, `None` for what stands alone.
    pub(super) of: Option<usize>,
    /// What is taken back, at the cancellation's prices.
    pub(super) basket: Basket,
    /// It is the whole order, untouched before, for all that was paid.
    pub(super) whole: bool,
}

/// The orders so far, and what they still hold.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    orders: HashMap<u32, Vec<Held>>,
}

#[derive(Debug)]
struct Held {
    index: usize,
    basket: Basket,
    touched: bool,
}

impl Ledger {
    /// An order was placed. What a walk-in customer buys cannot be found again.
    pub(super) fn place(&mut self, customer: Customer, index: usize, basket: Basket) {
        if let Customer::Known(customer) = customer {
            self.orders.entry(customer).or_default().push(Held { index, basket, touched: false });
        }
    }

    /// Takes back what a cancellation names, and says of which orders.
    pub(super) fn take(&mut self, customer: Customer, wanted: Basket) -> Vec<Part> {
        let held = match customer {
            Customer::Known(customer) => self.orders.get_mut(&customer).map(Vec::as_mut_slice).unwrap_or_default(),
            Customer::WalkIn => &mut [],
        };
        let exact = held.iter().rposition(|order| !order.touched && order.basket == wanted);
        let holds_all = |order: &Held| wanted.iter().all(|(key, quantity)| order.basket.get(key) >= Some(quantity));
        let place = exact.or_else(|| held.iter().rposition(holds_all));
        if let Some(order) = place.and_then(|place| held.get_mut(place)) {
            order.take(&wanted);
            return vec![Part { of: Some(order.index), whole: exact.is_some(), basket: wanted }];
        }
        by_line(held, wanted)
    }
}

/// Each line for itself; parts in the order of their orders, what stands alone last.
fn by_line(held: &mut [Held], wanted: Basket) -> Vec<Part> {
    let mut parts: BTreeMap<usize, Basket> = BTreeMap::new();
    let mut alone = Basket::new();
    for (key, quantity) in wanted {
        let mut rest = quantity;
        for same_price in [true, false] {
            for order in held.iter_mut().rev() {
                let taken = order.take_up_to(&key, same_price, rest);
                if taken > 0 {
                    *parts.entry(order.index).or_default().entry(key.clone()).or_default() += taken;
                    rest -= taken;
                }
            }
        }
        if rest > 0 {
            alone.insert(key, rest);
        }
    }
    let known = parts.into_iter().map(|(index, basket)| Part { of: Some(index), basket, whole: false });
    let alone = (!alone.is_empty()).then_some(Part { of: None, basket: alone, whole: false });
    known.chain(alone).collect()
}

impl Held {
    fn take(&mut self, basket: &Basket) {
        self.touched = true;
        for (key, quantity) in basket {
            if let Some(held) = self.basket.get_mut(key) {
                *held -= quantity;
            }
        }
        self.basket.retain(|_, quantity| *quantity > 0);
    }

    /// Takes a product at the price, or at any higher one; how much.
    fn take_up_to(&mut self, (sku, price): &(String, Milli), same_price: bool, most: i64) -> i64 {
        let fits = |paid: Milli| if same_price { paid == *price } else { paid > *price };
        let mut taken = Basket::new();
        let mut rest = most;
        for ((held, paid), quantity) in self.basket.iter().filter(|((held, paid), _)| held == sku && fits(*paid)) {
            let now = rest.min(*quantity);
            if now > 0 {
                taken.insert((held.clone(), *paid), now);
                rest -= now;
            }
        }
        if !taken.is_empty() {
            self.take(&taken);
        }
        most - rest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANN: Customer = Customer::Known(1);

    fn basket(lines: &[(&str, i64, i64)]) -> Basket {
        lines.iter().map(|(sku, price, quantity)| (((*sku).to_owned(), Milli(*price)), *quantity)).collect()
    }

    fn ledger(orders: &[&[(&str, i64, i64)]]) -> Ledger {
        let mut ledger = Ledger::default();
        for (index, lines) in orders.iter().enumerate() {
            ledger.place(ANN, index, basket(lines));
        }
        ledger
    }

    fn part(of: Option<usize>, lines: &[(&str, i64, i64)], whole: bool) -> Part {
        Part { of, basket: basket(lines), whole }
    }

    #[test]
    fn an_exact_order_comes_before_a_later_one_that_holds_it_too() {
        let mut ledger = ledger(&[&[("a", 10, 2), ("b", 5, 1)], &[("a", 10, 9), ("b", 5, 9)]]);
        let all = [("a", 10, 2), ("b", 5, 1)];
        assert_eq!(ledger.take(ANN, basket(&all)), [part(Some(0), &all, true)]);
        assert_eq!(ledger.take(ANN, basket(&all)), [part(Some(1), &all, false)], "the first holds nothing any more");
    }

    #[test]
    fn an_order_that_was_touched_is_not_whole_any_more() {
        let mut ledger = ledger(&[&[("a", 10, 4)]]);
        assert_eq!(ledger.take(ANN, basket(&[("a", 10, 1)])), [part(Some(0), &[("a", 10, 1)], false)]);
        assert_eq!(ledger.take(ANN, basket(&[("a", 10, 3)])), [part(Some(0), &[("a", 10, 3)], false)]);
        assert_eq!(ledger.take(ANN, basket(&[("a", 10, 1)])), [part(None, &[("a", 10, 1)], false)]);
    }

    #[test]
    fn one_cancellation_is_split_over_orders_and_the_rest_stands_alone() {
        let mut ledger = ledger(&[&[("a", 10, 3)], &[("a", 10, 2), ("b", 5, 1)]]);
        let parts = ledger.take(ANN, basket(&[("a", 10, 4), ("b", 5, 2), ("c", 1, 1)]));
        let alone = part(None, &[("b", 5, 1), ("c", 1, 1)], false);
        assert_eq!(
            parts,
            [part(Some(0), &[("a", 10, 2)], false), part(Some(1), &[("a", 10, 2), ("b", 5, 1)], false), alone]
        );
    }

    #[test]
    fn no_more_is_refunded_than_was_paid() {
        let mut ledger = ledger(&[&[("a", 10, 1)], &[("a", 12, 1)], &[("a", 8, 1)]]);
        let parts = ledger.take(ANN, basket(&[("a", 10, 3)]));
        let want = [
            part(Some(0), &[("a", 10, 1)], false),
            part(Some(1), &[("a", 10, 1)], false),
            part(None, &[("a", 10, 1)], false),
        ];
        assert_eq!(parts, want, "the same price, then a higher one, never a lower");
    }

    #[test]
    fn strangers_and_walk_ins_match_nothing() {
        let mut ledger = ledger(&[&[("a", 10, 1)]]);
        ledger.place(Customer::WalkIn, 7, basket(&[("a", 10, 1)]));
        for customer in [Customer::Known(2), Customer::WalkIn] {
            assert_eq!(ledger.take(customer, basket(&[("a", 10, 1)])), [part(None, &[("a", 10, 1)], false)]);
        }
    }

    proptest! {
        /// Whatever is cancelled in whatever order: nothing is lost, and no order gives back more than it held or was paid.
        #[test]
        fn quantities_and_money_balance(
            orders in proptest::collection::vec(proptest::collection::btree_map((0_u8..3, 1_i64..4), 1_i64..5, 1..4), 0..6),
            cancellations in proptest::collection::vec(proptest::collection::btree_map((0_u8..3, 1_i64..4), 1_i64..5, 1..4), 0..8),
        ) {
            let to_basket = |lines: &BTreeMap<(u8, i64), i64>| -> Basket {
                lines.iter().map(|((sku, price), quantity)| ((sku.to_string(), Milli(*price)), *quantity)).collect()
            };
            let mut ledger = Ledger::default();
            for (index, lines) in orders.iter().enumerate() {
                ledger.place(ANN, index, to_basket(lines));
            }
            let money = |basket: &Basket| basket.iter().map(|((_, price), quantity)| price.0 * quantity).sum::<i64>();
            let mut given: BTreeMap<(usize, String), i64> = BTreeMap::new();
            let mut paid_back: BTreeMap<usize, i64> = BTreeMap::new();
            for lines in &cancellations {
                let wanted = to_basket(lines);
                let mut sum = Basket::new();
                for part in ledger.take(ANN, wanted.clone()) {
                    prop_assert!(!part.basket.is_empty());
                    for (key, quantity) in &part.basket {
                        *sum.entry(key.clone()).or_default() += quantity;
                        if let Some(of) = part.of {
                            *given.entry((of, key.0.clone())).or_default() += quantity;
                        }
                    }
                    if let Some(of) = part.of {
                        *paid_back.entry(of).or_default() += money(&part.basket);
                        if part.whole {
                            prop_assert_eq!(&part.basket, &to_basket(&orders[of]));
                        }
                    }
                }
                prop_assert_eq!(sum, wanted);
            }
            for ((of, sku), quantity) in given {
                let held: i64 = to_basket(&orders[of]).iter().filter(|((held, _), _)| *held == sku).map(|(_, q)| q).sum();
                prop_assert!(quantity <= held);
            }
            for (of, amount) in paid_back {
                prop_assert!(amount <= money(&to_basket(&orders[of])));
            }
        }
    }
}
