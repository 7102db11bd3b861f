//! A commit whose reply is lost.

use std::sync::atomic::{AtomicU32, Ordering};

use http::StatusCode;
use steadfast_core::Timestamp;
use steadfast_core::retry::Backoff;
use steadfast_testkit::{SeededClock, TestDb};

use super::*;
use crate::LINE;

/// Fails the first `times` commits with a broken connection, after or before they happened.
struct Lossy {
    times: AtomicU32,
    committed: bool,
}

impl Commit for Lossy {
    async fn commit<Sql: sqlx::Database>(&self, tx: Transaction<'static, Sql>) -> Result<(), steadfast_db::Error> {
        let lost = self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1)).is_ok();
        if !lost {
            return Plainly.commit(tx).await;
        }
        if self.committed {
            Plainly.commit(tx).await?;
        } else {
            drop(tx);
        }
        Err(steadfast_db::Error::of_commit(sqlx::Error::Io(std::io::Error::other("the connection broke"))))
    }
}

async fn lossy(times: u32, committed: bool) -> (TestDb, Result<Outcome, Error>, i64) {
    let db = steadfast_testkit::database().await;
    steadfast_db::migrate(&*db, &LINE).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    sqlx::raw_sql("create table effect (id integer primary key)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let policy = Policy::new(Arc::new(SeededClock::new(Timestamp::from_millis(1)))).retry(tx::Policy {
        attempts: 3,
        backoff: Backoff { base: Duration::ZERO, cap: Duration::ZERO },
        ..tx::Policy::default()
    });
    let key = IdempotencyKey::new("k").unwrap();
    let keyed = Keyed::new(&Scope::new("s"), "u", &key, Fingerprint::of_data(b"1"));
    let commit = Lossy { times: AtomicU32::new(times), committed };
    let outcome = attempts(&*db, &keyed, &policy, policy.patience::<steadfast_db::Db>(), &mut effect, commit).await;
    let effects = sqlx::query_scalar("select count(*) from effect").fetch_one(db.readers()).await.unwrap();
    (db, outcome, effects)
}

fn effect(tx: &mut tx::Tx) -> BoxFuture<'_, Result<Answer, Error>> {
    Box::pin(async move {
        sqlx::query("insert into effect default values").execute(&mut **tx).await.map_err(Error::sql)?;
        Ok(Answer::new(StatusCode::CREATED))
    })
}

#[tokio::test]
async fn a_commit_whose_reply_was_lost_stands_and_is_not_repeated() {
    let (_db, outcome, effects) = lossy(1, true).await;
    assert_eq!(outcome.unwrap(), Outcome::Executed(Answer::new(StatusCode::CREATED)));
    assert_eq!(effects, 1);
}

#[tokio::test]
async fn a_commit_that_did_not_happen_is_tried_again() {
    let (_db, outcome, effects) = lossy(1, false).await;
    assert_eq!(outcome.unwrap(), Outcome::Executed(Answer::new(StatusCode::CREATED)));
    assert_eq!(effects, 1);
}

#[tokio::test]
async fn after_the_last_try_nothing_was_executed() {
    let (_db, outcome, effects) = lossy(3, false).await;
    assert!(outcome.unwrap_err().kind().is_retriable());
    assert_eq!(effects, 0);
}
