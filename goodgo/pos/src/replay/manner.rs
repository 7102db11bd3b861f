//! How a till behaves with an order: a pure function of seed and invoice.

use crate::draw::source;

/// How a till behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manner {
    /// As it should.
    Plain,
    /// It pays with a card that is declined.
    Declined,
    /// It sends the order twice at once.
    TwiceAtOnce,
    /// It sends the order again after the answer.
    TwiceInTurn,
    /// It hangs up with half of the order sent, then sends it again.
    HangUpMidRequest,
    /// It hangs up with all of the order sent, then sends it again.
    HangUpBeforeAnswer,
    /// It sends another order under the same key.
    OtherBody,
    /// Two clients edit a product of the order at once.
    TwoEditors,
}

/// The kinds of trouble, and in how many of twelve each occurs; the rest is the participants'.
const KINDS: [(Manner, u32); 7] = [
    (Manner::Declined, 2),
    (Manner::TwiceAtOnce, 1),
    (Manner::TwiceInTurn, 1),
    (Manner::HangUpMidRequest, 1),
    (Manner::HangUpBeforeAnswer, 1),
    (Manner::OtherBody, 1),
    (Manner::TwoEditors, 1),
];
const OF_TILLS: u32 = 8;
const OF_ALL: u32 = 12;

/// Of a failure rate, the share of orders that meet a fault of the till's making.
pub fn client_share(failure_rate: f64) -> f64 {
    failure_rate.clamp(0.0, 1.0) * f64::from(OF_TILLS) / f64::from(OF_ALL)
}

/// Of a failure rate, the share of sagas that must meet a fault of a participant, so that in sum the rate of orders meets
/// something: the two draw independently of each other.
pub fn participant_share(failure_rate: f64) -> f64 {
    let rate = failure_rate.clamp(0.0, 1.0);
    let client = client_share(rate);
    (rate - client) / (1.0 - client)
}

/// How a till behaves with the order of this invoice.
pub fn manner(seed: u64, failure_rate: f64, invoice: &str) -> Manner {
    let mut source = source(seed, &["manner", invoice]);
    if source.f64() >= client_share(failure_rate) {
        return Manner::Plain;
    }
    let mut left = source.u32(0..OF_TILLS);
    for (manner, share) in KINDS {
        if left < share {
            return manner;
        }
        left -= share;
    }
    Manner::Plain
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_shares_of_the_kinds_add_up() {
        assert_eq!(KINDS.iter().map(|(_, share)| share).sum::<u32>(), OF_TILLS);
        for rate in [0.0, 0.1, 0.5, 0.9] {
            let (client, participant) = (client_share(rate), participant_share(rate));
            let either = 1.0 - (1.0 - client) * (1.0 - participant);
            assert!((either - rate).abs() < 1e-9, "{either} of {rate}");
        }
    }

    #[test]
    fn every_kind_occurs_in_about_its_share_and_alike_each_time() {
        let mut counts: BTreeMap<Manner, u32> = BTreeMap::new();
        for invoice in 0..12_000 {
            let invoice = invoice.to_string();
            let drawn = manner(7, 0.3, &invoice);
            assert_eq!(drawn, manner(7, 0.3, &invoice));
            *counts.entry(drawn).or_default() += 1;
        }
        // 12,000 orders x 0.3 x 1/12 = 300 for each twelfth
        for (kind, share) in KINDS {
            let count = counts.get(&kind).copied().unwrap_or(0);
            assert!((230 * share..370 * share).contains(&count), "{kind:?}: {count}");
        }
        let other = (0..1_000).filter(|n| manner(7, 0.3, &n.to_string()) != manner(8, 0.3, &n.to_string())).count();
        assert!(other > 100, "another seed, other manners: {other}");
    }

    #[test]
    fn no_rate_no_trouble() {
        assert!((0..1_000).all(|n| manner(7, 0.0, &n.to_string()) == Manner::Plain));
    }
}
