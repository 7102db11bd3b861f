//! Random histories of one step.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use tokio::runtime::Handle;

use super::*;

/// What one call of a random history does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Action(End),
    Compensate(Knowledge, End),
}

/// How its work ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    Refused,
    Unavailable,
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let end = || prop_oneof![3 => Just(End::Done), 1 => Just(End::Refused), 1 => Just(End::Unavailable), 1 => Just(End::Crash)];
    let knowledge = prop_oneof![Just(Knowledge::Done), Just(Knowledge::Unknown)];
    let act = prop_oneof![end().prop_map(Act::Action), (knowledge, end()).prop_map(|(k, e)| Act::Compensate(k, e))];
    prop::collection::vec(act, 1..12)
}

async fn act<G: Ground>(db: &G, saga: &str, act: Act) -> Option<Answer> {
    let (call, end) = match act {
        Act::Action(end) => (action(saga), end),
        Act::Compensate(knowledge, end) => (compensation(saga, knowledge), end),
    };
    let answer = match end {
        End::Done => ok(),
        End::Refused => refusal(),
        End::Unavailable => Answer::problem(&problem::UNAVAILABLE.with("later")),
        End::Crash => {
            if let Some((mut tx, pass)) = pass(db, &call).await {
                work::<G>(&call, ok())(&mut tx).await.unwrap();
                pass.record(&mut tx, &ok(), NOW).await.unwrap();
            }
            return None;
        }
    };
    Some(make(db, &call, Route::Compensatable, answer).await)
}

/// The promises, checked after each act: an effect happens 0 or 1 times, a compensation only after its action; what was
/// answered with success stays so; once a compensation has succeeded, the sum is 0 for ever.
async fn hold<G: Ground>(db: &G, saga: &str, history: Vec<Act>) -> Result<(), TestCaseError> {
    let (mut acted, mut undone, mut refused) = (false, false, false);
    for step in history {
        let answer = act(db, saga, step).await;
        let forward = db.effects(&action(saga)).await;
        let back = db.effects(&call(saga, Op::Compensate)).await;
        prop_assert!(forward <= 1 && back <= forward, "{step:?}: {forward} actions, {back} compensations");
        let success = answer.as_ref().is_some_and(|answer| answer.status() < 300);
        match step {
            Act::Action(_) => {
                acted |= success;
                refused |= answer.as_ref().is_some_and(|answer| answer.status() == 422);
            }
            Act::Compensate(..) => undone |= success,
        }
        prop_assert!(!(acted && refused), "{step:?}: done and refused");
        prop_assert_eq!(acted, forward == 1, "{:?}: an answer at odds with the effect", step);
        if undone {
            prop_assert_eq!(forward, back, "{:?}: an effect outlived its compensation", step);
        }
    }
    Ok(())
}

pub(super) async fn random_histories_keep_the_promises<G: Ground>() {
    let db = G::open().await;
    let cases = AtomicU32::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let hold = |history| {
        let saga = format!("case {}", cases.fetch_add(1, Ordering::SeqCst));
        tokio::task::block_in_place(|| Handle::current().block_on(hold(&db, &saga, history)))
    };
    runner.run(&acts(), hold).unwrap();
}
