//! What the read model must hold, folded here anew: pure.

use std::collections::HashMap;

use steadfast_outbox::trial::Aggregate;

/// As in the projection's statement.
const FACTOR: i64 = 31;
const MODULUS: i64 = 1_000_000_007;

/// One row of the read model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) events: i64,
    pub(super) total: i64,
    pub(super) chain: i64,
}

/// All rows, by aggregate.
pub(super) type View = HashMap<Aggregate, Row>;

/// The row after each number of events, as far as it was ever asked for: the event of version n carries n.
#[derive(Debug)]
pub(super) struct Fold(Vec<Row>);

impl Default for Fold {
    fn default() -> Self {
        Self(vec![Row::default()])
    }
}

impl Fold {
    /// The row after the first `events` of an aggregate; none where there can be no such number.
    pub(super) fn after(&mut self, events: i64) -> Option<Row> {
        let index = usize::try_from(events).ok().filter(|index| *index < 10_000_000)?;
        while self.0.len() <= index {
            let Row { events, total, chain } = self.0.last().copied().unwrap_or_default();
            let version = events + 1;
            self.0.push(Row { events: version, total: total + version, chain: (chain * FACTOR + version) % MODULUS });
        }
        self.0.get(index).copied()
    }
}

/// What a reader notices who looks again and again.
#[derive(Debug, Default)]
pub(super) struct Watch {
    fold: Fold,
    last: HashMap<Aggregate, i64>,
}

impl Watch {
    /// What is wrong with a row now: it is no prefix of its aggregate's events, or fewer than were seen before.
    pub(super) fn look(&mut self, aggregate: &Aggregate, row: Row) -> Option<String> {
        let (kind, id) = aggregate;
        if row.events < 1 || self.fold.after(row.events) != Some(row) {
            return Some(format!("{kind} {id} showed {row:?}, which is no prefix of its events"));
        }
        let before = self.last.insert(aggregate.clone(), row.events).unwrap_or_default();
        (before > row.events).then(|| format!("{kind} {id} showed {before} events, then {}", row.events))
    }
}

/// Where the read model differs from the fold of what was committed.
pub(super) fn differences(view: &View, committed: &HashMap<Aggregate, i64>) -> Vec<String> {
    let mut fold = Fold::default();
    let mut found: Vec<String> = Vec::new();
    for (aggregate, version) in committed {
        let (kind, id) = aggregate;
        match view.get(aggregate) {
            Some(row) if fold.after(*version) == Some(*row) => {}
            Some(row) => found.push(format!("{kind} {id}: {version} events were committed, the view has {row:?}")),
            None => found.push(format!("{kind} {id}: {version} events were committed, the view has none")),
        }
    }
    let unknown = view.keys().filter(|aggregate| !committed.contains_key(*aggregate));
    found.extend(unknown.map(|(kind, id)| format!("{kind} {id} is in the view and was never committed")));
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregate(id: &str) -> Aggregate {
        ("a".to_owned(), id.to_owned())
    }

    fn row(events: i64, total: i64, chain: i64) -> Row {
        Row { events, total, chain }
    }

    #[test]
    fn only_prefixes_are_right_and_none_shrinks() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(&aggregate("1"), row(2, 3, 33)), None);
        assert_eq!(watch.look(&aggregate("1"), row(3, 6, 33 * 31 + 3)), None);
        for (wrong, told) in [
            (row(3, 7, 33 * 31 + 3), "no prefix"),
            // 1, 3, 2: count and sum are right, the order is not.
            (row(3, 6, (31 + 3) * 31 + 2), "no prefix"),
            (row(0, 0, 0), "no prefix"),
            (row(-1, 0, 0), "no prefix"),
            (row(i64::MAX, 0, 0), "no prefix"),
            (row(2, 3, 33), "then 2"),
        ] {
            let said = watch.look(&aggregate("1"), wrong).unwrap();
            assert!(said.contains(told), "{wrong:?}: {said}");
        }
    }

    #[test]
    fn what_is_missing_too_much_or_invented_is_told() {
        let committed = HashMap::from([(aggregate("1"), 2), (aggregate("2"), 1)]);
        let right = View::from([(aggregate("1"), row(2, 3, 33)), (aggregate("2"), row(1, 1, 1))]);
        assert_eq!(differences(&right, &committed), [] as [String; 0]);
        let mut spoilt = right.clone();
        spoilt.insert(aggregate("1"), row(3, 5, 33 * 31 + 2));
        spoilt.remove(&aggregate("2"));
        spoilt.insert(aggregate("3"), row(1, 1, 1));
        assert_eq!(differences(&spoilt, &committed).len(), 3);
    }

    #[test]
    fn the_projection_and_its_repeat_fold_alike() {
        let numbers = format!("* {FACTOR} + ");
        for text in [include_str!("trial.projection.yaml"), include_str!("sql/apply_again.sql")] {
            assert!(text.contains(&numbers) && text.contains(&MODULUS.to_string()));
        }
    }
}
