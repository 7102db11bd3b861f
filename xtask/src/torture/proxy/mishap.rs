//! What becomes of one piece of traffic, as a function of chance.

use std::time::Duration;

use fastrand::Rng;

/// How likely which mishap is, in 10,000 pieces of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// A cut, of whichever kind.
    pub(crate) cut: u32,
    pub(crate) delay: u32,
    /// Long enough for time-outs to fire.
    pub(crate) stall: u32,
}

impl Rates {
    pub(crate) const CALM: Self = Self { cut: 0, delay: 0, stall: 0 };

    pub(super) fn is_calm(self) -> bool {
        self == Self::CALM
    }
}

/// Which way a piece goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Reply,
}

/// What happens to a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    None,
    /// The piece is lost, with the connection.
    CutBefore,
    /// So many bytes of it arrive, then the connection ends.
    CutWithin(usize),
    /// A request arrives, and the connection ends when its reply is on the way: the effect has happened.
    CutReply,
    Delay(Duration),
    Stall(Duration),
}

impl Mishap {
    pub(super) fn name(self, direction: Direction) -> Option<&'static str> {
        let request = direction == Direction::Request;
        match self {
            Self::None => None,
            Self::CutBefore if request => Some("cut_before_request"),
            Self::CutBefore => Some("cut_before_reply"),
            Self::CutWithin(_) if request => Some("cut_in_request"),
            Self::CutWithin(_) => Some("cut_in_reply"),
            Self::CutReply => Some("cut_after_request"),
            Self::Delay(_) => Some("delay"),
            Self::Stall(_) => Some("stall"),
        }
    }

    /// Draws for a piece of `length` bytes.
    pub(super) fn draw(rng: &mut Rng, rates: Rates, direction: Direction, length: usize) -> Self {
        if rates.is_calm() {
            return Self::None;
        }
        let point = rng.u32(..10_000);
        if point < rates.cut {
            return match (rng.u8(..3), direction) {
                (0, _) => Self::CutBefore,
                (1, Direction::Request) => Self::CutReply,
                _ => Self::CutWithin(rng.usize(..length.max(1))),
            };
        }
        if point < rates.cut + rates.delay {
            return Self::Delay(Duration::from_millis(rng.u64(2..250)));
        }
        if point < rates.cut + rates.delay + rates.stall {
            return Self::Stall(Duration::from_millis(rng.u64(1_000..9_000)));
        }
        Self::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calm_network_does_nothing() {
        let mut rng = Rng::with_seed(1);
        for _ in 0..1_000 {
            assert_eq!(Mishap::draw(&mut rng, Rates::CALM, Direction::Request, 100), Mishap::None);
        }
    }

    #[test]
    fn every_mishap_comes_at_its_rate() {
        let mut rng = Rng::with_seed(1);
        let rates = Rates { cut: 900, delay: 1_000, stall: 100 };
        let mut names = std::collections::BTreeMap::new();
        for direction in [Direction::Request, Direction::Reply] {
            for _ in 0..10_000 {
                let mishap = Mishap::draw(&mut rng, rates, direction, 100);
                if let Mishap::CutWithin(at) = mishap {
                    assert!(at < 100, "never the whole piece");
                }
                *names.entry(mishap.name(direction)).or_insert(0) += 1;
            }
        }
        assert_eq!(names.len(), 8, "{names:?}");
        let delays = names[&Some("delay")];
        assert!((1_700..2_300).contains(&delays), "{delays} of 20,000");
    }
}
