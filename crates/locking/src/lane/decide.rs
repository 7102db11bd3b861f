//! What becomes of a batch: pure. In the order of arrival, on what is known of the rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Key, Loser, Reason, Version};

/// What one caller wants of some rows: all of it or nothing. Amounts are positive, each row is named once.
pub type Amounts = BTreeMap<Key, i64>;

/// A row as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How much can still be taken.
    pub free: i64,
    /// Its version.
    pub version: Version,
}

/// The rows that were seen; `None` where there is no such row.
pub(super) type Rows = BTreeMap<Key, Option<Seen>>;

/// What becomes of one want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gets everything; with it the version of each row that is this change's own: the `sequence` of its event.
    Taken(BTreeMap<Key, Version>),
    /// It gets nothing, because of these rows.
    Refused(Vec<Loser>),
}

/// The change of one row by a whole batch. With a count of 0 nothing changes, and the version is still to be compared: a
/// refusal must not rest on what another process has changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Which row.
    pub key: Key,
    /// The version that the row must be at.
    pub expected: Version,
    /// How much is taken in all.
    pub amount: i64,
    /// How many changes that is, and by how much the version grows.
    pub count: i64,
}

/// Decides on wants in the order of their arrival. Every row that a want names must be in `rows`.
pub(super) fn decide<'a>(rows: &Rows, wants: impl IntoIterator<Item = &'a Amounts>) -> (Vec<Verdict>, Vec<Sum>) {
    let mut now: BTreeMap<&Key, Seen> = rows.iter().filter_map(|(key, seen)| Some((key, (*seen)?))).collect();
    let mut named = BTreeSet::new();
    let mut verdicts = Vec::new();
    for want in wants {
        named.extend(want.keys());
        let loser = |(key, amount): (&Key, &i64)| {
            let reason = match now.get(key) {
                None => Reason::NotFound,
                Some(seen) if seen.free < *amount => Reason::Refused,
                Some(_) => return None,
            };
            Some(Loser { key: key.clone(), reason })
        };
        let losers: Vec<_> = want.iter().filter_map(loser).collect();
        if !losers.is_empty() {
            verdicts.push(Verdict::Refused(losers));
            continue;
        }
        let mut versions = BTreeMap::new();
        for (key, amount) in want {
            if let Some(seen) = now.get_mut(key) {
                seen.free -= amount;
                seen.version = seen.version.next();
                versions.insert(key.clone(), seen.version);
            }
        }
        verdicts.push(Verdict::Taken(versions));
    }
    let sum = |key: &Key| {
        let (before, after) = (rows.get(key).copied().flatten()?, now.get(key)?);
        Some(Sum {
            key: key.clone(),
            expected: before.version,
            amount: before.free - after.free,
            count: after.version.get() - before.version.get(),
        })
    };
    (verdicts, named.into_iter().filter_map(sum).collect())
}

/// The rows after a batch that was committed.
pub(super) fn apply(rows: &mut Rows, sums: &[Sum]) {
    for sum in sums {
        if let Some(Some(seen)) = rows.get_mut(&sum.key) {
            seen.free -= sum.amount;
            seen.version = Version::from_stored(sum.expected.get() + sum.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn seen(free: i64, version: i64) -> Seen {
        Seen { free, version: Version::from_stored(version) }
    }

    fn want(amounts: &[(&str, i64)]) -> Amounts {
        amounts.iter().map(|(key, amount)| (Key::from(*key), *amount)).collect()
    }

    #[test]
    fn who_came_first_is_served_first_whole_or_not_at_all() {
        let rows = Rows::from([("a".into(), Some(seen(5, 7))), ("b".into(), Some(seen(1, 1))), ("gone".into(), None)]);
        let wants = [
            want(&[("a", 3)]),
            want(&[("a", 1), ("b", 2)]),
            want(&[("a", 3)]),
            want(&[("gone", 1), ("a", 1)]),
            want(&[("a", 2), ("b", 1)]),
        ];
        let (verdicts, sums) = decide(&rows, &wants);
        let version = Version::from_stored;
        let loser = |key: &str, reason| Verdict::Refused(vec![Loser { key: key.into(), reason }]);
        assert_eq!(
            verdicts,
            [
                Verdict::Taken([("a".into(), version(8))].into()),
                loser("b", Reason::Refused),
                loser("a", Reason::Refused),
                loser("gone", Reason::NotFound),
                Verdict::Taken([("a".into(), version(9)), ("b".into(), version(2))].into()),
            ]
        );
        let sum = |key: &str, at, amount, count| Sum { key: key.into(), expected: version(at), amount, count };
        assert_eq!(sums, [sum("a", 7, 5, 2), sum("b", 1, 1, 1)]);
    }

    #[test]
    fn refusals_alone_still_compare_the_version() {
        let rows = Rows::from([("a".into(), Some(seen(0, 4)))]);
        let (_, sums) = decide(&rows, &[want(&[("a", 1)])]);
        assert_eq!(sums, [Sum { key: "a".into(), expected: Version::from_stored(4), amount: 0, count: 0 }]);
    }

    proptest! {
        #[test]
        fn nothing_is_taken_that_is_not_there_and_versions_have_no_gap(
            free in prop::collection::vec(0..20_i64, 3),
            wants in prop::collection::vec(prop::collection::btree_map(0..4_usize, 1..8_i64, 1..4), 0..40),
        ) {
            let name = |n: &usize| Key::from(["a", "b", "c", "d"][*n]);
            let mut rows: Rows = free.iter().zip(0..).map(|(free, n)| (name(&n), Some(seen(*free, 1)))).collect();
            rows.insert(name(&3), None);
            let wants: Vec<Amounts> =
                wants.iter().map(|it| it.iter().map(|(n, amount)| (name(n), *amount)).collect()).collect();
            let (verdicts, sums) = decide(&rows, &wants);
            let mut versions: BTreeMap<Key, Vec<i64>> = BTreeMap::new();
            let mut taken: BTreeMap<Key, i64> = BTreeMap::new();
            for (want, verdict) in wants.iter().zip(&verdicts) {
                let Verdict::Taken(own) = verdict else { continue };
                prop_assert_eq!(own.len(), want.len());
                for (key, amount) in want {
                    versions.entry(key.clone()).or_default().push(own[key].get());
                    *taken.entry(key.clone()).or_default() += amount;
                }
            }
            for sum in &sums {
                let own = versions.remove(&sum.key).unwrap_or_default();
                prop_assert_eq!(&own, &(2..2 + sum.count).collect::<Vec<_>>());
                prop_assert_eq!(taken.get(&sum.key).copied().unwrap_or(0), sum.amount);
                prop_assert!(rows[&sum.key].unwrap().free >= sum.amount);
            }
            prop_assert!(versions.is_empty());
            apply(&mut rows, &sums);
            prop_assert!(rows.values().flatten().all(|seen| seen.free >= 0));
        }
    }
}
