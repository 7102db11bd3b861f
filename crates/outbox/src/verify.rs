//! The checker: each aggregate's events are numbered 1, 2, 3 … without a gap, each number once, in order.

use std::collections::BTreeSet;
use std::fmt;

use steadfast_db::Db;

use crate::{Error, Outbox};

/// What is wrong with the events of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The kind of aggregate.
    pub aggregate_type: String,
    /// Which one.
    pub aggregate_id: String,
    /// What is wrong.
    pub fault: Fault,
}

/// A way in which an aggregate's events can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// These numbers, which were given out, have no event (the first hundred of them).
    Missing(Vec<i64>),
    /// These numbers have several events.
    Repeated(Vec<i64>),
    /// These numbers were never given out, or were archived and are there again.
    Stray(Vec<i64>),
    /// The events' order in the table is not the order of their numbers.
    Disorder,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.aggregate_type, self.aggregate_id)?;
        match &self.fault {
            Fault::Missing(numbers) => write!(f, "no event for {numbers:?}"),
            Fault::Repeated(numbers) => write!(f, "several events for {numbers:?}"),
            Fault::Stray(numbers) => write!(f, "events beyond those numbered: {numbers:?}"),
            Fault::Disorder => f.write_str("events out of order"),
        }
    }
}

/// Aggregates that one report names.
pub(crate) const SUSPECTS: i64 = 1_000;
/// Numbers that one violation names.
const NAMED: usize = 100;

/// Checks the whole outbox and answers with what is wrong, for the first thousand aggregates where something is. It reads
/// everything: for operators and tests, not for the path of requests. [`Outbox::verify`](crate::Outbox::verify) is the
/// same for any backend.
pub async fn verify(db: &Db) -> Result<Vec<Violation>, Error> {
    Outbox::from(db.clone()).verify().await
}

/// What is wrong with an aggregate whose events' numbers, in order of id, should be `floor + 1 ..= last`.
pub(crate) fn violations(
    aggregate_type: &str,
    aggregate_id: &str,
    sequences: &[i64],
    floor: i64,
    last: i64,
) -> impl Iterator<Item = Violation> {
    faults(sequences, floor, last).into_iter().map(|fault| Violation {
        aggregate_type: aggregate_type.to_owned(),
        aggregate_id: aggregate_id.to_owned(),
        fault,
    })
}

/// What is wrong with numbers that should be `floor + 1 ..= last`, in order.
fn faults(sequences: &[i64], floor: i64, last: i64) -> Vec<Fault> {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<i64> = sequences.iter().copied().filter(|sequence| !seen.insert(*sequence)).collect();
    let some = |numbers: &mut dyn Iterator<Item = i64>| numbers.take(NAMED).collect::<Vec<_>>();
    let missing = some(&mut (floor + 1..=last).filter(|sequence| !seen.contains(sequence)));
    let stray = some(&mut seen.iter().copied().filter(|sequence| *sequence <= floor || *sequence > last));
    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(Fault::Missing(missing));
    }
    if !repeated.is_empty() {
        faults.push(Fault::Repeated(some(&mut repeated.iter().copied())));
    }
    if !stray.is_empty() {
        faults.push(Fault::Stray(stray));
    }
    if sequences.windows(2).any(|pair| pair[0] > pair[1]) {
        faults.push(Fault::Disorder);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_told_apart() {
        assert_eq!(faults(&[1, 2, 3], 0, 3), []);
        assert_eq!(faults(&[4, 5], 3, 5), []);
        assert_eq!(faults(&[], 3, 3), []);
        assert_eq!(faults(&[1, 3], 0, 3), [Fault::Missing(vec![2])]);
        assert_eq!(faults(&[1], 0, 2), [Fault::Missing(vec![2])]);
        assert_eq!(faults(&[1, 1, 2], 0, 2), [Fault::Repeated(vec![1])]);
        assert_eq!(faults(&[1, 2], 0, 1), [Fault::Stray(vec![2])]);
        assert_eq!(faults(&[2], 2, 2), [Fault::Stray(vec![2])]);
        assert_eq!(faults(&[2, 1], 0, 2), [Fault::Disorder]);
    }
}
