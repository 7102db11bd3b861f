//! What operators do to a saga. Each act stands in the journal with who did it and why, and is safe if repeated or raced.

use std::sync::Arc;

use serde_json::Value;
use steadfast_core::{Problem, SagaId, problem};

use super::core::Core;
use super::running::Running;
use crate::Error;
use crate::journal::Erased;
use crate::machine::{Act, Answer, Conflict, Input, Status};

/// The longest reason, in characters.
const REASON_MAX: usize = 1_000;

/// An operator's act.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// Turn back. Refused past the commit point.
    Cancel,
    /// Send nothing until released.
    Hold,
    /// Go on.
    Release,
    /// New budgets for all waiting and parked steps.
    Retry,
    /// Leave a step out; its compensation is sent first, so that a late action is refused.
    SkipVoid {
        /// The step's name.
        step: String,
    },
    /// Take a step as done.
    SkipAssumeDone {
        /// The step's name.
        step: String,
        /// What it is assumed to have given.
        output: Value,
    },
    /// What a parked step still owed was done by hand.
    Resolve {
        /// The step's name; all parked ones where `None`.
        step: Option<String>,
    },
}

/// What became of an act, once it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operated {
    /// Whether it changed anything; a repeat does not.
    pub changed: bool,
    /// Where the saga stands.
    pub status: Status,
}

impl Core {
    pub(super) async fn operate(
        self: &Arc<Self>,
        id: SagaId,
        operation: Operation,
        by: &str,
        reason: &str,
    ) -> Result<Operated, Error> {
        if reason.is_empty() || reason.chars().count() > REASON_MAX {
            let detail =
                format!("`reason` must have 1 to {REASON_MAX} characters: say why; it stands in the audit log");
            return Err(problem::INVALID.with(detail).into());
        }
        let _acting = self.acts.read().await;
        let running = match self.running(id) {
            Some(running) => running,
            None => match self.reload(id).await? {
                Some(running) => running,
                None => return self.at_rest(id, &operation).await,
            },
        };
        let act = Act { by: by.to_owned(), reason: reason.to_owned() };
        let input = input(&running, operation, act)?;
        let answer = self.feed(&running, input);
        if let Some(lane) = self.lane() {
            lane.flush().await;
        }
        let status = running.lock().saga.status();
        if status.is_parked() {
            // It was taken into memory for this act alone and rests again.
            self.release(id);
        }
        match answer {
            Some(Answer::Conflict(conflict)) => Err(refused(conflict, status).into()),
            Some(Answer::Unchanged) => Ok(Operated { changed: false, status }),
            _ => Ok(Operated { changed: true, status }),
        }
    }

    /// Erases the key of a saga at rest.
    pub(super) async fn shred(self: &Arc<Self>, id: SagaId) -> Result<bool, Error> {
        // No act takes the saga up in between, with a key that is gone at the next recovery.
        let _alone = self.acts.write().await;
        let Some(row) = self.journal.find(id).await? else {
            return Err(problem::NOT_FOUND.with(format!("there is no saga {id}")).into());
        };
        let executing = |status: Status| {
            problem::CONFLICT
                .with("the saga is executing and needs its input: shred it once it is settled or parked")
                .member("reason", "executing")
                .member("status", status.as_str())
        };
        let running = self.running(id);
        if let Some(running) = &running {
            let status = running.lock().saga.status();
            if !status.is_settled() && !status.is_parked() {
                return Err(executing(status).into());
            }
        }
        let erased = match self.journal.erase_key(id).await? {
            Erased::Unsettled => return Err(executing(row.head.status).into()),
            Erased::Erased => true,
            Erased::Absent => false,
        };
        if running.is_some() {
            // A parked one that an act took up, and left as it was: with it goes the input that stands in memory.
            self.release(id);
        }
        tracing::info!(saga.id = %id, erased, "the key of the saga's sensitive input is erased");
        Ok(erased)
    }

    /// An act on a saga that is settled, or unknown.
    async fn at_rest(&self, id: SagaId, operation: &Operation) -> Result<Operated, Error> {
        let Some(row) = self.journal.find(id).await? else {
            return Err(problem::NOT_FOUND.with(format!("there is no saga {id}")).into());
        };
        let status = row.head.status;
        if *operation == Operation::Cancel && status == Status::Compensated {
            return Ok(Operated { changed: false, status });
        }
        Err(refused(Conflict::Settled(status), status).into())
    }
}

fn input(running: &Running, operation: Operation, act: Act) -> Result<Input, Problem> {
    let find = |name: &str| {
        running.loaded.definition.step(name).ok_or_else(|| {
            let names: Vec<_> = running.loaded.definition.steps.iter().map(|step| step.name.as_str()).collect();
            problem::INVALID.with(format!("`step`: there is no step {name:?}: the saga has {}", names.join(", ")))
        })
    };
    Ok(match operation {
        Operation::Cancel => Input::Cancel(act),
        Operation::Hold => Input::Hold(act),
        Operation::Release => Input::Release(act),
        Operation::Retry => Input::Retry(act),
        Operation::SkipVoid { step } => Input::Void { step: find(&step)?, act },
        Operation::SkipAssumeDone { step, output } => Input::AssumeDone { step: find(&step)?, output, act },
        Operation::Resolve { step } => Input::Resolve { step: step.as_deref().map(find).transpose()?, act },
    })
}

fn refused(conflict: Conflict, status: Status) -> Problem {
    let why = match conflict {
        Conflict::CommitPointPassed => {
            return problem::COMMIT_POINT_PASSED
                .with("the commit point was reached: the saga goes on to its end and cannot be taken back")
                .member("status", status.as_str());
        }
        Conflict::Settled(_) => "the saga is settled: nothing can be changed any more",
        Conflict::Compensating => "the saga is being compensated",
        Conflict::StepEnded => "the step has ended",
        Conflict::NotAsked => "the step was not asked yet",
        Conflict::NoCompensation => "the step may have been done and has no compensation",
        Conflict::NotParked => "no such step is parked",
        Conflict::DependentsSent => "a later step may have been sent with what it gave: only a cancel is safe",
        Conflict::NoSuchStep => "there is no such step",
        Conflict::NotPending => "the saga is not in the queue",
    };
    problem::CONFLICT.with(why).member("reason", conflict.code()).member("status", status.as_str())
}
