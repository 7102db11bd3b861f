//! Entries in words: one line each, for timelines and logs. No outputs and no reasons of people: they may be personal.

use std::fmt;

use steadfast_core::{Knowledge, Op};

use super::cause::{Cause, Why};
use super::entry::Entry;
use super::plan::Plan;

/// An entry in words; made by [`Entry::describe`].
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    entry: &'a Entry,
    plan: &'a Plan,
}

impl Entry {
    /// The entry in words, as a line of a timeline.
    pub fn describe<'a>(&'a self, plan: &'a Plan) -> Described<'a> {
        Described { entry: self, plan }
    }
}

impl Described<'_> {
    fn step(&self, step: usize) -> &str {
        self.plan.steps().get(step).map_or("?", |step| step.name.as_str())
    }

    fn step_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |step: &usize| self.step(*step);
        match self.entry {
            Entry::Condition { step, holds: true } => write!(f, "{}: condition holds", name(step)),
            Entry::Condition { step, holds: false } => write!(f, "{}: skipped", name(step)),
            Entry::Asked { step, op: Op::Action, .. } => write!(f, "{}: asked", name(step)),
            Entry::Asked { step, knowledge, .. } => {
                let knows = knowledge.map_or("?", Knowledge::as_str);
                write!(f, "{}: compensation asked (action {knows})", name(step))
            }
            Entry::Troubled { step, op, trouble, attempts, detail, .. } => {
                write!(f, "{}: {op} {trouble:?}, {attempts} spent ({detail})", name(step))
            }
            Entry::CommitPoint { step, .. } => write!(f, "{}: commit point", name(step)),
            Entry::Done { step, assumed: None, .. } => write!(f, "{}: done", name(step)),
            Entry::Done { step, assumed: Some(act), .. } => write!(f, "{}: assumed done by {}", name(step), act.by),
            Entry::Refused { step, code, certain, .. } => {
                let doubt = if *certain { "" } else { ", but may have been done" };
                write!(f, "{}: refused ({code}){doubt}", name(step))
            }
            Entry::Undone { step, .. } => write!(f, "{}: undone", name(step)),
            Entry::Parked { step, op, why, .. } => write!(f, "{}: {op} parked ({})", name(step), Reason(why)),
            Entry::Voiding { step, act, .. } => write!(f, "{}: left out by {}", name(step), act.by),
            Entry::Voided { step, .. } => write!(f, "{}: void", name(step)),
            Entry::Resolved { step, op, act, .. } => write!(f, "{}: {op} resolved by hand by {}", name(step), act.by),
            Entry::Late { step, op, attempt, said, .. } => {
                write!(f, "{}: late answer to {op} {attempt} ({said})", name(step))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Entry::Started { admitted: true, .. } => f.write_str("started"),
            Entry::Started { admitted: false, .. } => f.write_str("queued"),
            Entry::Admitted { .. } => f.write_str("admitted"),
            Entry::Recovered { doubtful, .. } => {
                f.write_str("recovered; possibly sent:")?;
                doubtful.iter().try_for_each(|step| write!(f, " {}", self.step(step)))
            }
            Entry::Compensating { cause, .. } => match cause {
                Cause::Cancelled(act) => write!(f, "compensating: cancelled by {}", act.by),
                Cause::Resolved(act) => write!(f, "compensating: resolved by {}", act.by),
                Cause::Permission { permission } => write!(f, "compensating: permission {permission} revoked"),
                cause => match cause.step() {
                    Some(step) => write!(f, "compensating: {} {}", self.step(step), cause.name()),
                    None => write!(f, "compensating: {}", cause.name()),
                },
            },
            Entry::Overdue { .. } => f.write_str("overdue"),
            Entry::Held { act, .. } => write!(f, "held by {}", act.by),
            Entry::Released { act, .. } => write!(f, "released by {}", act.by),
            Entry::Retried { act, .. } => write!(f, "retried by {}", act.by),
            Entry::Completed { .. } => f.write_str("completed"),
            Entry::Compensated { .. } => f.write_str("compensated"),
            Entry::Failed { .. } => f.write_str("failed"),
            _ => self.step_line(f),
        }
    }
}

struct Reason<'a>(&'a Why);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())?;
        match self.0 {
            Why::Refused { code: detail }
            | Why::Output { detail }
            | Why::Request { detail }
            | Why::Condition { detail } => write!(f, ": {detail}"),
            Why::Exhausted | Why::Misconfigured | Why::Doubtful | Why::ActionNotFound => Ok(()),
        }
    }
}
