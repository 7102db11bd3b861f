//! The whole protocol in one call: begin, enter, work, record or refuse, commit.

use std::pin::Pin;

use sqlx::Transaction;
use steadfast_core::{Classified, Timestamp};
use steadfast_db::tx::{Policy, roll_back};
use steadfast_db::{Backend as Handle, Error as DbError};

use super::decision::{Ending, ending};
use super::{Answer, Backend, Entered, Route, meet};
use crate::Error;
use crate::participant::call::Call;

/// What the work of a step returns: a boxed future that may use the transaction.
pub type BoxFuture<'t, T> = Pin<Box<dyn Future<Output = T> + Send + 't>>;

/// Answers one saga call: gives the stored answer, or runs `work` in a transaction and commits its effect and its
/// answer together, so that the effect happens once however often the call is made.
///
/// `db` is a handle on SQLite or PostgreSQL, `body` is the request's body as it arrived. How `work` ends:
///
/// | `work` returns | what is committed | what the next attempt meets |
/// |---|---|---|
/// | an answer with 2xx | its effect and the answer | the same answer |
/// | a refusal (see [`Answer::problem`]) of a compensatable step's action | the refusal alone | the same refusal |
/// | any other answer | nothing | `work` again |
/// | an error that is retriable | nothing | `work` at once, up to 8 times, as the process's [budget](steadfast_db::tx::Budget) of retries allows |
/// | another error, or a panic, or the caller goes away | nothing | `work` again |
///
/// When the answer to the commit is lost, the error is [`steadfast_db::Error::CommitUnknown`] and nothing is tried again
/// here: answer 503; the orchestrator asks again, and the barrier tells what has become of it.
///
/// `work` must have no effect outside the transaction, since it may run several times.
pub async fn run<B, E, F>(
    db: &B,
    call: &Call,
    route: Route,
    body: &[u8],
    now: Timestamp,
    mut work: F,
) -> Result<Answer, E>
where
    B: Handle<Sql: Backend>,
    F: for<'t> FnMut(&'t mut Transaction<'static, B::Sql>) -> BoxFuture<'t, Result<Answer, E>>,
    E: Classified + From<Error>,
{
    let mut attempts = Policy::default().begin();
    loop {
        let error = match once(db, call, route, body, now, &mut work).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(lost)) => return Err(Error::Db(lost).into()),
            Err(error) => error,
        };
        if !attempts.again(error.kind()).await {
            return Err(error);
        }
    }
}

/// The inner error is a commit whose outcome is open.
async fn once<B, E, F>(
    db: &B,
    call: &Call,
    route: Route,
    body: &[u8],
    now: Timestamp,
    work: &mut F,
) -> Result<Result<Answer, DbError>, E>
where
    B: Handle<Sql: Backend>,
    F: for<'t> FnMut(&'t mut Transaction<'static, B::Sql>) -> BoxFuture<'t, Result<Answer, E>>,
    E: From<Error>,
{
    let mut tx = db.begin().await.map_err(Error::from)?;
    match passed(&mut tx, call, route, body, now, work).await {
        Ok(Passed::ToEnd { answer, wrote }) => Ok(end(tx, answer, wrote).await?),
        Ok(Passed::ToRefuse(answer)) => {
            roll_back(tx).await;
            Ok(refuse_anew(db, call, body, now, answer).await?)
        }
        Err(error) => {
            // Until it is done the step looks as if it were in flight.
            roll_back(tx).await;
            Err(error)
        }
    }
}

/// What a transaction came to before its end.
enum Passed {
    /// An answer, and whether anything was written.
    ToEnd { answer: Answer, wrote: bool },
    /// A refusal, beside which nothing that was written may stay.
    ToRefuse(Answer),
}

async fn passed<DB, E, F>(
    tx: &mut Transaction<'static, DB>,
    call: &Call,
    route: Route,
    body: &[u8],
    now: Timestamp,
    work: &mut F,
) -> Result<Passed, E>
where
    DB: Backend,
    F: for<'t> FnMut(&'t mut Transaction<'static, DB>) -> BoxFuture<'t, Result<Answer, E>>,
    E: From<Error>,
{
    let pass = match meet(tx, call, body, now).await? {
        Entered::Run(pass) => pass,
        Entered::Answered { answer, wrote } => return Ok(Passed::ToEnd { answer, wrote }),
    };
    let answer = work(tx).await?;
    Ok(match ending(call.key.op, route, &answer) {
        Ending::Record => {
            pass.record(tx, &answer, now).await?;
            Passed::ToEnd { answer, wrote: true }
        }
        Ending::Refuse if DB::MARKS => {
            pass.refuse(tx, &answer, now).await?;
            Passed::ToEnd { answer: answer.refused(), wrote: true }
        }
        Ending::Refuse => Passed::ToRefuse(answer),
        Ending::Forget => Passed::ToEnd { answer, wrote: false },
    })
}

/// Stores a refusal in a transaction of its own, so that only refusals pay for being taken back, and not each success.
/// Who came in between has the last word: what it has stored is the answer.
async fn refuse_anew<B: Handle<Sql: Backend>>(
    db: &B,
    call: &Call,
    body: &[u8],
    now: Timestamp,
    answer: Answer,
) -> Result<Result<Answer, DbError>, Error> {
    let mut tx = db.begin().await?;
    match meet(&mut tx, call, body, now).await? {
        Entered::Run(pass) => {
            pass.refuse_unwritten(&mut tx, &answer, now).await?;
            end(tx, answer.refused(), true).await
        }
        Entered::Answered { answer, wrote } => end(tx, answer, wrote).await,
    }
}

/// Commits what was written, or rolls back where there is nothing to keep, which spares the flush that a commit might
/// cost. The outer error is a transaction that surely is rolled back.
async fn end<DB: Backend>(
    tx: Transaction<'static, DB>,
    answer: Answer,
    wrote: bool,
) -> Result<Result<Answer, DbError>, Error> {
    if !wrote {
        roll_back(tx).await;
        return Ok(Ok(answer));
    }
    match tx.commit().await.map_err(DbError::of_commit) {
        Ok(()) => Ok(Ok(answer)),
        Err(lost @ DbError::CommitUnknown(_)) => Ok(Err(lost)),
        Err(refused) => Err(refused.into()),
    }
}
