//! One line into one item of one invoice: pure, with each fault located by column.

use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::model::{Customer, Item, Kind, Milli};
use super::split::split;

/// The columns, in order: the first line of every file.
pub const COLUMNS: [&str; 8] =
    ["invoice_no", "stock_code", "description", "quantity", "invoice_date", "unit_price", "customer_id", "country"];

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
/// A million: no line of a shop has more, and products of the two limits stay far from 63 bits.
const MOST_QUANTITY: i64 = 1_000_000;
/// A million of the currency.
const MOST_PRICE: i64 = 1_000_000_000;

/// A line, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) number: String,
    pub(super) kind: Kind,
    pub(super) at: PrimitiveDateTime,
    pub(super) customer: Customer,
    pub(super) country: String,
    pub(super) item: Item,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) column: Option<&'static str>,
    pub(super) fault: String,
    /// The invoice that lacks this line, where it can be told.
    pub(super) invoice: Option<String>,
}

/// Reads one line.
pub(super) fn parse(line: &[u8]) -> Result<Row, Bad> {
    let fields = split(line).map_err(|(index, fault)| Bad {
        column: COLUMNS.get(index).copied(),
        fault: fault.to_owned(),
        // The first field may be the only one that can be trusted.
        invoice: line.split(|byte| *byte == b',').next().filter(|_| index > 0).and_then(number),
    })?;
    let invoice = fields.first().and_then(|field| number(field));
    let bad =
        |index: usize, fault: String| Bad { column: COLUMNS.get(index).copied(), fault, invoice: invoice.clone() };
    if fields.len() != COLUMNS.len() {
        let fault = format!("the line has {} columns instead of {}", fields.len(), COLUMNS.len());
        return Err(Bad { column: None, fault, invoice: invoice.filter(|_| fields.len() > 1) });
    }
    let text = |index: usize| {
        std::str::from_utf8(&fields[index]).map(str::trim).map_err(|_| bad(index, "is not UTF-8 text".to_owned()))
    };
    let at = |index: usize, fault: &str| text(index).map(|text| bad(index, format!("{} {fault}", shown(text))));
    let Some(number) = invoice.clone() else {
        return Err(at(0, "is not an invoice number: letters and digits, 1 to 16")?);
    };
    let kind = match number.as_bytes().first() {
        Some(b'C') => Kind::Cancellation,
        Some(b'A') => Kind::Account,
        _ => Kind::Plain,
    };
    let sku = text(1)?.to_ascii_uppercase();
    if sku.is_empty() || sku.len() > 32 || sku.contains(char::is_control) {
        return Err(at(1, "is not a product: 1 to 32 characters")?);
    }
    let quantity = match text(3)?.parse::<i64>() {
        Ok(0) => return Err(at(3, "is no quantity")?),
        Ok(quantity) if quantity.abs() > MOST_QUANTITY => return Err(at(3, "is more than a million")?),
        Ok(quantity) if kind == Kind::Cancellation && quantity > 0 => {
            return Err(at(3, "is not negative, and the invoice is a cancellation")?);
        }
        Ok(quantity) => quantity,
        Err(_) => return Err(at(3, "is not a whole number")?),
    };
    let Ok(date) = PrimitiveDateTime::parse(text(4)?, DATE) else {
        return Err(at(4, "is not a date such as 2010-12-01 08:26:00")?);
    };
    let unit_price = match price(text(5)?) {
        Some(milli) if milli.abs() > MOST_PRICE => return Err(at(5, "is more than a million")?),
        Some(milli) if milli < 0 && kind != Kind::Account => return Err(at(5, "is negative")?),
        Some(milli) => Milli(milli),
        None => return Err(at(5, "is not a price with at most three decimals")?),
    };
    let customer = match text(6)? {
        "" => Customer::WalkIn,
        id => Customer::Known(id.parse().map_err(|_| bad(6, format!("{} is not a customer's number", shown(id))))?),
    };
    let item = Item { sku, description: text(2)?.to_owned(), quantity, unit_price };
    Ok(Row { number, kind, at: date, customer, country: text(7)?.to_owned(), item })
}

fn number(field: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(field).ok()?.trim();
    let fits = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| text.to_ascii_uppercase())
}

/// `2.55` as 2,550 thousandths.
fn price(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // More than three decimals are accepted where the rest is zeros.
    let significant = decimals.trim_end_matches('0');
    if whole.is_empty() || whole.len() > 12 || !plain(whole) || !plain(decimals) || significant.len() > 3 {
        return None;
    }
    let thousandths: i64 = format!("{significant:0<3}").parse().ok()?;
    Some(sign * (whole.parse::<i64>().ok()? * 1_000 + thousandths))
}

/// A value in a message: quoted, without control characters, not too long.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", short.escape_debug())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "536365,85123a, WHITE HANGING HEART ,6,2010-12-01 08:26:00,2.55,17850,United Kingdom";

    #[test]
    fn a_good_line_is_read() {
        let row = parse(GOOD.as_bytes()).unwrap();
        assert_eq!((row.number.as_str(), row.kind, row.customer), ("536365", Kind::Plain, Customer::Known(17_850)));
        let item = Item {
            sku: "85123A".to_owned(),
            description: "WHITE HANGING HEART".to_owned(),
            quantity: 6,
            unit_price: Milli(2_550),
        };
        assert_eq!((row.item, row.at.to_string()), (item, "2010-12-01 8:26:00.0".to_owned()));
    }

    #[test]
    fn prices_are_thousandths() {
        for (text, milli) in [
            ("0.0", 0),
            ("2.55", 2_550),
            ("0.001", 1),
            ("38970", 38_970_000),
            ("-11062.06", -11_062_060),
            ("1.5000", 1_500),
        ] {
            assert_eq!(price(text), Some(milli), "{text}");
        }
        for text in ["", ".5", "1.2345", "1,5", "1e3", "--1", "+1", "£1", "1.2.3", " 1", "9999999999999"] {
            assert_eq!(price(text), None, "{text}");
        }
    }

    #[test]
    fn every_fault_names_its_column_and_the_invoice_that_lacks_the_line() {
        let cases = [
            (",6,", ",x,", "quantity: \"x\" is not a whole number"),
            (",6,", ",6.5,", "quantity: \"6.5\" is not a whole number"),
            (",6,", ",0,", "quantity: \"0\" is no quantity"),
            (",6,", ",1000001,", "quantity: \"1000001\" is more than a million"),
            ("2.55", "2.5555", "unit_price: \"2.5555\" is not a price with at most three decimals"),
            ("2.55", "-2.55", "unit_price: \"-2.55\" is negative"),
            (
                "2010-12-01",
                "2010-13-01",
                "invoice_date: \"2010-13-01 08:26:00\" is not a date such as 2010-12-01 08:26:00",
            ),
            ("17850", "17850.0", "customer_id: \"17850.0\" is not a customer's number"),
            ("85123a", "", "stock_code: \"\" is not a product: 1 to 32 characters"),
            ("United Kingdom", "\"United Kingdom", "country: has a quote that is not closed on this line"),
            (",United Kingdom", "", "-: the line has 7 columns instead of 8"),
        ];
        for (from, to, want) in cases {
            let bad = parse(GOOD.replace(from, to).as_bytes()).unwrap_err();
            assert_eq!(format!("{}: {}", bad.column.unwrap_or("-"), bad.fault), want);
            assert_eq!(bad.invoice.as_deref(), Some("536365"), "{to}");
        }
        for line in [GOOD.replace("536365", "53 65"), "rubbish".to_owned(), format!("\"{GOOD}")] {
            assert_eq!(parse(line.as_bytes()).unwrap_err().invoice, None, "{line}");
        }
        let mut latin = GOOD.replace("WHITE", "X").into_bytes();
        let place = latin.iter().position(|byte| *byte == b'X').unwrap();
        latin[place] = 0xa3;
        assert_eq!(parse(&latin).unwrap_err().column, Some("description"));
    }

    #[test]
    fn cancellations_are_negative_and_only_accounts_have_negative_prices() {
        let cancelled = GOOD.replace("536365", "C536365");
        assert_eq!(parse(cancelled.as_bytes()).unwrap_err().column, Some("quantity"));
        assert_eq!(parse(cancelled.replace(",6,", ",-6,").as_bytes()).unwrap().kind, Kind::Cancellation);
        let account = GOOD.replace("536365", "A563186").replace("2.55", "-11062.06").replace("17850", "");
        let row = parse(account.as_bytes()).unwrap();
        assert_eq!(
            (row.kind, row.customer, row.item.unit_price),
            (Kind::Account, Customer::WalkIn, Milli(-11_062_060))
        );
    }

    #[test]
    fn a_value_in_a_message_is_short_and_harmless() {
        assert_eq!(shown("a\u{1b}[31m"), "\"a\\u{1b}[31m\"");
        assert_eq!(shown(&"x".repeat(50)), format!("\"{}…\"", "x".repeat(40)));
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(row) = parse(&line) {
                prop_assert!(row.item.quantity != 0);
            }
        }

        #[test]
        fn what_is_printed_is_read(milli in 0_i64..1_000_000_000) {
            prop_assert_eq!(price(&Milli(milli).to_string()), Some(milli));
        }
    }
}
