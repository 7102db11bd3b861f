//! What an order is and what may happen to it: pure.
//!
//! ```text
//!              confirm
//!   created ─────────────▶ confirmed
//!      │ cancel
//!      ▼
//!   cancelled
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use steadfast::core::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The most lines of one order.
const LINES_MAX: usize = 2_000;
/// The most of one line.
const QUANTITY_MAX: i64 = 1_000_000_000;
/// The most money: what every reader of JSON reads alike.
const MONEY_MAX: i64 = 9_007_199_254_740_992;
/// The longest number of a receipt, name of a customer, code of a product.
const WORD_MAX: usize = 64;
/// The longest description.
const DESCRIPTION_MAX: usize = 200;
/// What this shop sells in.
const CURRENCY: &str = "GBP";

/// One line of an order or of a return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) product: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) quantity: i64,
    /// In thousandths of the currency's unit.
    pub(crate) unit_price: i64,
    /// Whether it lies on a shelf; postage, for one, does not.
    pub(crate) stocked: bool,
}

/// What the inventory is asked for: each product once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StockLine {
    pub(crate) product: String,
    pub(crate) quantity: i64,
}

/// What is wrong with what was sent: the field, the fault, the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) field: String,
    pub(crate) fault: String,
}

impl Fault {
    pub(crate) fn new(field: impl Into<String>, fault: impl Into<String>) -> Self {
        Self { field: field.into(), fault: fault.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.fault)
    }
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Confirmed,
    Cancelled,
}

impl Status {
    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }

    /// As it was stored.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Created, Self::Confirmed, Self::Cancelled].into_iter().find(|status| status.as_str() == text)
    }

    /// Paid for and on its way; only a new order can be.
    pub(crate) const fn confirm(self) -> Option<Self> {
        match self {
            Self::Created => Some(Self::Confirmed),
            Self::Confirmed | Self::Cancelled => None,
        }
    }

    /// Taken back; only a new order can be. Goods of a confirmed one are returned instead.
    pub(crate) const fn cancel(self) -> Option<Self> {
        match self {
            Self::Created => Some(Self::Cancelled),
            Self::Confirmed | Self::Cancelled => None,
        }
    }
}

/// Checks the lines and sums them up, in thousandths.
pub(crate) fn total(lines: &[Line]) -> Result<i64, Fault> {
    if lines.is_empty() || lines.len() > LINES_MAX {
        return Err(Fault::new("lines", format!("1 to {LINES_MAX} are required")));
    }
    let mut total = 0_i64;
    for (index, line) in lines.iter().enumerate() {
        check(line).map_err(|(field, fault)| Fault::new(format!("lines[{index}].{field}"), fault))?;
        total = line
            .quantity
            .checked_mul(line.unit_price)
            .and_then(|sum| total.checked_add(sum))
            .filter(|total| *total <= MONEY_MAX)
            .ok_or_else(|| Fault::new("lines", format!("they come to more than {MONEY_MAX} thousandths")))?;
    }
    Ok(total)
}

fn check(line: &Line) -> Result<(), (&'static str, String)> {
    word(&line.product).map_err(|fault| ("product", fault))?;
    if line.description.as_ref().is_some_and(|text| text.chars().count() > DESCRIPTION_MAX) {
        return Err(("description", format!("at most {DESCRIPTION_MAX} characters")));
    }
    if !(1..=QUANTITY_MAX).contains(&line.quantity) {
        return Err(("quantity", format!("must be from 1 to {QUANTITY_MAX}")));
    }
    if !(0..=MONEY_MAX).contains(&line.unit_price) {
        return Err(("unit_price", format!("must be from 0 to {MONEY_MAX} thousandths")));
    }
    Ok(())
}

/// What is taken from the shelves, or put back on them: the stocked products of the lines, each once.
pub(crate) fn stock(lines: &[Line]) -> Vec<StockLine> {
    let mut sums = BTreeMap::new();
    for line in lines.iter().filter(|line| line.stocked) {
        *sums.entry(line.product.as_str()).or_insert(0_i64) += line.quantity;
    }
    let line = |(product, quantity): (&str, i64)| StockLine { product: product.to_owned(), quantity };
    sums.into_iter().map(line).collect()
}

/// Checks a number or a code.
pub(crate) fn word(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > WORD_MAX || text.chars().any(char::is_control) {
        return Err(format!("1 to {WORD_MAX} bytes without control characters are required"));
    }
    Ok(())
}

/// The customer as it is stored: empty for one who walked in.
pub(crate) fn customer(name: Option<&str>) -> Result<&str, Fault> {
    let name = name.unwrap_or_default();
    if name.len() > WORD_MAX || name.chars().any(char::is_control) {
        return Err(Fault::new("customer", format!("at most {WORD_MAX} bytes without control characters, or null")));
    }
    Ok(name)
}

/// Checks the currency.
pub(crate) fn currency(text: &str) -> Result<(), Fault> {
    if text == CURRENCY { Ok(()) } else { Err(Fault::new("currency", format!("this shop sells in {CURRENCY}"))) }
}

/// A moment as it travels.
pub(crate) fn moment(field: &str, text: &str) -> Result<Timestamp, Fault> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339);
    let moment = parsed.map_err(|_| Fault::new(field, "must be a moment as of RFC 3339: 2010-12-01T08:26:00Z"))?;
    let millis = moment.unix_timestamp_nanos() / 1_000_000;
    i64::try_from(millis).map(Timestamp::from_millis).map_err(|_| Fault::new(field, "is out of range"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn line(product: &str, quantity: i64, unit_price: i64, stocked: bool) -> Line {
        Line { product: product.to_owned(), description: None, quantity, unit_price, stocked }
    }

    fn lines() -> impl Strategy<Value = Vec<Line>> {
        let one = ("[a-e]", 1..1_000_i64, 0..100_000_i64, any::<bool>())
            .prop_map(|(product, quantity, price, stocked)| line(&product, quantity, price, stocked));
        prop::collection::vec(one, 1..40)
    }

    proptest! {
        #[test]
        fn a_total_is_the_sum_of_its_lines_in_any_order(mut lines in lines()) {
            let sum: i64 = lines.iter().map(|line| line.quantity * line.unit_price).sum();
            prop_assert_eq!(total(&lines), Ok(sum));
            lines.reverse();
            prop_assert_eq!(total(&lines), Ok(sum));
        }

        #[test]
        fn every_stocked_piece_is_asked_for_once(lines in lines()) {
            let stock = stock(&lines);
            let asked: i64 = stock.iter().map(|line| line.quantity).sum();
            let stocked: i64 = lines.iter().filter(|line| line.stocked).map(|line| line.quantity).sum();
            prop_assert_eq!(asked, stocked);
            prop_assert!(stock.windows(2).all(|pair| pair[0].product < pair[1].product));
        }
    }

    #[test]
    fn a_fault_names_the_field() {
        let field = |lines: &[Line]| total(lines).unwrap_err().field;
        let good = line("a", 1, 1, true);
        assert_eq!(field(&[]), "lines");
        assert_eq!(field(&[good.clone(), line("", 1, 1, true)]), "lines[1].product");
        assert_eq!(field(&[line("a", 0, 1, true)]), "lines[0].quantity");
        assert_eq!(field(&[line("a", 1, -1, true)]), "lines[0].unit_price");
        assert_eq!(field(&[line("a", QUANTITY_MAX, MONEY_MAX, true)]), "lines");
        let long = Line { description: Some("x".repeat(201)), ..good };
        assert_eq!(field(&[long]), "lines[0].description");
        assert_eq!(customer(Some("a\tb")).unwrap_err().field, "customer");
        assert_eq!(currency("EUR").unwrap_err().to_string(), "currency: this shop sells in GBP");
    }

    #[test]
    fn only_a_new_order_is_confirmed_or_cancelled() {
        assert_eq!(Status::Created.confirm(), Some(Status::Confirmed));
        assert_eq!(Status::Created.cancel(), Some(Status::Cancelled));
        for status in [Status::Confirmed, Status::Cancelled] {
            assert_eq!((status.confirm(), status.cancel()), (None, None));
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
    }

    #[test]
    fn moments_are_read_with_their_offset() {
        assert_eq!(moment("placed_at", "1970-01-01T01:00:00.5+01:00"), Ok(Timestamp::from_millis(500)));
        assert_eq!(moment("placed_at", "yesterday").unwrap_err().field, "placed_at");
    }

    #[test]
    fn who_walks_in_has_no_name() {
        assert_eq!((customer(None), customer(Some("17850"))), (Ok(""), Ok("17850")));
    }
}
