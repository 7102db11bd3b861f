//! What may come back: pure.
//!
//! ```text
//!                confirm
//!   recorded ─────────────▶ confirmed
//!      │ cancel
//!      ▼
//!   cancelled
//! ```
//!
//! A return claims its part of the order when it is recorded, so that two at a time cannot claim the same; one that is
//! cancelled gives its claim back.

use std::collections::BTreeMap;
use std::fmt;

use crate::order::{self, Fault, Line};

/// Where a return stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Recorded,
    Confirmed,
    Cancelled,
}

impl Status {
    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }

    /// As it was stored.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Recorded, Self::Confirmed, Self::Cancelled].into_iter().find(|status| status.as_str() == text)
    }
}

/// What is left of an order to be returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returnable {
    pub(crate) status: order::Status,
    /// What was paid, in thousandths.
    pub(crate) paid: i64,
    /// What returns have claimed of that.
    pub(crate) returned: i64,
    /// Of each product: what was bought, and what returns have claimed of that.
    pub(crate) quantities: BTreeMap<String, (i64, i64)>,
}

/// Why a return is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The order was never confirmed.
    NotConfirmed(order::Status),
    /// More money than is left.
    Amount { left: i64 },
    /// More goods than are left.
    Quantity { product: String, left: i64 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfirmed(status) => {
                write!(f, "the order is {}: only a confirmed order can be returned", status.as_str())
            }
            Self::Amount { left } => write!(f, "amount: only {left} thousandths of what was paid are left"),
            Self::Quantity { product, left } => write!(f, "lines: only {left} of {product} are left to be returned"),
        }
    }
}

/// Checks the amount against the lines: never more than they are worth.
pub(crate) fn check_amount(amount: i64, lines: &[Line]) -> Result<(), Fault> {
    let worth = order::total(lines)?;
    if (0..=worth).contains(&amount) {
        return Ok(());
    }
    Err(Fault::new("amount", format!("must be from 0 to {worth} thousandths, which the lines come to")))
}

/// What the order has returned after this return, in thousandths.
pub(crate) fn claim(of: &Returnable, amount: i64, lines: &[Line]) -> Result<i64, Refusal> {
    if of.status != order::Status::Confirmed {
        return Err(Refusal::NotConfirmed(of.status));
    }
    let left = of.paid - of.returned;
    if amount > left {
        return Err(Refusal::Amount { left });
    }
    let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
    for line in lines {
        *wanted.entry(&line.product).or_default() += line.quantity;
    }
    for (product, quantity) in wanted {
        let (bought, back) = of.quantities.get(product).copied().unwrap_or_default();
        if quantity > bought - back {
            return Err(Refusal::Quantity { product: product.to_owned(), left: bought - back });
        }
    }
    Ok(of.returned + amount)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(product: &str, quantity: i64, unit_price: i64) -> Line {
        Line { product: product.to_owned(), description: None, quantity, unit_price, stocked: true }
    }

    fn order(bought: &[(&str, i64)], paid: i64) -> Returnable {
        let quantities = bought.iter().map(|(product, quantity)| ((*product).to_owned(), (*quantity, 0))).collect();
        Returnable { status: order::Status::Confirmed, paid, returned: 0, quantities }
    }

    fn accept(of: &mut Returnable, amount: i64, lines: &[Line]) -> bool {
        let Ok(returned) = claim(of, amount, lines) else { return false };
        of.returned = returned;
        for line in lines {
            of.quantities.get_mut(&line.product).unwrap().1 += line.quantity;
        }
        true
    }

    proptest! {
        #[test]
        fn neither_more_money_nor_more_goods_come_back_than_went_out(
            bought in (1..20_i64, 1..20_i64),
            returns in prop::collection::vec(("[ab]", 1..8_i64, 0..50_i64), 0..20),
        ) {
            let mut of = order(&[("a", bought.0), ("b", bought.1)], 100);
            for (product, quantity, amount) in returns {
                accept(&mut of, amount, &[line(&product, quantity, 10)]);
                prop_assert!(of.returned <= of.paid);
                prop_assert!(of.quantities.values().all(|(bought, back)| back <= bought));
            }
        }
    }

    #[test]
    fn a_refusal_says_what_is_left() {
        let of = order(&[("a", 3)], 30);
        assert_eq!(claim(&of, 31, &[line("a", 1, 31)]), Err(Refusal::Amount { left: 30 }));
        let twice = [line("a", 2, 1), line("a", 2, 1)];
        assert_eq!(claim(&of, 4, &twice), Err(Refusal::Quantity { product: "a".to_owned(), left: 3 }));
        assert!(claim(&of, 1, &[line("b", 1, 1)]).unwrap_err().to_string().contains("only 0 of b"));
        assert_eq!(claim(&of, 30, &[line("a", 3, 10)]), Ok(30));
        let open = Returnable { status: order::Status::Created, ..of };
        assert_eq!(claim(&open, 1, &[line("a", 1, 1)]), Err(Refusal::NotConfirmed(order::Status::Created)));
    }

    #[test]
    fn an_amount_is_never_more_than_its_lines() {
        assert!(check_amount(20, &[line("a", 2, 10)]).is_ok());
        assert!(check_amount(0, &[line("a", 2, 0)]).is_ok());
        for amount in [-1, 21] {
            assert_eq!(check_amount(amount, &[line("a", 2, 10)]).unwrap_err().field, "amount");
        }
        for status in [Status::Recorded, Status::Confirmed, Status::Cancelled] {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
    }
}
