//! Rules across steps: the graph, and what a step may read of another.

use super::expression::{Expr, Read};
use super::fields::Reader;
use super::graph::{self, Broken, Vertex};
use super::input::Input;
use super::tree::At;
use super::{Step, nearest};

/// A step, and where it stands.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) at: At,
    pub(super) step: Step,
}

/// An expression, where it stands, and what it serves.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) at: At,
    pub(super) path: String,
    pub(super) expr: Expr,
    pub(super) role: Role,
}

/// What an expression serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The saga as a whole.
    Input,
    /// A step's output.
    Reply,
    /// A step's action or its `when`.
    Action(usize),
    /// A step's compensation.
    Compensation(usize),
}

/// Checks all rules across steps; `None` where one is broken that the steps' order hangs on.
pub(super) fn check(reader: &mut Reader, uses: &[Use], input: &Input, drafts: Vec<Draft>) -> Option<Vec<Step>> {
    check_input(reader, uses, input);
    let vertices: Vec<Vertex> =
        drafts.iter().map(|draft| Vertex { kind: draft.step.kind, after: draft.step.after.clone() }).collect();
    for broken in graph::check(&vertices) {
        report(reader, &drafts, &broken);
    }
    let ancestors = graph::ancestors(&vertices).ok()?;
    let mut reads: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    for used in uses {
        let (step, compensation) = match used.role {
            Role::Action(step) => (step, false),
            Role::Compensation(step) => (step, true),
            Role::Input | Role::Reply => continue,
        };
        for read in used.expr.reads() {
            let wrong = if read.step == step {
                own_fault(&drafts[step].step, read, compensation)
            } else if ancestors[step] & (1 << read.step) == 0 {
                Some(stranger_fault(&drafts, step, read.step))
            } else {
                let fault = ancestor_fault(&drafts[step].step, &drafts[read.step].step, read);
                if fault.is_none() && compensation && !read.guarded && !reads[step].contains(&read.step) {
                    reads[step].push(read.step);
                }
                fault
            };
            if let Some((fault, way_out)) = wrong {
                reader.fault(used.at, &used.path, fault, way_out);
            }
        }
    }
    let steps = drafts.into_iter().zip(reads).map(|(draft, mut reads)| {
        reads.sort_unstable();
        Step { compensation_reads: reads, ..draft.step }
    });
    Some(steps.collect())
}

/// Names of the input that its schema does not know.
fn check_input(reader: &mut Reader, uses: &[Use], input: &Input) {
    let Some(members) = input.members() else { return };
    for used in uses {
        for field in used.expr.input_fields() {
            if !members.contains(&field.as_str()) {
                let fault = format!("the input's schema knows no member `{field}`");
                reader.fault(used.at, &used.path, fault, nearest::advise(field, &members));
            }
        }
    }
}

fn report(reader: &mut Reader, drafts: &[Draft], broken: &Broken) {
    let name = |step: &usize| drafts[*step].step.name.as_str();
    let (step, key, fault, way_out) = match broken {
        Broken::Cycle(cycle) => {
            let names: Vec<&str> = cycle.iter().chain(cycle.first()).map(name).collect();
            let fault = format!("steps wait for each other: {}", names.join(" after "));
            (cycle.first().copied().unwrap_or(0), "after", fault, "remove one `after`".to_owned())
        }
        Broken::Pivots { first, second } => (
            *second,
            "kind",
            format!("a second pivot beside `{}`", name(first)),
            "a saga decides once: make one of them retriable or compensatable".to_owned(),
        ),
        Broken::Beside { step, pivot } => (
            *step,
            "after",
            format!("the step runs beside the pivot `{}`", name(pivot)),
            format!("put it before (into the `after` of `{}`) or after it (after: [{}])", name(pivot), name(pivot)),
        ),
        Broken::Before { step, pivot } => (
            *step,
            "kind",
            format!("the step comes before the pivot `{}` and is not compensatable", name(pivot)),
            "give it a compensation, or put it after the pivot".to_owned(),
        ),
        Broken::After { step, pivot } => (
            *step,
            "kind",
            format!("the step comes after the pivot `{}` and is not retriable", name(pivot)),
            "make it retriable, or put it before the pivot".to_owned(),
        ),
        Broken::Unordered { retriable, compensatable } => {
            let names: Vec<&str> = compensatable.iter().map(name).collect();
            (
                *retriable,
                "after",
                format!(
                    "a retriable step is never taken back, and this one may be done before {} can still fail",
                    names.join(", ")
                ),
                format!("let it wait: after: [{}]", names.join(", ")),
            )
        }
    };
    let path = format!("steps.{}.{key}", name(&step));
    reader.fault(drafts[step].at, &path, fault, way_out);
}

type Wrong = (String, String);

fn own_fault(step: &Step, read: &Read, compensation: bool) -> Option<Wrong> {
    let name = &step.name;
    if !compensation {
        return Some((
            format!("the step reads its own output `steps.{name}`"),
            "only its compensation can, behind has()".to_owned(),
        ));
    }
    let Some(output) = &read.output else {
        return Some((
            format!("the compensation reads `steps.{name}` as a whole"),
            format!("name the output: has(steps.{name}.x) ? steps.{name}.x : …"),
        ));
    };
    if let Some(wrong) = unknown_output(step, output) {
        return Some(wrong);
    }
    (!read.guarded).then(|| {
        (
            format!("the compensation reads its own step's output `{output}`, which there is none of while the outcome is unknown"),
            format!("use what the input has, or ask first: has(steps.{name}.{output}) ? steps.{name}.{output} : null"),
        )
    })
}

fn stranger_fault(drafts: &[Draft], step: usize, other: usize) -> Wrong {
    let (step, other) = (&drafts[step].step.name, &drafts[other].step.name);
    (
        format!("`{step}` does not wait for `{other}`, so it cannot read its outputs"),
        format!("put `{other}` into the `after` of `{step}` or of one that it waits for"),
    )
}

fn ancestor_fault(step: &Step, other: &Step, read: &Read) -> Option<Wrong> {
    let output = read.output.as_ref()?;
    if let Some(wrong) = unknown_output(other, output) {
        return Some(wrong);
    }
    let conditional = other.when.as_ref().is_some_and(|condition| {
        // Of two steps with the same condition on the same input, both take place or neither.
        !(step.when.as_ref() == Some(condition) && condition.reads().is_empty())
    });
    (conditional && !read.guarded).then(|| {
        let name = &other.name;
        (
            format!("`{name}` may be skipped by its `when`, and then has no output `{output}`"),
            format!("ask first: has(steps.{name}.{output}) ? steps.{name}.{output} : null"),
        )
    })
}

fn unknown_output(step: &Step, output: &str) -> Option<Wrong> {
    let known: Vec<&str> = step.output.iter().map(|(name, _)| name.as_str()).collect();
    (!known.contains(&output)).then(|| {
        let way_out = if known.is_empty() {
            format!("declare it: output: {{ {output}: body.{output} }}")
        } else {
            nearest::advise(output, &known)
        };
        (format!("`{}` has no output `{output}`", step.name), way_out)
    })
}
