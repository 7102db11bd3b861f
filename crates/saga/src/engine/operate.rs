//! What operators do to a saga. Each act stands in the journal with who did it and why, and is safe if repeated or raced.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steadfast_core::{Problem, SagaId, problem};
use tokio::time::Instant;

use super::admission::away;
use super::command::{Elsewhere, unanswered};
use super::core::Core;
use super::running::{Place, Running};
use crate::Error;
use crate::journal::Erased;
use crate::machine::{self, Answer, Conflict, Input, Status};

/// The longest reason, in characters.
const REASON_MAX: usize = 1_000;

/// How long an act waits for its commit.
const PATIENCE: Duration = Duration::from_secs(10);

/// An operator's act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
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

/// An operator's act with who does it and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Act {
    #[serde(flatten)]
    operation: Operation,
    by: String,
    reason: String,
}

/// What became of an act where it was tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Here {
    Done(Operated),
    /// The saga is executing, and not here.
    Elsewhere,
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
        let act = Act { operation, by: by.to_owned(), reason: reason.to_owned() };
        let until = Self::owners_time();
        loop {
            // A task of its own: who asks may go away, but a saga that was had from the journal must get into memory.
            let (core, own) = (Arc::clone(self), act.clone());
            let acting = self.tasks.spawn(async move { core.act_here(id, &own).await });
            match acting.await.map_err(|error| Error::Corrupt(format!("an act has failed: {error}")))?? {
                Here::Done(operated) => return Ok(operated),
                Here::Elsewhere if Instant::now() >= until => return Err(unanswered().into()),
                Here::Elsewhere => {}
            }
            match self.ask_owner(id, &act, until).await? {
                Elsewhere::Answered(answer) => return answer,
                Elsewhere::LookAgain => {}
            }
        }
    }

    /// Acts on a saga that is in memory here, or can be had here because it is at rest or in the queue.
    pub(super) async fn act_here(self: &Arc<Self>, id: SagaId, act: &Act) -> Result<Here, Error> {
        let _acting = self.acts.read().await;
        loop {
            let running = if let Some(running) = self.running(id) {
                running
            } else {
                let Some(row) = self.journal.find(id).await? else {
                    return Err(problem::NOT_FOUND.with(format!("there is no saga {id}")).into());
                };
                if row.head.status.is_settled() {
                    return at_rest(row.head.status, &act.operation).map(Here::Done);
                }
                let Some(adopted) = self.adopt(id).await? else { return Ok(Here::Elsewhere) };
                adopted
            };
            if let Some(operated) = self.act(&running, act).await? {
                return Ok(Here::Done(operated));
            }
            // Whoever has put it to rest is about to take it from memory.
            tokio::task::yield_now().await;
        }
    }

    /// `None` where the saga has left memory meanwhile.
    async fn act(self: &Arc<Self>, running: &Arc<Running>, act: &Act) -> Result<Option<Operated>, Error> {
        let input = match input(running, act) {
            Ok(input) => input,
            Err(problem) => {
                self.let_go(running);
                return Err(problem.into());
            }
        };
        let answer = self.feed(running, input);
        // Where it waited in the queue it goes on from here.
        self.admit_pending(running);
        // A lane that closes while the journal is away leaves unwritten what it has, and is lost only after that.
        let flushed = tokio::time::timeout(PATIENCE, running.tenure.lane.flush()).await;
        if flushed != Ok(true) || running.tenure.is_lost() {
            return Err(away().into());
        }
        // Every input is answered but one that finds the saga withdrawn; and what was enqueued behind its rest may have come
        // too late for this lane.
        let Some(answer) = answer.filter(|_| !running.is_withdrawn()) else { return Ok(None) };
        let status = self.let_go(running);
        match answer {
            Answer::Conflict(conflict) => Err(refused(conflict, status).into()),
            answer => Ok(Some(Operated { changed: answer == Answer::Accepted, status })),
        }
    }

    /// A saga that was taken into memory for one act alone rests again, or goes on. Checked and marked under one lock, so
    /// that no other act comes in between.
    fn let_go(self: &Arc<Self>, running: &Arc<Running>) -> Status {
        let status = {
            let mut inner = running.lock();
            let status = inner.saga.status();
            if status.is_parked() && inner.place != Place::Withdrawn {
                inner.place = Place::Rests;
            }
            status
        };
        if status.is_parked() {
            self.release(running);
        } else {
            self.admit_pending(running);
        }
        status
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
        if let Some(running) = &running {
            // A parked one that an act took up, and left as it was: with it goes the input that stands in memory.
            self.release(running);
        }
        tracing::info!(saga.id = %id, erased, "the key of the saga's sensitive input is erased");
        Ok(erased)
    }
}

/// An act on a saga that is settled.
fn at_rest(status: Status, operation: &Operation) -> Result<Operated, Error> {
    if *operation == Operation::Cancel && status == Status::Compensated {
        return Ok(Operated { changed: false, status });
    }
    Err(refused(Conflict::Settled(status), status).into())
}

fn input(running: &Running, act: &Act) -> Result<Input, Problem> {
    let Act { operation, by, reason } = act.clone();
    let act = machine::Act { by, reason };
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
