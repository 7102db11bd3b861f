//! How soon the sagas were consistent.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use steadfast::core::{SagaId, Timestamp};

use super::facts::Saga;
use super::read::to_f64;

/// A saga is consistent when it is settled, its events are published and the read model has them, within so long.
const WITHIN: Duration = Duration::from_mins(1);

/// How soon the sagas were consistent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Consistency {
    /// All sagas that were accepted.
    pub accepted: u64,
    /// Of them, those that were settled, published and visible within 60 s of their acceptance.
    pub consistent: u64,
    /// The same, in percent; 100 where there is none.
    pub rate: f64,
    /// The mean time from acceptance to consistency of those that came to it, in milliseconds; 0 where there is none.
    pub mean_time_ms: f64,
}

/// From the journal, and the moments at which the last event of each saga became visible.
pub(super) fn consistency(sagas: &[Saga], visible: &HashMap<SagaId, Timestamp>) -> Consistency {
    let (mut consistent, mut reached, mut time) = (0_u64, 0_u64, 0_u64);
    for saga in sagas.iter().filter(|saga| saga.is_settled()) {
        let (Some(ended), Some(visible)) = (saga.ended_at, visible.get(&saga.id)) else { continue };
        let took = ended.max(*visible).since(saga.started_at);
        reached += 1;
        time += u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        consistent += u64::from(took <= WITHIN);
    }
    let accepted = sagas.len() as u64;
    Consistency {
        accepted,
        consistent,
        rate: if accepted == 0 { 100.0 } else { 100.0 * to_f64(consistent) / to_f64(accepted) },
        mean_time_ms: if reached == 0 { 0.0 } else { to_f64(time) / to_f64(reached) },
    }
}

/// From the first saga's start to the last one's end.
pub(super) fn span_ms(sagas: &[Saga]) -> u64 {
    let first = sagas.iter().map(|saga| saga.started_at).min();
    let last = sagas.iter().filter_map(|saga| saga.ended_at).max();
    let span = first.zip(last).map(|(first, last)| last.since(first)).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::testing::saga;
    use super::*;

    #[test]
    fn only_settled_and_visible_in_time_is_consistent() {
        let at = Timestamp::from_millis;
        // Started at 0, ended at 500.
        let sagas = [saga(1, "completed"), saga(2, "completed"), saga(3, "failed"), saga(4, "compensated")];
        let visible = [(sagas[0].id, at(700)), (sagas[1].id, at(60_001)), (sagas[2].id, at(700))].into();
        let found = consistency(&sagas, &visible);
        assert_eq!((found.accepted, found.consistent), (4, 1), "late, parked and never seen do not count");
        assert!((found.rate - 25.0).abs() < 1e-9);
        assert!((found.mean_time_ms - 30_350.5).abs() < 1e-9);
        assert_eq!(span_ms(&sagas), 500);
        assert!((consistency(&[], &HashMap::new()).rate - 100.0).abs() < 1e-9);
    }
}
