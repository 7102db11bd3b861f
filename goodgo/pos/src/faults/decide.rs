//! What a call meets: pure, so that a seed replays alike whatever the order of the calls.

use std::time::Duration;

use steadfast::core::{Op, StepKey};

use crate::draw::source;

/// The most faults that pass which one call meets.
pub const MOST_PER_CALL: u32 = 2;

/// Of a saga that meets faults, this share of its calls does, so that a saga of five calls seldom escapes.
const CALLS: f64 = 0.5;
/// Of calls that met a fault, this share meets another at the next attempt.
const AGAIN: f64 = 0.25;
/// How late a late answer is, in milliseconds.
const LATE: std::ops::RangeInclusive<u64> = 20..=300;

/// What a call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The work is done and the reply is lost: the connection is cut.
    LostReply,
    /// The work is done and answered so much later.
    Late(Duration),
    /// 503, before any work.
    Unavailable,
    /// 422, before any work, at every attempt.
    Refused,
}

/// What the attempt (1 is the first) of a call meets, at a share `rate` of the sagas. A call whose first attempt meets
/// nothing meets nothing later either.
pub fn decide(seed: u64, rate: f64, key: &StepKey, attempt: u32) -> Fault {
    let saga = key.saga.to_string();
    if attempt > MOST_PER_CALL || source(seed, &["saga", &saga]).f64() >= rate {
        return Fault::None;
    }
    let mut source = source(seed, &["call", &key.to_string()]);
    let mut fault = Fault::None;
    for share in [CALLS, AGAIN].into_iter().take(attempt.max(1) as usize) {
        let (meets, kind, late) = (source.f64() < share, source.u8(0..3), source.u64(LATE));
        if !meets {
            return Fault::None;
        }
        fault = match kind {
            0 => Fault::LostReply,
            1 => Fault::Late(Duration::from_millis(late)),
            _ => Fault::Unavailable,
        };
    }
    fault
}

/// Whether every attempt of this call is refused. Only compensations are: an action may be refused by the business, but
/// a compensation that is leaves a saga for an operator.
pub fn is_refused_for_good(seed: u64, rate: f64, key: &StepKey) -> bool {
    key.op == Op::Compensate && source(seed, &["refused", &key.to_string()]).f64() < rate
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use steadfast::core::SagaId;

    use super::*;

    fn key(saga: u32, step: &str, op: Op) -> StepKey {
        StepKey { saga: SagaId::derive("till", "place_order", &saga.to_string()), step: step.into(), op }
    }

    const STEPS: [&str; 5] = ["create_order", "process_payment", "reserve_inventory", "commit_stock", "confirm_order"];

    #[test]
    fn about_the_share_of_sagas_meets_something_and_every_kind_occurs() {
        let mut sagas = 0;
        let mut kinds = BTreeMap::new();
        for saga in 0..2_000 {
            let faults: Vec<Fault> = STEPS.iter().map(|step| decide(7, 0.2, &key(saga, step, Op::Action), 1)).collect();
            sagas += u32::from(faults.iter().any(|fault| *fault != Fault::None));
            for fault in faults {
                let kind = match fault {
                    Fault::None => continue,
                    Fault::LostReply => "lost",
                    Fault::Late(late) => {
                        assert!((20..=300).contains(&late.as_millis()));
                        "late"
                    }
                    Fault::Unavailable => "unavailable",
                    Fault::Refused => "refused",
                };
                *kinds.entry(kind).or_insert(0) += 1;
            }
        }
        assert!((330..440).contains(&sagas), "{sagas} of 2,000 at a rate of 0.2");
        assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), ["late", "lost", "unavailable"]);
        assert!(kinds.values().all(|count| *count > 200), "{kinds:?}");
    }

    #[test]
    fn nothing_without_a_rate_and_nearly_every_saga_at_the_full_one() {
        let meet = |rate| {
            let meets = |saga| STEPS.iter().any(|step| decide(7, rate, &key(saga, step, Op::Action), 1) != Fault::None);
            (0..1_000).filter(|saga| meets(*saga)).count()
        };
        assert_eq!(meet(0.0), 0);
        // Of 32 sagas of five calls one escapes.
        assert!((940..995).contains(&meet(1.0)), "{}", meet(1.0));
    }

    #[test]
    fn a_retry_gets_through_and_a_clean_first_attempt_stays_clean() {
        let mut again = 0;
        for saga in 0..500 {
            let key = key(saga, "process_payment", Op::Action);
            let faults: Vec<Fault> = (1..=4).map(|attempt| decide(7, 1.0, &key, attempt)).collect();
            assert_eq!(faults, (1..=4).map(|attempt| decide(7, 1.0, &key, attempt)).collect::<Vec<_>>());
            assert_eq!(faults[2..], [Fault::None, Fault::None]);
            if faults[0] == Fault::None {
                assert_eq!(faults[1], Fault::None);
            }
            again += u32::from(faults[1] != Fault::None);
        }
        assert!(again > 20, "{again}");
    }

    #[test]
    fn only_compensations_are_refused_for_good() {
        let refused = |op| (0..1_000).filter(|saga| is_refused_for_good(7, 0.1, &key(*saga, "reserve", op))).count();
        assert_eq!(refused(Op::Action), 0);
        assert!((60..150).contains(&refused(Op::Compensate)));
    }
}
