//! Pruning, and what a missing row proves afterwards.

use super::*;

pub(super) async fn behind_the_horizon_a_missing_row_is_too_late_and_a_stored_one_still_answers<G: Ground>() {
    let db = G::open().await;
    make(&db, &action("kept"), Route::Compensatable, ok()).await;
    let mut tx = steadfast_db::Backend::begin(db.db()).await.unwrap();
    assert_eq!(prune(&mut tx, Timestamp::from_millis(START.as_millis() + 1), 0).await.unwrap(), 0);
    tx.commit().await.unwrap();
    for call in [action("s"), compensation("s", Knowledge::Unknown), compensation("s", Knowledge::Done)] {
        let answer = make(&db, &call, Route::Compensatable, ok()).await;
        assert_eq!((answer.status(), answer.problem_code().as_deref()), (409, Some("too-late")), "{call:?}");
        assert_eq!(db.effects(&call).await, 0);
    }
    assert!(make(&db, &action("kept"), Route::Compensatable, ok()).await.is_replayed());
    let young = Call { started: NOW, ..action("young") };
    assert_eq!(make(&db, &young, Route::Compensatable, ok()).await.status(), 201);
}

pub(super) async fn pruning_removes_only_what_lies_behind_the_horizon_in_batches<G: Ground>() {
    let db = G::open().await;
    for (name, millis) in [("a", 0), ("b", 10), ("c", 20), ("d", 5)] {
        let call = Call { started: Timestamp::from_millis(START.as_millis() + millis), ..action(name) };
        make(&db, &call, Route::Compensatable, ok()).await;
    }
    let horizon = |millis: i64| Timestamp::from_millis(START.as_millis() + millis);
    let step = async |at: i64, limit: u32| {
        let mut tx = steadfast_db::Backend::begin(db.db()).await.unwrap();
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
