//! What came of a run: facts by name, and violations in words.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::{Map, Value, json};

/// So many of one kind are told in full; the count tells the rest.
const TOLD_MAX: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Report {
    facts: Map<String, Value>,
    violations: Vec<String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Report {
    pub(super) fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Something that must never be. `kind` groups them.
    pub(super) fn violation(&mut self, kind: &'static str, what: impl Display) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= TOLD_MAX {
            self.violations.push(format!("{kind}: {what}"));
        }
    }

    pub(super) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// The run in one line of JSON.
    pub(super) fn summary(&self) -> String {
        let mut facts = self.facts.clone();
        facts.insert("violations".to_owned(), json!(self.counts.values().sum::<usize>()));
        facts.insert("violations_by_kind".to_owned(), json!(self.counts));
        Value::Object(facts).to_string()
    }
}

/// Least, median and greatest of a number of milliseconds.
pub(super) fn spread(mut values: Vec<u64>) -> Value {
    values.sort_unstable();
    let (Some(least), Some(greatest)) = (values.first(), values.last()) else { return json!({ "count": 0 }) };
    json!({ "count": values.len(), "min": least, "median": values[values.len() / 2], "max": greatest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_violations_of_a_kind_are_counted_and_ten_are_told() {
        let mut report = Report::default();
        report.fact("seed", 7);
        for number in 0..25 {
            report.violation("twice", number);
        }
        report.violation("lost", "x");
        assert_eq!(report.violations().len(), 11);
        let summary: Value = serde_json::from_str(&report.summary()).unwrap();
        assert_eq!(summary["violations"], 26);
        assert_eq!(summary["violations_by_kind"]["twice"], 25);
        assert_eq!(summary["seed"], 7);
    }

    #[test]
    fn a_spread_has_its_median() {
        assert_eq!(spread(vec![5, 1, 9]), json!({ "count": 3, "min": 1, "median": 5, "max": 9 }));
        assert_eq!(spread(Vec::new()), json!({ "count": 0 }));
    }
}
