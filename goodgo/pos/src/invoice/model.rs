//! What an invoice is.

use std::fmt;

use time::PrimitiveDateTime;

/// Money in thousandths of the currency, since a price can have three decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Milli(pub i64);

impl Milli {
    /// This much, so many times. The limits on prices and quantities keep it within 63 bits.
    #[must_use]
    pub const fn times(self, quantity: i64) -> Self {
        Self(self.0 * quantity)
    }
}

impl std::iter::Sum for Milli {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(|amount| amount.0).sum())
    }
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / 1_000, self.0.unsigned_abs() % 1_000);
        write!(f, "{sign}{whole}.{rest:03}")
    }
}

/// Who buys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Customer {
    /// No customer is named.
    WalkIn,
    /// The customer of this number.
    Known(u32),
}

impl fmt::Display for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WalkIn => f.write_str("walk-in"),
            Self::Known(number) => number.fmt(f),
        }
    }
}

/// What an invoice's number says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sale, or a stock adjustment where its quantities are negative.
    Plain,
    /// `C…`: a cancellation. Its quantities are negative; it does not name the invoice that it cancels.
    Cancellation,
    /// `A…`: an adjustment of an account, such as bad debt.
    Account,
}

/// One line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The product, in capitals: the data spells some both ways.
    pub sku: String,
    /// Its description, which may be empty.
    pub description: String,
    /// How many; negative on cancellations and write-offs, never 0.
    pub quantity: i64,
    /// What one costs.
    pub unit_price: Milli,
}

impl Item {
    /// What the line comes to.
    pub const fn total(&self) -> Milli {
        self.unit_price.times(self.quantity)
    }
}

/// An invoice, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Its number.
    pub number: String,
    /// What it is.
    pub kind: Kind,
    /// When it was made: its first line's date.
    pub at: PrimitiveDateTime,
    /// For whom.
    pub customer: Customer,
    /// Where the customer lives.
    pub country: String,
    /// Its lines, in the file's order.
    pub items: Vec<Item>,
}

impl Invoice {
    /// What it comes to.
    pub fn total(&self) -> Milli {
        self.items.iter().map(Item::total).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_in_thousandths() {
        for (milli, text) in [(0, "0.000"), (1, "0.001"), (2_550, "2.550"), (-11_062_060, "-11062.060"), (-1, "-0.001")]
        {
            assert_eq!(Milli(milli).to_string(), text);
        }
    }
}
