//! A consumer that deduplicates, and says at the end whether it has seen what was committed: pure.

use std::collections::{BTreeSet, HashMap};

use super::Aggregate;

/// Aggregates that a report names.
const NAMED: usize = 20;

/// What has arrived.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    aggregates: HashMap<Aggregate, Seen>,
    events: u64,
    duplicates: u64,
    overtakes: u64,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    // All numbers up to here.
    through: i64,
    early: BTreeSet<i64>,
}

/// What a consumer has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Different events.
    pub events: u64,
    /// Events that came again.
    pub duplicates: u64,
    /// Events that came before an earlier one of their aggregate. A relay that lives lets none pass.
    pub overtakes: u64,
    /// What is missing, or was never committed: the first aggregates, in words.
    pub violations: Vec<String>,
}

impl Audit {
    /// Takes in an event; whether it is new.
    pub fn see(&mut self, aggregate_type: &str, aggregate_id: &str, sequence: i64) -> bool {
        let seen = self.aggregates.entry((aggregate_type.to_owned(), aggregate_id.to_owned())).or_default();
        if sequence <= seen.through || seen.early.contains(&sequence) {
            self.duplicates += 1;
            return false;
        }
        self.events += 1;
        if sequence > seen.through + 1 {
            self.overtakes += 1;
            seen.early.insert(sequence);
            return true;
        }
        seen.through = sequence;
        while seen.early.remove(&(seen.through + 1)) {
            seen.through += 1;
        }
        true
    }

    /// How many different events have arrived.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Compares with the versions that were committed.
    pub fn report(&self, committed: &HashMap<Aggregate, i64>) -> Report {
        let mut violations = Vec::new();
        for (aggregate, version) in committed {
            let seen = self.aggregates.get(aggregate).cloned().unwrap_or_default();
            if seen.through != *version || !seen.early.is_empty() {
                violations.push(format!(
                    "{} {}: committed 1 to {version}, seen 1 to {} and {:?}",
                    aggregate.0, aggregate.1, seen.through, seen.early
                ));
            }
        }
        for aggregate in self.aggregates.keys().filter(|aggregate| !committed.contains_key(*aggregate)) {
            violations.push(format!("{} {}: seen, but never committed", aggregate.0, aggregate.1));
        }
        violations.sort();
        violations.truncate(NAMED);
        Report { events: self.events, duplicates: self.duplicates, overtakes: self.overtakes, violations }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sequences: &[i64], committed: i64) -> Report {
        let mut audit = Audit::default();
        for sequence in sequences {
            audit.see("a", "1", *sequence);
        }
        audit.report(&HashMap::from([(("a".to_owned(), "1".to_owned()), committed)]))
    }

    #[test]
    fn what_was_committed_must_arrive_once_or_more() {
        assert_eq!(report(&[1, 2, 3], 3), Report { events: 3, ..Report::default() });
        assert_eq!(report(&[1, 2, 1, 2, 3], 3), Report { events: 3, duplicates: 2, ..Report::default() });
        assert_eq!(report(&[1, 3, 3, 2], 3), Report { events: 3, duplicates: 1, overtakes: 1, ..Report::default() });
        assert_eq!(report(&[1, 3], 3).violations, ["a 1: committed 1 to 3, seen 1 to 1 and {3}"]);
        assert_eq!(report(&[1, 2], 3).violations.len(), 1);
        assert_eq!(report(&[1, 2, 3, 4], 3).violations.len(), 1);
        let mut audit = Audit::default();
        audit.see("a", "2", 1);
        assert_eq!(audit.report(&HashMap::new()).violations, ["a 2: seen, but never committed"]);
    }
}
