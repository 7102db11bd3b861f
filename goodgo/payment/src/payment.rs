//! What may happen to a payment: pure.
//!
//! ```text
//!   (declined)      capture              refund, refund …
//!       ▲    ┌───────────────▶ captured ─────────────────▶ refunded
//!       └────┘                    │ void
//!                                 ▼
//!                              voided
//! ```

use std::fmt;

/// The most that one payment can be: what every reader of JSON reads alike.
const AMOUNT_MAX: i64 = 9_007_199_254_740_992;

/// A token that the card network of this shop declines.
const DECLINED: &str = "tok_declined";

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The money is here.
    Captured,
    /// Some or all of it has been given back for returned goods.
    Refunded,
    /// All of it has been given back, since there was no order in the end.
    Voided,
}

impl Status {
    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Refunded => "refunded",
            Self::Voided => "voided",
        }
    }

    /// As it was stored.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Captured, Self::Refunded, Self::Voided].into_iter().find(|status| status.as_str() == text)
    }
}

/// What was paid, and what of it was given back, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) amount: i64,
    pub(crate) refunded: i64,
    pub(crate) status: Status,
}

/// Why something may not happen to a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It was given back whole.
    Voided,
    /// So much is not left of it.
    NotLeft { left: i64 },
    /// Only whole, positive amounts move.
    Amount,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Voided => f.write_str("the payment is voided"),
            Self::NotLeft { left } => write!(f, "only {left} thousandths are left of the payment"),
            Self::Amount => write!(f, "amount: must be from 1 to {AMOUNT_MAX} thousandths"),
        }
    }
}

/// Why a card is not charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Declined;

/// Asks the card network, which in this shop is a table of one token. A real one is asked before the transaction, with
/// the step's key as its idempotency key.
pub(crate) fn authorize(card: &str) -> Result<(), Declined> {
    if card == DECLINED { Err(Declined) } else { Ok(()) }
}

impl Payment {
    /// The money comes in.
    pub(crate) const fn capture(amount: i64) -> Result<Self, Fault> {
        if amount < 1 || amount > AMOUNT_MAX {
            return Err(Fault::Amount);
        }
        Ok(Self { amount, refunded: 0, status: Status::Captured })
    }

    /// What can still be given back.
    pub(crate) const fn left(self) -> i64 {
        self.amount - self.refunded
    }

    /// A part goes back, for goods that came back.
    pub(crate) fn refund(self, amount: i64) -> Result<Self, Fault> {
        if self.status == Status::Voided {
            return Err(Fault::Voided);
        }
        if amount < 1 {
            return Err(Fault::Amount);
        }
        if amount > self.left() {
            return Err(Fault::NotLeft { left: self.left() });
        }
        Ok(Self { refunded: self.refunded + amount, status: Status::Refunded, ..self })
    }

    /// All that is left goes back, since there is no order.
    pub(crate) fn void(self) -> Result<Self, Fault> {
        if self.status == Status::Voided {
            return Err(Fault::Voided);
        }
        Ok(Self { refunded: self.amount, status: Status::Voided, ..self })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_goes_back_than_came_in(
            amount in 1..10_000_i64,
            refunds in prop::collection::vec(-10..4_000_i64, 0..20),
            void in any::<bool>(),
        ) {
            let mut payment = Payment::capture(amount).unwrap();
            let mut back = 0;
            for refund in refunds {
                match payment.refund(refund) {
                    Ok(after) => {
                        payment = after;
                        back += refund;
                        prop_assert_eq!(payment.status, Status::Refunded);
                    }
                    Err(Fault::NotLeft { left }) => prop_assert!(refund > left && left == amount - back),
                    Err(Fault::Amount) => prop_assert!(refund < 1),
                    Err(Fault::Voided) => prop_assert!(false, "nothing was voided"),
                }
                prop_assert_eq!(payment.left(), amount - back);
            }
            if void {
                let after = payment.void().unwrap();
                prop_assert_eq!(after.left(), 0);
                prop_assert_eq!(after.void(), Err(Fault::Voided));
                prop_assert_eq!(after.refund(1), Err(Fault::Voided));
            }
        }
    }

    #[test]
    fn only_a_positive_amount_is_captured() {
        for amount in [0, -1, AMOUNT_MAX + 1] {
            assert_eq!(Payment::capture(amount), Err(Fault::Amount));
        }
        assert!(Payment::capture(AMOUNT_MAX).is_ok());
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        for status in [Status::Captured, Status::Refunded, Status::Voided] {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("lost"), None);
    }

    #[test]
    fn one_token_is_declined() {
        assert_eq!((authorize("tok_visa"), authorize("tok_declined")), (Ok(()), Err(Declined)));
    }
}
