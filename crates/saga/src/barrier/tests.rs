//! The barrier against a real database: each case of the protocol, races, crashes, and random histories.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use serde_json::json;
use steadfast_core::{Knowledge, Op, SagaId, StepKey, Timestamp, problem};
use steadfast_db::tx::Tx;
use steadfast_db::{Db, migrate};
use steadfast_testkit::{TestDb, database};
use tokio::task::JoinSet;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const NOW: Timestamp = Timestamp::from_millis(1_700_000_001_000);
const BODY: &[u8] = br#"{"amount":1299}"#;

async fn ground() -> TestDb {
    let db = database().await;
    migrate(&db, &LINE).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    sqlx::query("create table effect (what text not null)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    db
}

fn call(saga: &str, op: Op) -> Call {
    Call {
        key: StepKey { saga: SagaId::derive("test", "test", saga), step: "pay".to_owned(), op },
        attempt: 1,
        started: START,
        knowledge: (op == Op::Compensate).then_some(Knowledge::Unknown),
        user: "till-7".to_owned(),
        permission: "payment.process".to_owned(),
        traceparent: None,
        epoch: None,
    }
}

fn action(saga: &str) -> Call {
    call(saga, Op::Action)
}

fn compensation(saga: &str, knowledge: Knowledge) -> Call {
    Call { knowledge: Some(knowledge), ..call(saga, Op::Compensate) }
}

/// Work that writes one effect and answers `answer`.
fn work(call: &Call, answer: Answer) -> impl for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<Answer, Error>> + use<> {
    let what = call.key.to_string();
    move |tx| {
        let (what, answer) = (what.clone(), answer.clone());
        Box::pin(async move {
            sqlx::query("insert into effect (what) values (?)").bind(what).execute(&mut **tx).await?;
            Ok(answer)
        })
    }
}

async fn make(db: &Db, call: &Call, route: Route, answer: Answer) -> Answer {
    run(db, call, route, BODY, NOW, work(call, answer)).await.unwrap()
}

async fn effects(db: &Db, call: &Call) -> i64 {
    sqlx::query_scalar("select count(*) from effect where what = ?")
        .bind(call.key.to_string())
        .fetch_one(db.readers())
        .await
        .unwrap()
}

async fn rows(db: &Db) -> i64 {
    sqlx::query_scalar("select count(*) from saga_barrier").fetch_one(db.readers()).await.unwrap()
}

fn ok() -> Answer {
    Answer::json(201, &json!({"payment": "p-1"}))
}

fn refusal() -> Answer {
    Answer::problem(&problem::BUSINESS_REFUSAL.with("the card is not covered"))
}

#[tokio::test]
async fn a_repeat_gets_the_stored_answer_and_no_second_effect() {
    let db = ground().await;
    let first = make(&db, &action("s"), Route::Compensatable, ok()).await;
    assert!(!first.is_replayed());
    let again = make(&db, &action("s"), Route::Compensatable, Answer::json(200, &json!("another"))).await;
    assert!(again.is_replayed() && !again.is_altered());
    assert_eq!((again.status(), again.body(), again.content_type()), (201, first.body(), "application/json"));
    assert_eq!(effects(&db, &action("s")).await, 1);
}

#[tokio::test]
async fn a_body_and_a_content_type_of_any_kind_are_kept() {
    let db = ground().await;
    let odd = Answer::new(200, "application/octet-stream", vec![0, 159, 146, 150]);
    make(&db, &action("s"), Route::Compensatable, odd.clone()).await;
    assert_eq!(make(&db, &action("s"), Route::Compensatable, ok()).await, odd.replay(false));
    make(&db, &action("t"), Route::Compensatable, Answer::empty(204)).await;
    assert_eq!(make(&db, &action("t"), Route::Compensatable, ok()).await, Answer::empty(204).replay(false));
}

#[tokio::test]
async fn another_body_for_the_same_step_is_an_alarm_and_never_a_refusal() {
    let db = ground().await;
    make(&db, &action("s"), Route::Compensatable, ok()).await;
    let call = action("s");
    let again = run(&db, &call, Route::Compensatable, b"{}", NOW, work(&call, ok())).await.unwrap();
    assert!(again.is_replayed() && again.is_altered());
    assert_eq!((again.status(), effects(&db, &call).await), (201, 1));
}

#[tokio::test]
async fn steps_sagas_and_ops_do_not_meet_each_other() {
    let db = ground().await;
    let other_step = Call { key: StepKey { step: "ship".to_owned(), ..action("s").key }, ..action("s") };
    for call in [action("s"), action("t"), other_step, call("s", Op::Compensate)] {
        assert!(!make(&db, &call, Route::Compensatable, ok()).await.is_replayed(), "{call:?}");
        assert_eq!(effects(&db, &call).await, 1, "{call:?}");
    }
}

async fn race(dbs: &[Db], tasks: usize) -> i64 {
    let ran = Arc::new(AtomicU32::new(0));
    let mut set = JoinSet::new();
    for task in 0..tasks {
        let (db, ran) = (dbs[task % dbs.len()].clone(), Arc::clone(&ran));
        set.spawn(async move {
            let call = action("s");
            let mut inner = work(&call, ok());
            run(&db, &call, Route::Compensatable, BODY, NOW, move |tx| {
                ran.fetch_add(1, Ordering::SeqCst);
                inner(tx)
            })
            .await
            .unwrap()
        });
    }
    let answers = set.join_all().await;
    assert_eq!(answers.iter().filter(|answer| !answer.is_replayed()).count(), 1);
    assert!(answers.iter().all(|answer| answer.body() == ok().body()));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    effects(&dbs[0], &action("s")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_at_once_one_takes_effect() {
    let db = ground().await;
    assert_eq!(race(&[Db::clone(&db)], 64).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_processes_one_takes_effect() {
    let db = ground().await;
    let dbs = [Db::clone(&db), db.reopen().await, db.reopen().await];
    assert_eq!(race(&dbs, 48).await, 1);
}

#[tokio::test]
async fn a_crash_before_the_commit_leaves_nothing_and_the_call_runs_again() {
    let db = ground().await;
    let call = action("s");
    for point in 0..3 {
        let mut tx = db.begin().await.unwrap();
        let Entered::Run(pass) = enter(&mut tx, &call, BODY, NOW).await.unwrap() else { panic!("must run") };
        if point > 0 {
            work(&call, ok())(&mut tx).await.unwrap();
        }
        if point > 1 {
            pass.record(&mut tx, &ok(), NOW).await.unwrap();
        }
        drop(tx);
        assert_eq!((rows(&db).await, effects(&db, &call).await), (0, 0), "crash at {point}");
    }
    make(&db, &call, Route::Compensatable, ok()).await;
    assert_eq!((rows(&db).await, effects(&db, &call).await), (1, 1));
}

#[tokio::test]
async fn work_that_panics_leaves_nothing_and_the_next_call_runs() {
    let db = ground().await;
    let task = Db::clone(&db);
    let mut set = JoinSet::new();
    set.spawn(async move {
        let call = action("s");
        let mut inner = work(&call, ok());
        drop(
            run::<Error, _>(&task, &call, Route::Compensatable, BODY, NOW, |tx| {
                let done = inner(tx);
                Box::pin(async move {
                    done.await?;
                    panic!("in the middle of the work")
                })
            })
            .await,
        );
    });
    assert!(set.join_next().await.unwrap().unwrap_err().is_panic());
    make(&db, &action("s"), Route::Compensatable, ok()).await;
    assert_eq!(effects(&db, &action("s")).await, 1);
}

#[tokio::test]
async fn an_early_compensation_voids_the_action() {
    let db = ground().await;
    let undo = compensation("s", Knowledge::Unknown);
    for _ in 0..2 {
        let answer = make(&db, &undo, Route::Compensatable, ok()).await;
        assert_eq!((answer.status(), answer.body().len()), (204, 0));
    }
    for _ in 0..2 {
        let late = make(&db, &action("s"), Route::Compensatable, ok()).await;
        assert_eq!((late.status(), late.problem_code().as_deref()), (409, Some("voided")));
    }
    assert_eq!(make(&db, &compensation("s", Knowledge::Done), Route::Compensatable, ok()).await.status(), 204);
    assert_eq!((effects(&db, &undo).await, effects(&db, &action("s")).await, rows(&db).await), (0, 0, 1));
}

#[tokio::test]
async fn a_compensation_of_a_done_action_that_is_not_here_is_refused_and_leaves_no_trace() {
    let db = ground().await;
    let answer = make(&db, &compensation("s", Knowledge::Done), Route::Compensatable, ok()).await;
    assert_eq!((answer.status(), answer.problem_code().as_deref()), (409, Some("action-not-found")));
    assert_eq!(rows(&db).await, 0);
    assert_eq!(make(&db, &action("s"), Route::Compensatable, ok()).await.status(), 201);
}

#[tokio::test]
async fn a_done_action_is_compensated_once() {
    let db = ground().await;
    make(&db, &action("s"), Route::Compensatable, ok()).await;
    for (knowledge, replayed) in [(Knowledge::Unknown, false), (Knowledge::Done, true)] {
        let answer = make(&db, &compensation("s", knowledge), Route::Compensatable, Answer::empty(200)).await;
        assert_eq!((answer.status(), answer.is_replayed()), (200, replayed));
    }
    assert_eq!(effects(&db, &call("s", Op::Compensate)).await, 1);
    let late = make(&db, &action("s"), Route::Compensatable, ok()).await;
    assert!(late.is_replayed(), "a late repeat of the action gets its old answer");
    assert_eq!(effects(&db, &action("s")).await, 1);
}

#[tokio::test]
async fn a_refusal_takes_its_writes_back_is_stored_and_needs_no_compensation() {
    let db = ground().await;
    let first = make(&db, &action("s"), Route::Compensatable, refusal()).await;
    assert_eq!((first.status(), first.is_replayed()), (422, false));
    let again = make(&db, &action("s"), Route::Compensatable, ok()).await;
    assert_eq!(again, first.replay(false));
    let undo = compensation("s", Knowledge::Unknown);
    assert_eq!(make(&db, &undo, Route::Compensatable, ok()).await.status(), 204);
    assert_eq!((effects(&db, &action("s")).await, effects(&db, &undo).await, rows(&db).await), (0, 0, 1));
}

#[tokio::test]
async fn retriable_steps_and_compensations_are_never_refused_for_good() {
    let db = ground().await;
    assert_eq!(make(&db, &action("s"), Route::Retriable, refusal()).await.status(), 422);
    assert_eq!((rows(&db).await, effects(&db, &action("s")).await), (0, 0));
    assert_eq!(make(&db, &action("s"), Route::Retriable, ok()).await.status(), 201);
    let undo = compensation("s", Knowledge::Done);
    assert_eq!(make(&db, &undo, Route::Compensatable, refusal()).await.status(), 422);
    assert_eq!(effects(&db, &undo).await, 0);
    assert_eq!(make(&db, &undo, Route::Compensatable, ok()).await.status(), 201);
    assert_eq!((effects(&db, &action("s")).await, effects(&db, &undo).await), (1, 1));
}

#[tokio::test]
async fn passing_troubles_are_answered_but_not_remembered() {
    let db = ground().await;
    for passing in [problem::UNAVAILABLE.with("later"), problem::IN_FLIGHT.with("x"), problem::RATE_LIMITED.with("x")] {
        let answer = make(&db, &action("s"), Route::Compensatable, Answer::problem(&passing)).await;
        assert_eq!(answer.status(), passing.status);
        assert_eq!((rows(&db).await, effects(&db, &action("s")).await), (0, 0), "{passing:?}");
    }
}

#[tokio::test]
async fn a_conflict_runs_the_work_again_and_a_bug_does_not() {
    let db = ground().await;
    for (error, runs) in
        [(Error::Problem(Box::new(problem::CONFLICT.with("x"))), 3), (Error::Corrupt("x".to_owned()), 1)]
    {
        let call = action(&format!("{runs}"));
        let (mut inner, mut ran, mut fault) = (work(&call, ok()), 0, Some(error));
        let result = run(&db, &call, Route::Compensatable, BODY, NOW, |tx| {
            ran += 1;
            let done = inner(tx);
            let failure =
                if ran < 3 { fault.take().or_else(|| Some(problem::CONFLICT.with("y").into())) } else { None };
            Box::pin(async move {
                let answer = done.await?;
                failure.map_or(Ok(answer), Err)
            })
        })
        .await;
        assert_eq!((ran, result.is_ok()), (runs, runs == 3));
        assert_eq!(effects(&db, &call).await, i64::from(runs == 3));
    }
}

#[tokio::test]
async fn behind_the_horizon_a_missing_row_is_too_late_and_a_stored_one_still_answers() {
    let db = ground().await;
    make(&db, &action("kept"), Route::Compensatable, ok()).await;
    let mut tx = db.begin().await.unwrap();
    sqlite::raise_horizon(&mut tx, Timestamp::from_millis(START.as_millis() + 1)).await.unwrap();
    tx.commit().await.unwrap();
    for call in [action("s"), compensation("s", Knowledge::Unknown), compensation("s", Knowledge::Done)] {
        let answer = make(&db, &call, Route::Compensatable, ok()).await;
        assert_eq!((answer.status(), answer.problem_code().as_deref()), (409, Some("too-late")), "{call:?}");
        assert_eq!(effects(&db, &call).await, 0);
    }
    assert!(make(&db, &action("kept"), Route::Compensatable, ok()).await.is_replayed());
    let young = Call { started: NOW, ..action("young") };
    assert_eq!(make(&db, &young, Route::Compensatable, ok()).await.status(), 201);
}

#[tokio::test]
async fn pruning_removes_only_what_lies_behind_the_horizon_in_batches() {
    let db = ground().await;
    for (name, millis) in [("a", 0), ("b", 10), ("c", 20), ("d", 5)] {
        let call = Call { started: Timestamp::from_millis(START.as_millis() + millis), ..action(name) };
        make(&db, &call, Route::Compensatable, ok()).await;
    }
    let horizon = |millis: i64| Timestamp::from_millis(START.as_millis() + millis);
    let step = async |at: i64, limit: u32| {
        let mut tx = db.begin().await.unwrap();
        let removed = prune(&mut tx, horizon(at), limit).await.unwrap();
        tx.commit().await.unwrap();
        removed
    };
    assert_eq!(step(0, 10).await, 0, "a saga that started at the horizon is not behind it");
    assert_eq!(step(11, 1).await, 1);
    assert_eq!(step(0, 10).await, 2, "the horizon does not move back");
    let left = Call { started: horizon(20), ..action("c") };
    assert!(make(&db, &left, Route::Compensatable, ok()).await.is_replayed());
}

#[tokio::test]
async fn a_second_row_for_one_effect_is_impossible() {
    let db = ground().await;
    let mut tx = db.begin().await.unwrap();
    let Entered::Run(first) = enter(&mut tx, &action("s"), BODY, NOW).await.unwrap() else { panic!("must run") };
    let Entered::Run(second) = enter(&mut tx, &action("s"), BODY, NOW).await.unwrap() else { panic!("must run") };
    first.record(&mut tx, &ok(), NOW).await.unwrap();
    let error = second.record(&mut tx, &ok(), NOW).await.unwrap_err();
    assert_eq!(steadfast_core::Classified::kind(&error), steadfast_core::ErrorKind::Conflict);
}

#[tokio::test]
async fn the_plans_use_the_indexes_that_the_files_name() {
    let db = ground().await;
    let plan = async |sql: &str| -> String {
        let rows: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("explain query plan {sql}")))
                .fetch_all(db.readers())
                .await
                .unwrap();
        rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("\n")
    };
    let read = include_str!("sqlite/enter_step.sql").split_once("savepoint steadfast_barrier;").unwrap().1;
    let text = plan(read).await;
    assert!(text.contains("SEARCH h USING INTEGER PRIMARY KEY"), "{text}");
    assert!(text.contains("SEARCH b USING INDEX saga_barrier_key (saga=? AND step=?)"), "{text}");
    let text = plan(include_str!("sqlite/delete_pruned.sql")).await;
    assert!(text.contains("SEARCH saga_barrier USING INTEGER PRIMARY KEY (rowid=?)"), "{text}");
}

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

async fn act(db: &Db, saga: &str, act: Act) -> Option<Answer> {
    let (call, end) = match act {
        Act::Action(end) => (action(saga), end),
        Act::Compensate(knowledge, end) => (compensation(saga, knowledge), end),
    };
    let answer = match end {
        End::Done => ok(),
        End::Refused => refusal(),
        End::Unavailable => Answer::problem(&problem::UNAVAILABLE.with("later")),
        End::Crash => {
            let mut tx = db.begin().await.unwrap();
            if let Entered::Run(pass) = enter(&mut tx, &call, BODY, NOW).await.unwrap() {
                work(&call, ok())(&mut tx).await.unwrap();
                pass.record(&mut tx, &ok(), NOW).await.unwrap();
            }
            return None;
        }
    };
    Some(make(db, &call, Route::Compensatable, answer).await)
}

/// The promises, checked after each act: an effect happens 0 or 1 times, a compensation only after its action; what was
/// answered with success stays so; once a compensation has succeeded, the sum is 0 for ever.
async fn hold(db: &Db, saga: &str, history: Vec<Act>) -> Result<(), TestCaseError> {
    let (mut acted, mut undone, mut refused) = (false, false, false);
    for step in history {
        let answer = act(db, saga, step).await;
        let forward = effects(db, &action(saga)).await;
        let back = effects(db, &call(saga, Op::Compensate)).await;
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

#[test]
fn random_histories_keep_the_promises() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let db = runtime.block_on(ground());
    let cases = AtomicU32::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&acts(), |history| {
            let saga = format!("case {}", cases.fetch_add(1, Ordering::SeqCst));
            runtime.block_on(hold(&db, &saga, history))
        })
        .unwrap();
}
