//! What a call meets.

use super::*;

pub(super) async fn a_repeat_gets_the_stored_answer_and_no_second_effect<G: Ground>() {
    let db = G::open().await;
    let first = make(&db, &action("s"), Route::Compensatable, ok()).await;
    assert!(!first.is_replayed());
    let again = make(&db, &action("s"), Route::Compensatable, Answer::json(200, &json!("another"))).await;
    assert!(again.is_replayed() && !again.is_altered());
    assert_eq!((again.status(), again.body(), again.content_type()), (201, first.body(), "application/json"));
    assert_eq!(db.effects(&action("s")).await, 1);
}

pub(super) async fn a_body_and_a_content_type_of_any_kind_are_kept<G: Ground>() {
    let db = G::open().await;
    let odd = Answer::new(200, "application/octet-stream", vec![0, 159, 146, 150]);
    make(&db, &action("s"), Route::Compensatable, odd.clone()).await;
    assert_eq!(make(&db, &action("s"), Route::Compensatable, ok()).await, odd.replay(false));
    make(&db, &action("t"), Route::Compensatable, Answer::empty(204)).await;
    assert_eq!(make(&db, &action("t"), Route::Compensatable, ok()).await, Answer::empty(204).replay(false));
}

pub(super) async fn another_body_for_the_same_step_is_an_alarm_and_never_a_refusal<G: Ground>() {
    let db = G::open().await;
    make(&db, &action("s"), Route::Compensatable, ok()).await;
    let call = action("s");
    let again = run(db.db(), &call, Route::Compensatable, b"{}", NOW, work::<G>(&call, ok())).await.unwrap();
    assert!(again.is_replayed() && again.is_altered());
    assert_eq!((again.status(), db.effects(&call).await), (201, 1));
}

pub(super) async fn steps_sagas_and_ops_do_not_meet_each_other<G: Ground>() {
    let db = G::open().await;
    let other_step = Call { key: StepKey { step: "ship".to_owned(), ..action("s").key }, ..action("s") };
    for call in [action("s"), action("t"), other_step, call("s", Op::Compensate)] {
        assert!(!make(&db, &call, Route::Compensatable, ok()).await.is_replayed(), "{call:?}");
        assert_eq!(db.effects(&call).await, 1, "{call:?}");
    }
}

pub(super) async fn an_early_compensation_voids_the_action<G: Ground>() {
    let db = G::open().await;
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
    assert_eq!((db.effects(&undo).await, db.effects(&action("s")).await, db.rows().await), (0, 0, 1));
}

pub(super) async fn a_compensation_of_a_done_action_that_is_not_here_is_refused_and_leaves_no_trace<G: Ground>() {
    let db = G::open().await;
    let answer = make(&db, &compensation("s", Knowledge::Done), Route::Compensatable, ok()).await;
    assert_eq!((answer.status(), answer.problem_code().as_deref()), (409, Some("action-not-found")));
    assert_eq!(db.rows().await, 0);
    assert_eq!(make(&db, &action("s"), Route::Compensatable, ok()).await.status(), 201);
}

pub(super) async fn a_done_action_is_compensated_once<G: Ground>() {
    let db = G::open().await;
    make(&db, &action("s"), Route::Compensatable, ok()).await;
    for (knowledge, replayed) in [(Knowledge::Unknown, false), (Knowledge::Done, true)] {
        let answer = make(&db, &compensation("s", knowledge), Route::Compensatable, Answer::empty(200)).await;
        assert_eq!((answer.status(), answer.is_replayed()), (200, replayed));
    }
    assert_eq!(db.effects(&call("s", Op::Compensate)).await, 1);
    let late = make(&db, &action("s"), Route::Compensatable, ok()).await;
    assert!(late.is_replayed(), "a late repeat of the action gets its old answer");
    assert_eq!(db.effects(&action("s")).await, 1);
}
