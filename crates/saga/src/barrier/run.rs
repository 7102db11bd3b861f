//! The whole protocol in one call: begin, enter, work, record or refuse, commit.

use std::pin::Pin;

use steadfast_core::{Classified, Timestamp};
use steadfast_db::tx::{Policy, Tx};
use steadfast_db::{Db, Error as DbError};

use super::decision::{Ending, ending};
use super::{Answer, Entered, Route, enter};
use crate::Error;
use crate::participant::call::Call;

/// What the work of a step returns: a boxed future that may use the transaction.
pub type BoxFuture<'t, T> = Pin<Box<dyn Future<Output = T> + Send + 't>>;

/// Answers one saga call: gives the stored answer, or runs `work` in a transaction and commits its effect and its
/// answer together, so that the effect happens once however often the call is made.
///
/// `body` is the request's body as it arrived. How `work` ends:
///
/// | `work` returns | what is committed | what the next attempt meets |
/// |---|---|---|
/// | an answer with 2xx | its effect and the answer | the same answer |
/// | a refusal (see [`Answer::problem`]) of a compensatable step's action | the refusal alone | the same refusal |
/// | any other answer | nothing | `work` again |
/// | an error that is retriable | nothing | `work` at once, up to 8 times |
/// | another error, or a panic, or the caller goes away | nothing | `work` again |
///
/// `work` must have no effect outside the transaction, since it may run several times.
pub async fn run<E, F>(
    db: &Db,
    call: &Call,
    route: Route,
    body: &[u8],
    now: Timestamp,
    mut work: F,
) -> Result<Answer, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<Answer, E>>,
    E: Classified + From<Error>,
{
    let policy = Policy::default();
    let mut attempt = 1;
    loop {
        let error = match once(db, call, route, body, now, &mut work).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !error.kind().is_retriable() || attempt >= policy.attempts {
            return Err(error);
        }
        tokio::time::sleep(policy.backoff.pause(attempt, fastrand::u64(..))).await;
        attempt += 1;
    }
}

async fn once<E, F>(db: &Db, call: &Call, route: Route, body: &[u8], now: Timestamp, work: &mut F) -> Result<Answer, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<Answer, E>>,
    E: From<Error>,
{
    let mut tx = db.begin().await.map_err(Error::from)?;
    let answer = match enter(&mut tx, call, body, now).await? {
        Entered::Answered { answer, wrote: true } => answer,
        Entered::Answered { answer, wrote: false } => {
            // Nothing was written: a rollback spares the flush that a commit might cost.
            tx.rollback().await.map_err(|error| Error::from(DbError::from(error)))?;
            return Ok(answer);
        }
        Entered::Run(pass) => {
            let answer = work(&mut tx).await?;
            match ending(call.key.op, route, &answer) {
                Ending::Record => {
                    pass.record(&mut tx, &answer, now).await?;
                    answer
                }
                Ending::Refuse => {
                    pass.refuse(&mut tx, &answer, now).await?;
                    answer.refused()
                }
                Ending::Forget => {
                    tx.rollback().await.map_err(|error| Error::from(DbError::from(error)))?;
                    return Ok(answer);
                }
            }
        }
    };
    tx.commit().await.map_err(|error| Error::from(DbError::from(error)))?;
    Ok(answer)
}
