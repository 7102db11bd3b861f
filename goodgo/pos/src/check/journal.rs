//! A saga's end from its journal: a fold of the entries that is written independently of the engine's own.

use std::collections::BTreeMap;

use serde::Deserialize;
use steadfast::core::Op;

use super::contract;

/// An effect that a saga may have left in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// The step.
    pub(super) step: String,
    /// Whether it is known to be there; where not, it may be.
    pub(super) certain: bool,
}

/// What an operator is asked to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// Which effects of which steps wait, and why.
    pub(super) parked: Vec<(String, Op, String)>,
    /// What is left.
    pub(super) left: Vec<Left>,
}

/// The entries that bear on what is left. Others are passed over.
#[derive(Debug, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
enum Entry {
    Recovered {
        doubtful: u64,
    },
    Asked {
        step: usize,
        op: Op,
    },
    Done {
        step: usize,
    },
    Refused {
        step: usize,
        certain: bool,
    },
    Undone {
        step: usize,
    },
    Voided {
        step: usize,
    },
    Resolved {
        step: usize,
        op: Op,
    },
    Parked {
        step: usize,
        op: Op,
        why: String,
    },
    Retried {},
    #[serde(other)]
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Possible,
    Certain,
    None,
}

/// Folds the journal of one saga, commit by commit.
pub(super) fn remains<'a>(
    definition: &str,
    commits: impl IntoIterator<Item = &'a str>,
) -> Result<Remains, serde_json::Error> {
    let mut effects: BTreeMap<usize, Effect> = BTreeMap::new();
    let mut parked: BTreeMap<usize, (Op, String)> = BTreeMap::new();
    for commit in commits {
        for entry in serde_json::from_str::<Vec<Entry>>(commit)? {
            match entry {
                Entry::Recovered { doubtful } => {
                    for step in (0..64).filter(|step| doubtful >> step & 1 == 1) {
                        effects.entry(step).or_insert(Effect::Possible);
                    }
                }
                Entry::Asked { step, op: Op::Action } => {
                    effects.entry(step).or_insert(Effect::Possible);
                }
                Entry::Done { step } | Entry::Resolved { step, op: Op::Action } => {
                    effects.insert(step, Effect::Certain);
                    parked.remove(&step);
                }
                Entry::Refused { step, certain } => {
                    effects.insert(step, if certain { Effect::None } else { Effect::Possible });
                }
                Entry::Undone { step } | Entry::Voided { step } | Entry::Resolved { step, op: Op::Compensate } => {
                    effects.insert(step, Effect::None);
                    parked.remove(&step);
                }
                Entry::Parked { step, op, why } => {
                    parked.insert(step, (op, why));
                }
                Entry::Retried {} => parked.clear(),
                Entry::Asked { op: Op::Compensate, .. } | Entry::Other => {}
            }
        }
    }
    let name = |step| contract::step(definition, step);
    let left = effects.into_iter().filter(|(_, effect)| *effect != Effect::None);
    Ok(Remains {
        parked: parked.into_iter().map(|(step, (op, why))| (name(step), op, why)).collect(),
        left: left.map(|(step, effect)| Left { step: name(step), certain: effect == Effect::Certain }).collect(),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn text(commits: &[&str]) -> String {
        let Remains { parked, left } = remains("place_order", commits.iter().copied()).unwrap();
        let parked: Vec<String> = parked.iter().map(|(step, op, why)| format!("{step} {op}: {why}")).collect();
        let left: Vec<String> = left.iter().map(|left| format!("{} {}", left.step, left.certain)).collect();
        format!("parked {parked:?}, left {left:?}")
    }

    #[test]
    fn a_compensation_that_is_refused_leaves_its_effect_and_those_before() {
        let commits = [
            r#"[{"e":"started","at":1,"admitted":true},{"e":"asked","step":0,"op":"action","at":1}]"#,
            r#"[{"e":"done","step":0,"at":2,"attempts":1,"output":{}},{"e":"condition","step":1,"holds":true},
                {"e":"asked","step":1,"op":"action","at":2},{"e":"done","step":1,"at":3,"attempts":1,"output":{}},
                {"e":"refused","step":2,"at":4,"attempts":1,"code":"out-of-stock","detail":"","certain":true}]"#,
            r#"[{"e":"compensating","at":4,"cause":"refused","step":2,"code":"x","detail":""},
                {"e":"asked","step":1,"op":"compensate","at":4,"knowledge":"done"},
                {"e":"parked","step":1,"op":"compensate","at":9,"why":"refused","code":"refused"},{"e":"failed","at":9}]"#,
        ];
        expect![[
            r#"parked ["process_payment compensate: refused"], left ["create_order true", "process_payment true"]"#
        ]]
        .assert_eq(&text(&commits));
    }

    #[test]
    fn what_may_have_been_sent_may_be_left_until_it_is_undone() {
        let began = r#"[{"e":"started","at":1,"admitted":true},{"e":"recovered","at":2,"doubtful":6}]"#;
        expect![[r#"parked [], left ["process_payment false", "reserve_inventory false"]"#]].assert_eq(&text(&[began]));
        let undone = r#"[{"e":"undone","step":2,"at":3,"attempts":1},{"e":"voided","step":1,"at":3}]"#;
        expect!["parked [], left []"].assert_eq(&text(&[began, undone]));
    }

    #[test]
    fn a_damaged_journal_is_an_error() {
        assert!(remains("place_order", ["[{"]).is_err());
    }
}
