//! Acts on a saga that another node runs: left with the journal as commands, carried out by the owner, answered through
//! the journal. An act is safe if it is repeated, so a command that is carried out twice has the effect of one.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use steadfast_core::{Classified, ErrorKind, Problem, SagaId, problem};
use tokio::time::Instant;

use super::core::Core;
use super::operate::{Act, Here, Operated};
use crate::Error;
use crate::journal::Command;
use crate::machine::Status;

/// How long the answer of another node is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked for, where no hint comes.
const POLL: Duration = Duration::from_millis(50);

/// How often it is looked whether the saga has come to rest, or into the queue, meanwhile: then nobody need be asked.
const LOOK: Duration = Duration::from_secs(1);

/// A saga that was so often not found by the node that should have it cannot be taken up there.
const MISSES: u32 = 4;

/// An answer, as it travels.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Done {
        changed: bool,
        status: Status,
    },
    Problem {
        #[serde(rename = "type")]
        type_uri: String,
        title: String,
        status: u16,
        detail: String,
        extra: Map<String, Value>,
        retry_after: Option<u32>,
    },
}

impl Reply {
    fn of(result: Result<Operated, Error>) -> Self {
        match result {
            Ok(Operated { changed, status }) => Self::Done { changed, status },
            Err(error) => {
                let Problem { type_uri, title, status, detail, extra, retry_after } = error.to_problem();
                let (type_uri, title) = (type_uri.into_owned(), title.into_owned());
                Self::Problem { type_uri, title, status, detail, extra, retry_after }
            }
        }
    }

    fn read(text: &str) -> Result<Operated, Error> {
        match serde_json::from_str(text) {
            Ok(Self::Done { changed, status }) => Ok(Operated { changed, status }),
            Ok(Self::Problem { type_uri, title, status, detail, extra, retry_after }) => {
                let (type_uri, title) = (Cow::Owned(type_uri), Cow::Owned(title));
                Err(Problem { type_uri, title, status, detail, extra, retry_after }.into())
            }
            Err(error) => Err(Error::Corrupt(format!("the answer to a command: {error}"))),
        }
    }
}

/// What became of an act that another node was asked for.
#[derive(Debug)]
pub(super) enum Elsewhere {
    Answered(Result<Operated, Error>),
    /// The saga may be had here by now.
    LookAgain,
}

impl Core {
    /// Has the saga's owner carry the act out, and passes its answer on.
    pub(super) async fn ask_owner(&self, id: SagaId, act: &Act, until: Instant) -> Result<Elsewhere, Error> {
        let text = serde_json::to_string(act).map_err(|error| Error::Corrupt(error.to_string()))?;
        let no = self.journal.send_command(id, &text, self.clock.now()).await?;
        let look = (Instant::now() + LOOK).min(until);
        let answer = loop {
            if let Some(answer) = self.journal.command_answer(no).await? {
                break Some(answer);
            }
            if Instant::now() >= look {
                break None;
            }
            drop(tokio::time::timeout(POLL, self.journal.hinted()).await);
        };
        // An answer that came between the last look and this is of no use to anybody: the act is asked for again.
        if let Err(error) = self.journal.forget_command(no).await {
            tracing::debug!(%error, "a command that was answered could not be removed");
        }
        Ok(answer.map_or(Elsewhere::LookAgain, |answer| Elsewhere::Answered(Reply::read(&answer))))
    }

    /// Whether all that is unsettled in our lanes is in memory, but for what cannot be.
    fn has_recovered(&self) -> bool {
        self.tenures.all().iter().all(|tenure| tenure.is_recovered())
    }

    /// Until when another node is waited for.
    pub(super) fn owners_time() -> Instant {
        Instant::now() + PATIENCE
    }
}

/// The owner did not answer.
pub(super) fn unanswered() -> Problem {
    problem::UNAVAILABLE
        .with("the node that runs the saga does not answer: whether it has acted shows in the saga; ask again in a moment")
        .retry_after(2)
}

/// Carries out what another node asks of a saga of ours, and answers.
pub(super) async fn carry_out(core: Arc<Core>, command: Command) {
    let result = match serde_json::from_str::<Act>(&command.text) {
        Ok(act) => core.act_here(command.saga, &act).await,
        Err(error) => Err(problem::INVALID.with(format!("a command that this version does not know: {error}")).into()),
    };
    let result = match result {
        Ok(Here::Done(operated)) => Ok(operated),
        Ok(Here::Elsewhere) if core.duties.put_back(command.no, core.has_recovered()) < MISSES => return,
        Ok(Here::Elsewhere) => {
            let detail = "the saga rests at its node and cannot be taken up: the node's log says why";
            Err(problem::UNAVAILABLE.with(detail).retry_after(60).into())
        }
        Err(error @ Error::Problem(_)) if error.kind() != ErrorKind::Transient => Err(error),
        Err(error) => {
            // Not the act's fault: it is tried again, here or by whoever has the saga then.
            tracing::warn!(%error, saga.id = %command.saga, "a command could not be carried out: it is tried again");
            core.duties.put_back(command.no, false);
            return;
        }
    };
    let answer = serde_json::to_string(&Reply::of(result)).unwrap_or_default();
    if let Err(error) = core.journal.answer_command(command.no, &answer).await {
        tracing::warn!(%error, saga.id = %command.saga, "a command could not be answered: it is carried out again");
        core.duties.put_back(command.no, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_as_it_was_given() {
        let done = Operated { changed: true, status: Status::Compensating };
        let text = serde_json::to_string(&Reply::of(Ok(done))).unwrap();
        assert_eq!(Reply::read(&text).unwrap(), done);
        let problem = problem::COMMIT_POINT_PASSED.with("too late").member("status", "running").retry_after(3);
        let text = serde_json::to_string(&Reply::of(Err(problem.clone().into()))).unwrap();
        match Reply::read(&text) {
            Err(Error::Problem(read)) => assert_eq!(*read, problem),
            other => panic!("{other:?}"),
        }
        assert!(matches!(Reply::read("{}"), Err(Error::Corrupt(_))));
    }
}
