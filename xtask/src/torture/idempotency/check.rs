//! What must be true of the charges of an arm and of all answers, whatever happened before: a function of values.

use std::collections::{BTreeSet, HashMap};

use super::super::report::Report;
use super::arm::Arm;
use super::load::{Charge, What};

/// A row of the ledger.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) attempt: i64,
    /// In milliseconds of the machine's clock.
    pub(super) at: u64,
}

/// What the checks count.
#[derive(Debug, Default)]
pub(super) struct Toll {
    /// Keys that were charged.
    pub(super) keys: u64,
    /// Executions that the route allowed, since nobody knew what became of the one before.
    pub(super) takeovers: u64,
    /// When a key was executed again whose record had been lost.
    pub(super) repeats: Vec<u64>,
    /// Keys whose clients got two different answers, each the answer of an execution.
    pub(super) two_answers: u64,
    pub(super) held: u64,
}

/// Looks at every key of an arm. `promoted`: whether a replica of the cluster has taken its master's place.
pub(super) fn run(
    arm: Arm,
    charges: &[Charge],
    ledger: &HashMap<String, Vec<Row>>,
    promoted: bool,
    report: &mut Report,
) -> Toll {
    let mut counts = Toll::default();
    for charge in charges.iter().filter(|charge| charge.arm == arm) {
        let rows = ledger.get(&charge.key).map_or(&[][..], Vec::as_slice);
        answers(charge, rows, report);
        let is_charged = charge.answers.iter().any(|answer| matches!(answer.what, What::Charged { .. }));
        counts.keys += u64::from(is_charged);
        if !charge.settled {
            report.violation("unsettled", format_args!("{}: nobody knows what became of it", charge.key));
        }
        if arm == Arm::Transactional || arm.holds() {
            if rows.len() > 1 {
                report.violation("executed_twice", format_args!("{}: {} charges", charge.key, rows.len()));
            }
            counts.held += u64::from(!is_charged && charge.settled);
            continue;
        }
        lives(charge, rows, promoted && arm.is_cluster(), &mut counts, report);
    }
    counts
}

/// Each answer for itself, and beside the ledger.
fn answers(charge: &Charge, rows: &[Row], report: &mut Report) {
    let key = &charge.key;
    for answer in &charge.answers {
        match &answer.what {
            What::Charged { id, .. } if answer.misused => {
                report.violation("mismatch", format_args!("{key}: another body was charged as {id}"));
            }
            What::Charged { id, .. } if !rows.iter().any(|row| row.id == *id) => {
                report.violation("lost", format_args!("{key}: charged as {id}, which is not in the ledger"));
            }
            What::Mismatch if !answer.misused => {
                report.violation("mismatch", format_args!("{key}: the same body was taken for another"));
            }
            What::Held if !charge.arm.holds() && charge.arm == Arm::Transactional => {
                report.violation("held", format_args!("{key}: the transactional form knows every outcome"));
            }
            What::Other(said) => report.violation("answer", format_args!("{key}: {said}")),
            _ => {}
        }
    }
}

/// Where a record may be taken over, or lost: each life of it has one answer that is replayed, and only a cluster that has
/// promoted somebody begins another life.
fn lives(charge: &Charge, rows: &[Row], may_lose: bool, counts: &mut Toll, report: &mut Report) {
    let replays: Vec<(u64, i64)> = charge
        .answers
        .iter()
        .filter_map(|answer| match answer.what {
            What::Charged { id, replayed: true } => Some((answer.came, id)),
            _ => None,
        })
        .collect();
    let mut lives: Vec<BTreeSet<i64>> = Vec::new();
    let mut attempts = BTreeSet::new();
    for (index, row) in rows.iter().enumerate() {
        // Of one that was stopped before its charge, and charged after whoever had taken over.
        let is_late = !attempts.contains(&row.attempt) && attempts.last().is_some_and(|newest| row.attempt < *newest);
        // A record that was read back had been stored: an attempt after that has not seen it.
        let was_done = replays.iter().any(|(came, id)| *came < row.at && rows[..index].iter().any(|row| row.id == *id));
        if index > 0 && !is_late && (row.attempt == 1 || was_done) {
            attempts.clear();
            attempts.insert(row.attempt);
            counts.repeats.push(row.at);
            if !may_lose {
                report.violation("repeated", format_args!("{}: {rows:?}", charge.key));
            }
            lives.push(BTreeSet::from([row.id]));
            continue;
        }
        attempts.insert(row.attempt);
        counts.takeovers += u64::from(index > 0);
        match lives.last_mut() {
            Some(life) => drop(life.insert(row.id)),
            None => lives.push(BTreeSet::from([row.id])),
        }
    }
    let mut two_answers = false;
    for life in &lives {
        let replayed: BTreeSet<i64> = replays.iter().map(|(_, id)| *id).filter(|id| life.contains(id)).collect();
        if replayed.len() > 1 {
            report.violation("overwritten", format_args!("{}: {replayed:?} were replayed of one record", charge.key));
        }
        let told = charge.answers.iter().filter_map(|answer| match answer.what {
            What::Charged { id, .. } if life.contains(&id) => Some(id),
            _ => None,
        });
        two_answers |= told.collect::<BTreeSet<i64>>().len() > 1;
    }
    counts.two_answers += u64::from(two_answers);
}

#[cfg(test)]
mod tests {
    use super::super::load::Answer;
    use super::*;

    fn charged(came: u64, id: i64, replayed: bool) -> Answer {
        Answer { asked: came - 1, came, member: 0, what: What::Charged { id, replayed }, misused: false }
    }

    fn row(id: i64, attempt: i64, at: u64) -> Row {
        Row { id, attempt, at }
    }

    /// The kinds of violations, and what was counted.
    fn judged(arm: Arm, answers: Vec<Answer>, rows: &[Row], promoted: bool) -> (Vec<String>, Toll) {
        let (key, user) = ("k".to_owned(), "u".to_owned());
        let charge = Charge { arm, key, user, cents: 1, answers, settled: true };
        let mut report = Report::default();
        let ledger = HashMap::from([("k".to_owned(), rows.to_vec())]);
        let counts = run(arm, &[charge], &ledger, promoted, &mut report);
        let kinds = report.violations().iter().filter_map(|told| Some(told.split_once(':')?.0.to_owned())).collect();
        (kinds, counts)
    }

    #[test]
    fn a_second_charge_is_seen_where_there_may_be_none() {
        for arm in [Arm::Transactional, Arm::Leased] {
            let rows = [row(1, 1, 10), row(2, 1, 20)];
            assert_eq!(judged(arm, vec![charged(11, 1, false)], &rows, true).0, ["executed_twice"]);
            assert!(judged(arm, vec![charged(11, 1, false), charged(30, 1, true)], &rows[..1], true).0.is_empty());
        }
        let (told, counts) = judged(Arm::Redis, vec![charged(11, 1, false)], &[row(1, 1, 10), row(2, 1, 20)], true);
        assert_eq!((told, counts.repeats), (vec!["repeated".to_owned()], vec![20]));
    }

    #[test]
    fn an_answer_without_a_charge_is_lost_money_or_a_lost_commit() {
        assert_eq!(judged(Arm::Transactional, vec![charged(11, 1, false)], &[], false).0, ["lost"]);
        assert_eq!(judged(Arm::Cluster, vec![charged(11, 7, false)], &[row(1, 1, 10)], true).0, ["lost"]);
    }

    #[test]
    fn a_takeover_is_counted_and_an_overwrite_is_seen() {
        let rows = [row(1, 1, 10), row(2, 2, 2_100)];
        let (told, counts) = judged(Arm::Redis, vec![charged(2_200, 2, false), charged(2_300, 2, true)], &rows, false);
        assert_eq!((told.len(), counts.takeovers, counts.two_answers), (0, 1, 0));
        // The one that was late answers its own, and nobody has it replayed.
        let late = vec![charged(2_200, 2, false), charged(2_250, 1, false), charged(2_300, 2, true)];
        let (told, counts) = judged(Arm::Redis, late, &rows, false);
        assert_eq!((told.len(), counts.two_answers), (0, 1));
        // The late one has overwritten what stood there.
        let overwritten = vec![charged(2_300, 2, true), charged(2_400, 1, true)];
        assert_eq!(judged(Arm::Redis, overwritten, &rows, false).0, ["overwritten"]);
    }

    #[test]
    fn a_late_charge_of_one_that_was_taken_over_is_no_repeat() {
        let rows = [row(1, 2, 2_100), row(2, 1, 4_000)];
        let answers = |replayed| {
            let winner = [charged(2_110, 1, false), charged(2_200, 1, true)];
            [&winner[..], &[charged(4_010, 1, true), charged(9_000, replayed, true)]].concat()
        };
        let (told, counts) = judged(Arm::Redis, answers(1), &rows, false);
        assert_eq!((told.len(), counts.takeovers, counts.repeats.len()), (0, 1, 0));
        assert_eq!(judged(Arm::Redis, answers(2), &rows, false).0, ["overwritten"]);
        let again = [row(1, 2, 2_100), row(2, 1, 4_000), row(3, 1, 5_000)];
        assert_eq!(judged(Arm::Redis, answers(1), &again, false).0, ["repeated"]);
    }

    #[test]
    fn only_a_failover_may_lose_a_record() {
        let rows = [row(1, 1, 10), row(2, 1, 5_000)];
        let answers =
            || vec![charged(12, 1, false), charged(20, 1, true), charged(5_010, 2, false), charged(5_100, 2, true)];
        let (told, counts) = judged(Arm::Cluster, answers(), &rows, true);
        assert_eq!((told.len(), counts.repeats), (0, vec![5_000]));
        assert_eq!(judged(Arm::Cluster, answers(), &rows, false).0, ["repeated"]);
        // The completion was lost and the claim was not: the second is a takeover of what had been done.
        let rows = [row(1, 1, 10), row(2, 2, 5_000)];
        let (told, counts) = judged(Arm::Cluster, answers(), &rows, true);
        assert_eq!((told.len(), counts.repeats, counts.takeovers), (0, vec![5_000], 0));
    }
}
