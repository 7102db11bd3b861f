//! How the work ends: answers, refusals, troubles, crashes.

use tokio::task::JoinSet;

use super::*;

pub(super) async fn a_refusal_takes_its_writes_back_is_stored_and_needs_no_compensation<G: Ground>() {
    let db = G::open().await;
    let first = make(&db, &action("s"), Route::Compensatable, refusal()).await;
    assert_eq!((first.status(), first.is_replayed()), (422, false));
    let again = make(&db, &action("s"), Route::Compensatable, ok()).await;
    assert_eq!(again, first.replay(false));
    let undo = compensation("s", Knowledge::Unknown);
    assert_eq!(make(&db, &undo, Route::Compensatable, ok()).await.status(), 204);
    assert_eq!((db.effects(&action("s")).await, db.effects(&undo).await, db.rows().await), (0, 0, 1));
}

pub(super) async fn retriable_steps_and_compensations_are_never_refused_for_good<G: Ground>() {
    let db = G::open().await;
    assert_eq!(make(&db, &action("s"), Route::Retriable, refusal()).await.status(), 422);
    assert_eq!((db.rows().await, db.effects(&action("s")).await), (0, 0));
    assert_eq!(make(&db, &action("s"), Route::Retriable, ok()).await.status(), 201);
    let undo = compensation("s", Knowledge::Done);
    assert_eq!(make(&db, &undo, Route::Compensatable, refusal()).await.status(), 422);
    assert_eq!(db.effects(&undo).await, 0);
    assert_eq!(make(&db, &undo, Route::Compensatable, ok()).await.status(), 201);
    assert_eq!((db.effects(&action("s")).await, db.effects(&undo).await), (1, 1));
}

pub(super) async fn passing_troubles_are_answered_but_not_remembered<G: Ground>() {
    let db = G::open().await;
    for passing in [problem::UNAVAILABLE.with("later"), problem::IN_FLIGHT.with("x"), problem::RATE_LIMITED.with("x")] {
        let call = action("s");
        let work = work::<G>(&call, Answer::problem(&passing));
        let answer = run(db.db(), &call, Route::Compensatable, BODY, NOW, work).await.unwrap();
        assert_eq!(answer.status(), passing.status);
        assert_eq!((db.rows().await, db.effects(&action("s")).await), (0, 0), "{passing:?}");
    }
}

pub(super) async fn a_conflict_runs_the_work_again_and_a_bug_does_not<G: Ground>() {
    let db = G::open().await;
    for (error, runs) in
        [(Error::Problem(Box::new(problem::CONFLICT.with("x"))), 3), (Error::Corrupt("x".to_owned()), 1)]
    {
        let call = action(&format!("{runs}"));
        let (mut inner, mut ran, mut fault) = (work::<G>(&call, ok()), 0, Some(error));
        let result = run(db.db(), &call, Route::Compensatable, BODY, NOW, |tx| {
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
        assert_eq!(db.effects(&call).await, i64::from(runs == 3));
    }
}

pub(super) async fn a_crash_before_the_commit_leaves_nothing_and_the_call_runs_again<G: Ground>() {
    let db = G::open().await;
    let call = action("s");
    for point in 0..3 {
        let (mut tx, pass) = pass(&db, &call).await.unwrap();
        if point > 0 {
            work::<G>(&call, ok())(&mut tx).await.unwrap();
        }
        if point > 1 {
            pass.record(&mut tx, &ok(), NOW).await.unwrap();
        }
        drop(tx);
        assert_eq!((db.rows().await, db.effects(&call).await), (0, 0), "crash at {point}");
    }
    make(&db, &call, Route::Compensatable, ok()).await;
    assert_eq!((db.rows().await, db.effects(&call).await), (1, 1));
}

pub(super) async fn a_refusal_in_the_callers_own_transaction_takes_back_only_the_work<G: Ground>() {
    let db = G::open().await;
    let (call, before) = (action("s"), action("written before"));
    let mut tx = steadfast_db::Backend::begin(db.db()).await.unwrap();
    work::<G>(&before, ok())(&mut tx).await.unwrap();
    let Entered::Run(pass) = enter(&mut tx, &call, BODY, NOW).await.unwrap() else { panic!("must run") };
    work::<G>(&call, ok())(&mut tx).await.unwrap();
    pass.refuse(&mut tx, &refusal(), NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((db.effects(&before).await, db.effects(&call).await, db.rows().await), (1, 0, 1));
    assert_eq!(make(&db, &call, Route::Compensatable, ok()).await, refusal().refused().replay(false));
}

pub(super) async fn work_that_fails_does_not_leave_its_step_in_flight<G: Ground>() {
    let db = G::open().await;
    for n in 0..50 {
        let call = action(&format!("{n}"));
        let failed = run::<_, Error, _>(db.db(), &call, Route::Compensatable, BODY, NOW, |_| {
            Box::pin(async { Err(Error::Corrupt("x".to_owned())) })
        });
        assert!(failed.await.is_err());
        let mut inner = work::<G>(&call, ok());
        let again = run::<_, Error, _>(db.db(), &call, Route::Compensatable, BODY, NOW, |tx| inner(tx)).await;
        assert_eq!(again.unwrap(), ok(), "call {n}");
    }
}

pub(super) async fn work_that_panics_leaves_nothing_and_the_next_call_runs<G: Ground>() {
    let db = G::open().await;
    let task = db.db().clone();
    let mut set = JoinSet::new();
    set.spawn(async move {
        let call = action("s");
        let mut inner = work::<G>(&call, ok());
        drop(
            run::<_, Error, _>(&task, &call, Route::Compensatable, BODY, NOW, |tx| {
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
    assert_eq!(db.effects(&action("s")).await, 1);
}

pub(super) async fn several_calls_share_a_transaction<G: Ground>() {
    let db = G::open().await;
    let calls = [action("s"), action("t"), action("u")];
    let (mut tx, first) = pass(&db, &calls[0]).await.unwrap();
    let mut passes = vec![first];
    for call in &calls[1..] {
        let Entered::Run(pass) = enter(&mut tx, call, BODY, NOW).await.unwrap() else { panic!("must run") };
        passes.push(pass);
    }
    for (pass, call) in passes.into_iter().zip(&calls) {
        work::<G>(call, ok())(&mut tx).await.unwrap();
        pass.record(&mut tx, &ok(), NOW).await.unwrap();
    }
    tx.commit().await.unwrap();
    for call in &calls {
        let again = make(&db, call, Route::Compensatable, refusal()).await;
        assert!(again.is_replayed() && !again.is_altered(), "{again:?}");
        assert_eq!((again.status(), db.effects(call).await), (201, 1));
    }
}
