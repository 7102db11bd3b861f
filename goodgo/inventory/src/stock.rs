//! What may happen to stock: pure.
//!
//! ```text
//!            reserve                     commit
//!   free ─────────────▶ reserved ─────────────▶ gone
//!    ▲ ▲                    │
//!    │ └────────────────────┘ release
//!    └── take back, find;  write off: free ──▶ gone
//! ```
//!
//! Stock is counted, not edited: each move is a delta with a guard, which the database evaluates on the row as it is at
//! that moment, so that a thousand sales of one product do not fight. [`Move::apply`] says the same in Rust; a test
//! compares the two.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The longest code of a product.
const CODE_MAX: usize = 64;
/// The most of one product in one request.
const QUANTITY_MAX: i64 = 9_007_199_254_740_992;

/// How much of which product.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Line {
    pub(crate) product: String,
    pub(crate) quantity: i64,
}

/// What is there of a product, and how much of that is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) on_hand: i64,
    pub(crate) reserved: i64,
}

/// What can happen to a product's stock, always by a positive number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Promised to an order.
    Reserve,
    /// No longer promised.
    Release,
    /// Promised, and now gone.
    Commit,
    /// Come back from a customer.
    TakeBack,
    /// More was found than was counted.
    Find,
    /// Damaged, lost, counted wrong.
    WriteOff,
}

impl Move {
    /// All of them, in the order of their declaration.
    pub(crate) const ALL: [Self; 6] =
        [Self::Reserve, Self::Release, Self::Commit, Self::TakeBack, Self::Find, Self::WriteOff];

    /// The change, in SQL.
    pub(crate) const fn set(self) -> &'static str {
        match self {
            Self::Reserve => "reserved = reserved + :n",
            Self::Release => "reserved = reserved - :n",
            Self::Commit => "on_hand = on_hand - :n, reserved = reserved - :n",
            Self::TakeBack | Self::Find => "on_hand = on_hand + :n",
            Self::WriteOff => "on_hand = on_hand - :n",
        }
    }

    /// When it may happen, in SQL.
    pub(crate) const fn guard(self) -> &'static str {
        match self {
            Self::Reserve | Self::WriteOff => "on_hand - reserved >= :n",
            Self::Release | Self::Commit => "reserved >= :n",
            Self::TakeBack | Self::Find => "on_hand >= 0",
        }
    }

    /// The same in Rust: the level afterwards, or `None` where it may not happen.
    #[cfg(test)]
    pub(crate) const fn apply(self, level: Level, n: i64) -> Option<Level> {
        let Level { on_hand, reserved } = level;
        match self {
            Self::Reserve if level.free() >= n => Some(Level { on_hand, reserved: reserved + n }),
            Self::Release if reserved >= n => Some(Level { on_hand, reserved: reserved - n }),
            Self::Commit if reserved >= n => Some(Level { on_hand: on_hand - n, reserved: reserved - n }),
            Self::TakeBack | Self::Find => Some(Level { on_hand: on_hand + n, reserved }),
            Self::WriteOff if level.free() >= n => Some(Level { on_hand: on_hand - n, reserved }),
            Self::Reserve | Self::Release | Self::Commit | Self::WriteOff => None,
        }
    }

    /// The event that tells of it.
    pub(crate) const fn event_type(self) -> &'static str {
        match self {
            Self::Reserve => "stock.reserved.v1",
            Self::Release => "stock.released.v1",
            Self::Commit => "stock.committed.v1",
            Self::TakeBack => "stock.returned.v1",
            Self::Find | Self::WriteOff => "stock.adjusted.v1",
        }
    }

    /// How it is booked, and with which sign, where it changes what is on hand.
    pub(crate) const fn booking(self) -> Option<(&'static str, i64)> {
        match self {
            Self::Reserve | Self::Release => None,
            Self::Commit => Some(("committed", -1)),
            Self::TakeBack => Some(("returned", 1)),
            Self::Find => Some(("adjusted", 1)),
            Self::WriteOff => Some(("adjusted", -1)),
        }
    }
}

impl Level {
    /// What can still be promised.
    #[cfg(test)]
    pub(crate) const fn free(self) -> i64 {
        self.on_hand - self.reserved
    }
}

/// Checks the code of a product.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_code(product: &str) -> Result<(), String> {
    if product.is_empty() || product.len() > CODE_MAX || product.chars().any(char::is_control) {
        return Err(format!("a product's code has 1 to {CODE_MAX} bytes and no control characters"));
    }
    Ok(())
}

/// The quantity of each product; a product that is named twice is summed.
///
/// # Errors
/// Which line is at fault, and why.
pub(crate) fn by_product(lines: &[Line]) -> Result<BTreeMap<String, i64>, String> {
    let mut sums = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        check_code(&line.product).map_err(|fault| format!("lines[{index}].product: {fault}"))?;
        let sum = sums.entry(line.product.clone()).or_insert(0_i64);
        *sum = (line.quantity > 0)
            .then(|| sum.checked_add(line.quantity))
            .flatten()
            .filter(|sum| *sum <= QUANTITY_MAX)
            .ok_or_else(|| format!("lines[{index}].quantity: must be positive, and at most {QUANTITY_MAX} in sum"))?;
    }
    if sums.is_empty() {
        return Err("lines: at least one is required".to_owned());
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moves() -> impl Strategy<Value = Vec<(Move, i64)>> {
        prop::collection::vec((prop::sample::select(Move::ALL.to_vec()), 1..50_i64), 0..60)
    }

    proptest! {
        #[test]
        fn nothing_is_promised_that_is_not_there_and_every_piece_is_booked(opening in 0..100_i64, moves in moves()) {
            let mut level = Level { on_hand: opening, reserved: 0 };
            let mut booked = opening;
            for (movement, n) in moves {
                if let Some(after) = movement.apply(level, n) {
                    level = after;
                    booked += movement.booking().map_or(0, |(_, sign)| sign * n);
                }
                prop_assert!(0 <= level.reserved && level.reserved <= level.on_hand, "{level:?}");
                prop_assert_eq!(booked, level.on_hand);
            }
        }

        #[test]
        fn what_is_taken_back_is_as_it_was(on_hand in 0..100_i64, reserved in 0..100_i64, n in 1..100_i64) {
            prop_assume!(reserved <= on_hand);
            let level = Level { on_hand, reserved };
            if let Some(after) = Move::Reserve.apply(level, n) {
                prop_assert_eq!(Move::Release.apply(after, n), Some(level));
            }
        }
    }

    fn line(product: &str, quantity: i64) -> Line {
        Line { product: product.to_owned(), quantity }
    }

    #[test]
    fn lines_are_summed_by_product() {
        let sums = by_product(&[line("b", 2), line("a", 1), line("b", 3)]).unwrap();
        assert_eq!(sums.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 1), ("b".to_owned(), 5)]);
    }

    #[test]
    fn a_fault_names_the_line() {
        for (lines, field) in [
            (vec![], "lines"),
            (vec![line("a", 1), line("", 1)], "lines[1].product"),
            (vec![line("a\n", 1)], "lines[0].product"),
            (vec![line("a", 0)], "lines[0].quantity"),
            (vec![line("a", -1)], "lines[0].quantity"),
            (vec![line("a", QUANTITY_MAX), line("a", 1)], "lines[1].quantity"),
        ] {
            assert!(by_product(&lines).unwrap_err().starts_with(field), "{lines:?}");
        }
    }
}
