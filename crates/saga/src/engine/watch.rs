//! What happens to this node's sagas, told as it becomes durable: for a live stream. No inputs, no outputs, no names and
//! no words of people.

use serde::Serialize;
use steadfast_core::{Op, SagaId, Timestamp};
use tokio::sync::broadcast;

use super::core::Core;
use super::running::{Inner, Running};
use crate::machine::{Entry, Plan};

/// So many changes wait for a receiver that is slow; what is older is lost to it, and it is told how much.
const CAPACITY: usize = 1_024;

/// One durable change of a saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The saga.
    pub saga_id: SagaId,
    /// What it runs.
    pub definition: String,
    /// Where it stood with this change.
    pub status: &'static str,
    /// The step that the change is about.
    pub step: Option<String>,
    /// What happened, in words.
    pub what: &'static str,
    /// When it happened, milliseconds since the Unix epoch; a condition has no time of its own.
    pub at: Option<i64>,
    /// The row of the saga's journal that holds it.
    pub seq: i64,
}

/// A change that is on its way into the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// The number of the entry.
    number: u64,
    step: Option<usize>,
    what: &'static str,
    status: &'static str,
    at: Option<Timestamp>,
}

pub(super) fn channel() -> broadcast::Sender<Change> {
    broadcast::Sender::new(CAPACITY)
}

impl Core {
    /// Keeps what these newest entries of the saga say, if anybody watches.
    pub(super) fn prepare(&self, inner: &mut Inner, entries: &[Entry]) {
        if self.changes.receiver_count() == 0 {
            return;
        }
        let status = inner.saga.status().as_str();
        let before = inner.saga.entries() - entries.len() as u64;
        let told = (before + 1..).zip(entries).map(|(number, entry)| Told {
            number,
            step: entry.step(),
            what: word(entry),
            status,
            at: entry.at(),
        });
        inner.told.extend(told);
    }

    /// The first so many entries of the saga are durable by the row `seq`.
    pub(super) fn tell(&self, running: &Running, inner: &mut Inner, entries: u64, seq: i64) {
        let plan: &Plan = &running.loaded.plan;
        while let Some(told) = inner.told.pop_front_if(|told| told.number <= entries) {
            let change = Change {
                saga_id: running.id,
                definition: running.loaded.definition.name.clone(),
                status: told.status,
                step: told.step.and_then(|step| plan.steps().get(step)).map(|step| step.name.clone()),
                what: told.what,
                at: told.at.map(Timestamp::as_millis),
                seq,
            };
            // Nobody may be listening any more.
            self.changes.send(change).ok();
        }
    }
}

fn word(entry: &Entry) -> &'static str {
    match entry {
        Entry::Started { admitted: true, .. } => "started",
        Entry::Started { admitted: false, .. } => "queued",
        Entry::Admitted { .. } => "admitted",
        Entry::Recovered { .. } => "taken up",
        Entry::Condition { holds: true, .. } => "condition holds",
        Entry::Condition { holds: false, .. } => "skipped",
        Entry::Asked { op: Op::Action, .. } => "asked",
        Entry::Asked { op: Op::Compensate, .. } => "compensation asked",
        Entry::Troubled { .. } => "troubled",
        Entry::CommitPoint { .. } => "commit point",
        Entry::Done { assumed: None, .. } => "done",
        Entry::Done { assumed: Some(_), .. } => "assumed done",
        Entry::Refused { .. } => "refused",
        Entry::Compensating { .. } => "compensating",
        Entry::Undone { .. } => "undone",
        Entry::Parked { .. } => "parked",
        Entry::Overdue { .. } => "overdue",
        Entry::Held { .. } => "held",
        Entry::Released { .. } => "released",
        Entry::Retried { .. } => "retried",
        Entry::Voiding { .. } => "being left out",
        Entry::Voided { .. } => "left out",
        Entry::Resolved { .. } => "resolved by hand",
        Entry::Late { .. } => "late answer",
        Entry::Completed { .. } => "completed",
        Entry::Compensated { .. } => "compensated",
        Entry::Failed { .. } => "failed",
    }
}
