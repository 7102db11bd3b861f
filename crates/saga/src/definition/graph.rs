//! The rules of the graph: pure, on indices.

use super::Kind;

/// The most steps of a saga; a set of steps is a `u64`.
pub(super) const STEPS_MAX: usize = 64;

/// A step as the rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vertex {
    pub(super) kind: Kind,
    pub(super) after: Vec<usize>,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Each of these waits for the next, the last for the first.
    Cycle(Vec<usize>),
    /// A second pivot beside the first.
    Pivots { first: usize, second: usize },
    /// Neither before nor after the pivot.
    Beside { step: usize, pivot: usize },
    /// Before the pivot, but not compensatable.
    Before { step: usize, pivot: usize },
    /// After the pivot, but not retriable.
    After { step: usize, pivot: usize },
    /// A retriable step that does not wait for these compensatable ones.
    Unordered { retriable: usize, compensatable: Vec<usize> },
}

/// All broken rules. At most [`STEPS_MAX`] vertices; `after` holds valid indices.
pub(super) fn check(vertices: &[Vertex]) -> Vec<Broken> {
    let ancestors = match ancestors(vertices) {
        Ok(ancestors) => ancestors,
        Err(cycle) => return vec![Broken::Cycle(cycle)],
    };
    let precedes = |a: usize, b: usize| ancestors[b] & (1 << a) != 0;
    let of_kind = |kind: Kind| (0..vertices.len()).filter(move |step| vertices[*step].kind == kind);
    let mut pivots = of_kind(Kind::Pivot);
    let Some(pivot) = pivots.next() else {
        return of_kind(Kind::Retriable)
            .filter_map(|retriable| {
                let compensatable: Vec<usize> =
                    of_kind(Kind::Compensatable).filter(|step| !precedes(*step, retriable)).collect();
                (!compensatable.is_empty()).then_some(Broken::Unordered { retriable, compensatable })
            })
            .collect();
    };
    let more: Vec<Broken> = pivots.map(|second| Broken::Pivots { first: pivot, second }).collect();
    if !more.is_empty() {
        return more;
    }
    (0..vertices.len())
        .filter(|step| *step != pivot)
        .filter_map(|step| {
            let kind = vertices[step].kind;
            if precedes(step, pivot) {
                (kind != Kind::Compensatable).then_some(Broken::Before { step, pivot })
            } else if precedes(pivot, step) {
                (kind != Kind::Retriable).then_some(Broken::After { step, pivot })
            } else {
                Some(Broken::Beside { step, pivot })
            }
        })
        .collect()
}

/// For each vertex the set of those that it waits for, directly or not; or a cycle.
pub(super) fn ancestors(vertices: &[Vertex]) -> Result<Vec<u64>, Vec<usize>> {
    let mut found: Vec<Option<u64>> = vec![None; vertices.len()];
    // Each round finds at least one vertex whose needs are all known, or there is a cycle.
    while found.iter().any(Option::is_none) {
        let mut progress = false;
        for (step, vertex) in vertices.iter().enumerate() {
            if found[step].is_some() {
                continue;
            }
            let set = vertex.after.iter().try_fold(0, |set, need| found[*need].map(|more| set | more | (1 << need)));
            progress |= set.is_some();
            found[step] = set;
        }
        if !progress {
            return Err(cycle(vertices, &found));
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// A cycle among the vertices that were not found.
fn cycle(vertices: &[Vertex], found: &[Option<u64>]) -> Vec<usize> {
    let mut path: Vec<usize> = found.iter().position(Option::is_none).into_iter().collect();
    while let Some(last) = path.last() {
        // A vertex that was not found has a need that was not found either.
        let Some(next) = vertices[*last].after.iter().copied().find(|need| found[*need].is_none()) else { break };
        if let Some(start) = path.iter().position(|step| *step == next) {
            return path.split_off(start);
        }
        path.push(next);
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vertices(text: &str) -> Vec<Vertex> {
        // "c; p 0; r 1 0": a kind and its needs.
        text.split(';')
            .map(|vertex| {
                let mut words = vertex.split_whitespace();
                let kind = match words.next() {
                    Some("c") => Kind::Compensatable,
                    Some("p") => Kind::Pivot,
                    _ => Kind::Retriable,
                };
                Vertex { kind, after: words.map(|word| word.parse().unwrap()).collect() }
            })
            .collect()
    }

    #[test]
    fn each_rule_is_held() {
        for (text, expected) in [
            ("c; c 0; p 1; r 2; r 2", vec![]),
            ("c; c 0; r 0 1; r 1", vec![]),
            ("r; r 0", vec![]),
            ("c; c 1", vec![Broken::Cycle(vec![1])]),
            ("c 2; c 0; c 1; r", vec![Broken::Cycle(vec![0, 2, 1])]),
            ("c; c 2; c 1", vec![Broken::Cycle(vec![1, 2])]),
            ("p; p 0", vec![Broken::Pivots { first: 0, second: 1 }]),
            ("c; c; p 0", vec![Broken::Beside { step: 1, pivot: 2 }]),
            ("r; p 0", vec![Broken::Before { step: 0, pivot: 1 }]),
            ("p; c 0", vec![Broken::After { step: 1, pivot: 0 }]),
            ("c; c; r 0", vec![Broken::Unordered { retriable: 2, compensatable: vec![1] }]),
            ("r; c 0", vec![Broken::Unordered { retriable: 0, compensatable: vec![1] }]),
        ] {
            assert_eq!(check(&vertices(text)), expected, "{text}");
        }
    }

    /// Whether there is a path from `step` along `after` to `target`, by walking every path of at most n edges.
    fn reaches(vertices: &[Vertex], step: usize, target: usize, left: usize) -> bool {
        left > 0
            && vertices[step].after.iter().any(|need| *need == target || reaches(vertices, *need, target, left - 1))
    }

    /// The rules as the design words them.
    fn holds(v: &[Vertex]) -> bool {
        let all = 0..v.len();
        let before = |a: usize, b: usize| reaches(v, b, a, v.len());
        if all.clone().any(|step| before(step, step)) {
            return false;
        }
        let pivots: Vec<usize> = all.clone().filter(|step| v[*step].kind == Kind::Pivot).collect();
        match pivots[..] {
            [] => all.clone().all(|c| {
                v[c].kind != Kind::Compensatable || all.clone().all(|r| v[r].kind != Kind::Retriable || before(c, r))
            }),
            [pivot] => all.clone().all(|step| {
                step == pivot
                    || (before(step, pivot) && v[step].kind == Kind::Compensatable)
                    || (before(pivot, step) && v[step].kind == Kind::Retriable)
            }),
            _ => false,
        }
    }

    fn any_graph() -> impl Strategy<Value = Vec<Vertex>> {
        (1_usize..7).prop_flat_map(|n| {
            let kind = prop_oneof![4 => Just(Kind::Compensatable), 1 => Just(Kind::Pivot), 3 => Just(Kind::Retriable)];
            // Mostly edges backwards, so that there are graphs without a cycle; some forwards.
            let vertex = (kind, proptest::collection::vec(0..n, 0..4), any::<u8>());
            proptest::collection::vec(vertex, n).prop_map(|raw| {
                raw.into_iter()
                    .enumerate()
                    .map(|(index, (kind, mut after, wild))| {
                        if wild > 16 {
                            after.retain(|need| *need < index);
                        }
                        after.sort_unstable();
                        after.dedup();
                        Vertex { kind, after }
                    })
                    .collect()
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn the_rules_agree_with_brute_force(graph in any_graph()) {
            prop_assert_eq!(check(&graph).is_empty(), holds(&graph), "{:?}", graph);
        }

        #[test]
        fn ancestors_agree_with_brute_force(graph in any_graph()) {
            match ancestors(&graph) {
                Ok(sets) => for (step, set) in sets.iter().enumerate() {
                    for other in 0..graph.len() {
                        prop_assert_eq!(set & (1 << other) != 0, reaches(&graph, step, other, graph.len()));
                    }
                },
                Err(cycle) => {
                    prop_assert!(!cycle.is_empty());
                    for (index, step) in cycle.iter().enumerate() {
                        let next = cycle[(index + 1) % cycle.len()];
                        prop_assert!(graph[*step].after.contains(&next), "{:?} in {:?}", cycle, graph);
                    }
                }
            }
        }
    }
}
