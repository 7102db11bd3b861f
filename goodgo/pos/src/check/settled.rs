//! (a) Nothing hangs and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use steadfast::core::{Op, StepKey, Timestamp};
use uuid::Uuid;

use super::contract::{PLACE_ORDER, RETURN_ORDER};
use super::facts::{Facts, Saga};
use super::{Ends, Parked, Violation, violations};
use crate::replay::{OrderEnd, Outcome};

/// A saga must be settled within so long of its start, or of the end of the faults.
const WITHIN: Duration = Duration::from_mins(1);

pub(super) fn check(
    facts: &Facts,
    outcome: &Outcome,
    injected: &BTreeSet<StepKey>,
    faults_ended: Timestamp,
) -> (Vec<Violation>, Vec<Parked>) {
    let mut details = Vec::new();
    let mut parked = Vec::new();
    for saga in &facts.sagas {
        if saga.is_parked() {
            match on_purpose(saga, injected) {
                Ok(found) => parked.push(found),
                Err(detail) => details.push(detail),
            }
        } else {
            details.extend(too_late(saga, faults_ended));
        }
    }
    details.extend(rows(facts));
    details.extend(accepted(&facts.sagas, outcome));
    (violations("settled", details), parked)
}

fn name(saga: &Saga) -> String {
    format!("saga {} ({} {})", saga.id, saga.definition, saga.number)
}

/// A parked saga, if every reason why it is parked was injected.
fn on_purpose(saga: &Saga, injected: &BTreeSet<StepKey>) -> Result<Parked, String> {
    let waiting = &saga.remains.parked;
    let is_injected = |step: &str, op: Op| injected.contains(&StepKey { saga: saga.id, step: step.to_owned(), op });
    let other = waiting.iter().find(|(step, op, _)| !is_injected(step, *op));
    if let Some((step, op, why)) = other {
        return Err(format!("{} is parked at {step} {op} ({why}), which nobody injected", name(saga)));
    }
    if waiting.is_empty() {
        return Err(format!("{} is parked without a step that says why", name(saga)));
    }
    let left = saga.remains.left.iter();
    Ok(Parked {
        saga: saga.id.to_string(),
        definition: saga.definition.clone(),
        number: saga.number.clone(),
        refused: waiting.iter().map(|(step, _, _)| step.clone()).collect(),
        left: left
            .map(|left| if left.certain { left.step.clone() } else { format!("{} (perhaps)", left.step) })
            .collect(),
    })
}

fn too_late(saga: &Saga, faults_ended: Timestamp) -> Option<String> {
    if !saga.is_settled() {
        return Some(format!("{} is still {}", name(saga), saga.status));
    }
    let Some(ended) = saga.ended_at else { return Some(format!("{} is {} without a time", name(saga), saga.status)) };
    let late = ended.since(saga.started_at.max(faults_ended));
    (late > WITHIN)
        .then(|| format!("{} was settled {late:?} after the end of the faults, beyond {WITHIN:?}", name(saga)))
}

/// Rows and sagas agree.
fn rows(facts: &Facts) -> Vec<String> {
    let orders = facts.orders.iter().map(|row| (row.id, (row.number.as_str(), row.status.as_str())));
    let returns = facts.returns.iter().map(|row| (row.id, (row.number.as_str(), row.status.as_str())));
    let mut details = agree(PLACE_ORDER, "order", &facts.sagas, orders.collect());
    details.extend(agree(RETURN_ORDER, "return", &facts.sagas, returns.collect()));
    details
}

fn agree(definition: &str, noun: &str, sagas: &[Saga], mut rows: BTreeMap<Uuid, (&str, &str)>) -> Vec<String> {
    let mut details = Vec::new();
    for saga in sagas.iter().filter(|saga| saga.definition == definition) {
        let status = rows.remove(&saga.subject).map(|(_, status)| status);
        let agrees = match saga.status.as_str() {
            "completed" => status == Some("confirmed"),
            "compensated" => status.is_none_or(|status| status == "cancelled"),
            // What is neither is told of already.
            _ => true,
        };
        if !agrees {
            let status = status.unwrap_or("not there");
            details.push(format!("{} is {}, but its {noun} is {status}", name(saga), saga.status));
        }
    }
    details.extend(rows.into_values().map(|(number, status)| format!("{noun} {number} is {status}, without a saga")));
    details
}

/// What was promised to the tills is so.
fn accepted(sagas: &[Saga], outcome: &Outcome) -> Vec<String> {
    let places = sagas.iter().filter(|saga| saga.definition == PLACE_ORDER);
    let by_subject: BTreeMap<String, &Saga> = places.map(|saga| (saga.subject.to_string(), saga)).collect();
    let mut details = Vec::new();
    for (number, end) in &outcome.orders {
        let Some(order_id) = end.order_id() else { continue };
        let Some(saga) = by_subject.get(order_id) else {
            details.push(format!("order {number} was accepted as {order_id} and has no saga: it is lost"));
            continue;
        };
        let told = match end {
            OrderEnd::Completed { .. } => "completed",
            OrderEnd::Compensated { .. } => "compensated",
            _ => continue,
        };
        if saga.status != told {
            details.push(format!("order {number} was told to be {told}, but {} is {}", name(saga), saga.status));
        }
    }
    let mut numbers = BTreeMap::new();
    for saga in by_subject.values() {
        *numbers.entry(saga.number.as_str()).or_insert(0) += 1;
    }
    details.extend(
        numbers
            .into_iter()
            .filter(|(_, sagas)| *sagas > 1)
            .map(|(number, sagas)| format!("order {number} was placed once and has {sagas} sagas")),
    );
    details
}

/// How the orders ended.
pub(super) fn ends(sagas: &[Saga], outcome: &Outcome) -> Ends {
    let mut ends = Ends { orders: outcome.orders.len() as u64, ..Ends::default() };
    for saga in sagas.iter().filter(|saga| saga.definition == PLACE_ORDER) {
        match saga.status.as_str() {
            "completed" => ends.completed += 1,
            "compensated" => ends.compensated += 1,
            "failed" => ends.failed += 1,
            _ => {}
        }
    }
    let ended = ends.completed + ends.compensated + ends.failed;
    // Orders that were placed twice would otherwise hide in the sum; they are violations too.
    ends.orders = ends.orders.max(ended);
    ends.pending = ends.orders - ended;
    ends
}

/// Returns that are completed.
pub(super) fn completed_returns(sagas: &[Saga]) -> u64 {
    sagas.iter().filter(|saga| saga.definition == RETURN_ORDER && saga.status == "completed").count() as u64
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::journal::{Left, Remains};
    use super::super::testing::{order, outcome, saga, text};
    use super::*;

    fn facts(sagas: Vec<Saga>, orders: &[(u128, &str)]) -> Facts {
        let orders = orders.iter().map(|(n, status)| order(*n, "7", 100, status)).collect();
        Facts { sagas, orders, ..Facts::default() }
    }

    fn found(facts: &Facts, outcome: &Outcome) -> String {
        text(&check(facts, outcome, &BTreeSet::new(), Timestamp::from_millis(1_000)).0)
    }

    #[test]
    fn all_is_well() {
        let facts = facts(vec![saga(1, "completed"), saga(2, "compensated")], &[(1, "confirmed"), (2, "cancelled")]);
        assert_eq!(found(&facts, &outcome(&[(1, "completed"), (2, "compensated")])), "");
        let ends = ends(&facts.sagas, &outcome(&[(1, "completed"), (2, "compensated"), (3, "unanswered")]));
        assert_eq!(ends, Ends { orders: 3, completed: 1, compensated: 1, failed: 0, pending: 1 });
    }

    #[test]
    fn what_hangs_is_late_or_disagrees_is_named() {
        let mut late = saga(2, "compensated");
        late.ended_at = Some(Timestamp::from_millis(61_001));
        let facts = facts(
            vec![saga(1, "running"), late, saga(3, "completed"), saga(4, "compensated")],
            &[(2, "cancelled"), (3, "created"), (4, "confirmed"), (9, "created")],
        );
        expect![[r"
            settled: saga 00000000-0000-0000-0000-000000000001 (place_order 1) is still running
            settled: saga 00000000-0000-0000-0000-000000000002 (place_order 2) was settled 60.001s after the end of the faults, beyond 60s
            settled: saga 00000000-0000-0000-0000-000000000003 (place_order 3) is completed, but its order is created
            settled: saga 00000000-0000-0000-0000-000000000004 (place_order 4) is compensated, but its order is confirmed
            settled: order 9 is created, without a saga
        "]]
        .assert_eq(&found(&facts, &outcome(&[])));
    }

    #[test]
    fn an_order_that_was_accepted_and_lost_or_placed_twice_is_named() {
        let mut twin = saga(2, "completed");
        twin.number = "1".into();
        let facts = facts(vec![saga(1, "completed"), twin], &[(1, "confirmed"), (2, "confirmed")]);
        expect![[r"
            settled: order 1 was told to be compensated, but saga 00000000-0000-0000-0000-000000000001 (place_order 1) is completed
            settled: order 3 was accepted as 00000000-0000-0000-0000-000000000003 and has no saga: it is lost
            settled: order 1 was placed once and has 2 sagas
        "]]
        .assert_eq(&found(&facts, &outcome(&[(1, "compensated"), (3, "accepted")])));
    }

    #[test]
    fn only_what_was_injected_may_be_parked() {
        let mut parked = saga(1, "failed");
        parked.remains = Remains {
            parked: vec![("process_payment".into(), Op::Compensate, "refused".into())],
            left: vec![Left { step: "process_payment".into(), certain: true }],
        };
        let key = StepKey { saga: parked.id, step: "process_payment".into(), op: Op::Compensate };
        let facts = facts(vec![parked, saga(2, "failed")], &[(1, "created")]);
        let ended = Timestamp::from_millis(1_000);
        let (bad, parked) = check(&facts, &outcome(&[]), &[key].into(), ended);
        assert_eq!(parked.len(), 1);
        assert_eq!(
            (parked[0].refused.as_slice(), parked[0].left.as_slice()),
            (&["process_payment".to_owned()][..], &["process_payment".to_owned()][..])
        );
        expect![[r"
            settled: saga 00000000-0000-0000-0000-000000000002 (place_order 2) is parked without a step that says why
        "]]
        .assert_eq(&text(&bad));
        let (bad, parked) = check(&facts, &outcome(&[]), &BTreeSet::new(), ended);
        assert_eq!((bad.len(), parked.len()), (2, 0));
        assert!(bad[0].detail.contains("parked at process_payment compensate (refused), which nobody injected"));
    }
}
