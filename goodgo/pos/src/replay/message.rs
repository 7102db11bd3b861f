//! The bodies and keys that go over the wire.

use serde::{Deserialize, Serialize};
use time::PrimitiveDateTime;

use crate::draw::draw;
use crate::invoice::{Customer, Order, OrderLine, Return};

/// The currency of the data.
const CURRENCY: &str = "GBP";
/// A card that is always charged.
const CARD: &str = "tok_visa";
/// A card that is always declined.
const DECLINED: &str = "tok_declined";

#[derive(Clone, Debug, Serialize)]
pub(super) struct Line<'a> {
    pub(super) product: &'a str,
    pub(super) quantity: i64,
    pub(super) unit_price: i64,
    pub(super) stocked: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PlaceOrder<'a> {
    pub(super) order_no: &'a str,
    pub(super) customer: Option<String>,
    pub(super) placed_at: String,
    pub(super) lines: Vec<Line<'a>>,
    pub(super) currency: &'static str,
    pub(super) card: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct TakeBack<'a> {
    pub(super) return_no: String,
    pub(super) order_id: Option<String>,
    pub(super) customer: Option<String>,
    pub(super) placed_at: String,
    pub(super) lines: Vec<Line<'a>>,
    pub(super) amount: i64,
}

/// An adjustment of stock.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AdjustStock<'a> {
    pub(super) reference: &'a str,
    pub(super) quantity: i64,
    pub(super) reason: &'static str,
}

/// An adjustment of an account.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AdjustAccount<'a> {
    pub(super) reference: &'a str,
    pub(super) amount: i64,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct EditProduct<'a> {
    pub(super) description: &'a str,
    pub(super) price: i64,
}

/// What the order service answers to an order or a return.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Placed {
    #[serde(default)]
    pub(super) order_id: Option<String>,
    #[serde(default)]
    pub(super) status: Option<String>,
}

impl<'a> PlaceOrder<'a> {
    pub(super) fn new(order: &'a Order, declined: bool) -> Self {
        Self {
            order_no: &order.invoice,
            customer: customer(order.customer),
            placed_at: rfc3339(order.at),
            lines: lines(&order.lines),
            currency: CURRENCY,
            card: if declined { DECLINED } else { CARD },
        }
    }
}

impl<'a> TakeBack<'a> {
    pub(super) fn new(back: &'a Return, order_id: Option<String>) -> Self {
        Self {
            return_no: back.key(),
            order_id,
            customer: customer(back.customer),
            placed_at: rfc3339(back.at),
            lines: lines(&back.lines),
            amount: back.refund.0,
        }
    }
}

fn lines<'a>(lines: &'a [OrderLine]) -> Vec<Line<'a>> {
    let line = |line: &'a OrderLine| Line {
        product: &line.sku,
        quantity: line.quantity,
        unit_price: line.unit_price.0,
        stocked: line.stocked,
    };
    lines.iter().map(line).collect()
}

fn customer(customer: Customer) -> Option<String> {
    match customer {
        Customer::WalkIn => None,
        Customer::Known(number) => Some(number.to_string()),
    }
}

/// The data names no zone; the shop is in the United Kingdom, and UTC is as good.
fn rfc3339(at: PrimitiveDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// How many tills a country has.
const TILLS: u64 = 8;

/// The till that an invoice of this country is rung up at. Each is a principal of its own, with a limit of its own; an
/// invoice always goes to the same one, since keys belong to their principal.
pub(super) fn till(country: &str, invoice: &str) -> String {
    format!("{}-{}", slug(country), draw(0, &["till", invoice]) % TILLS + 1)
}

fn slug(country: &str) -> String {
    let mut slug = String::from("till-");
    for c in country.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use time::macros::datetime;

    use super::*;

    #[test]
    fn some_tills_for_each_country() {
        assert_eq!(slug("United Kingdom"), "till-united-kingdom");
        assert_eq!(slug("Channel Islands (all)"), "till-channel-islands-all");
        assert_eq!(slug(""), "till");
        let tills: BTreeSet<String> = (0..100).map(|n| till("France", &n.to_string())).collect();
        assert_eq!(tills.len(), 8);
        assert_eq!(till("France", "7"), till("France", "7"));
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(datetime!(2010-12-01 08:26)), "2010-12-01T08:26:00Z");
    }
}
