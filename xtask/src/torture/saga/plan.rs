//! What is wanted: the definitions as the checks know them, and each saga as the seed intends it.

use fastrand::Rng;
use serde_json::{Value, json};

/// Of each, so many in 1,000.
const REFUSED: u32 = 150;
/// Of pivots and results that cannot be mapped: each ends with an operator, on purpose.
const MUTE: u32 = 5;

pub(super) const PARTICIPANTS: [&str; 3] = ["order", "payment", "stock"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Compensatable,
    Pivot,
    Retriable,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Only with the input's `gift`.
    pub(super) is_gift: bool,
}

const fn step(name: &'static str, kind: Kind) -> Step {
    Step { name, kind, is_gift: false }
}

#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    pub(super) steps: &'static [Step],
}

pub(super) static DEFINITIONS: [Definition; 3] = [
    Definition {
        name: "torture_pivot",
        text: include_str!("definitions/torture_pivot.saga.yaml"),
        steps: &[
            step("create", Kind::Compensatable),
            step("charge", Kind::Compensatable),
            step("reserve", Kind::Compensatable),
            step("seal", Kind::Pivot),
            step("ship", Kind::Retriable),
            step("invoice", Kind::Retriable),
        ],
    },
    Definition {
        name: "torture_plain",
        text: include_str!("definitions/torture_plain.saga.yaml"),
        steps: &[
            step("book", Kind::Compensatable),
            Step { name: "gift", kind: Kind::Compensatable, is_gift: true },
            step("hold", Kind::Compensatable),
            step("pay", Kind::Compensatable),
        ],
    },
    Definition {
        name: "torture_strict",
        text: include_str!("definitions/torture_strict.saga.yaml"),
        steps: &[
            step("open", Kind::Compensatable),
            step("debit", Kind::Compensatable),
            step("notify", Kind::Retriable),
        ],
    },
];

/// One saga as it is meant.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) key: String,
    pub(super) definition: &'static Definition,
    /// The step that the business refuses; empty for none.
    pub(super) refuse: &'static str,
    /// The step whose answer lacks what its output needs; empty for none.
    pub(super) mute: &'static str,
    pub(super) gift: bool,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng, key: String) -> Self {
        let definition = &DEFINITIONS[rng.usize(..DEFINITIONS.len())];
        let mut plan = Self { key, definition, refuse: "", mute: "", gift: rng.bool() };
        let refusable = || definition.steps.iter().filter(|step| step.kind != Kind::Retriable);
        // The gift has no output.
        let mutable = || definition.steps.iter().filter(|step| !step.is_gift);
        let point = rng.u32(..1_000);
        if point < REFUSED {
            plan.refuse = refusable().nth(rng.usize(..refusable().count())).map_or("", |step| step.name);
        } else if point < REFUSED + MUTE {
            plan.mute = mutable().nth(rng.usize(..mutable().count())).map_or("", |step| step.name);
        }
        plan
    }

    pub(super) fn input(&self) -> Value {
        json!({ "order": self.key, "refuse": self.refuse, "mute": self.mute, "gift": self.gift })
    }

    /// Whether a completed saga has run this step.
    pub(super) fn runs(&self, step: &Step) -> bool {
        !step.is_gift || self.gift
    }

    /// Whether the step that is refused is one that this saga runs.
    pub(super) fn is_refused(&self) -> bool {
        self.definition.steps.iter().any(|step| step.name == self.refuse && self.runs(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_plans_and_all_kinds_of_them() {
        let draw = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..2_000).map(|number| Plan::draw(&mut rng, format!("k{number}"))).collect::<Vec<_>>()
        };
        let plans = draw(1);
        let same = draw(1);
        assert!(plans.iter().zip(&same).all(|(left, right)| left.input() == right.input()));
        for definition in &DEFINITIONS {
            let of = || plans.iter().filter(|plan| plan.definition.name == definition.name);
            assert!(of().any(Plan::is_refused) && of().any(|plan| !plan.mute.is_empty()) && of().count() > 500);
        }
    }

    #[test]
    fn the_steps_are_those_of_the_files() {
        for definition in &DEFINITIONS {
            let written: Vec<&str> = definition
                .text
                .lines()
                .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'))
                .filter(|name| !name.starts_with(' '))
                .collect();
            let known: Vec<&str> = definition.steps.iter().map(|step| step.name).collect();
            assert_eq!(known, written, "{}", definition.name);
            assert!(definition.text.contains(&format!("saga: {}\n", definition.name)));
        }
    }
}
