//! Calls at once: one takes effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use steadfast_core::Classified as _;
use tokio::task::JoinSet;

use super::*;

async fn race<G: Ground>(ground: &G, dbs: &[G::Handle], tasks: usize) {
    let ran = Arc::new(AtomicU32::new(0));
    let mut set = JoinSet::new();
    for task in 0..tasks {
        let (db, ran) = (dbs[task % dbs.len()].clone(), Arc::clone(&ran));
        set.spawn(async move {
            let call = action("s");
            loop {
                let (ran, mut inner) = (Arc::clone(&ran), work::<G>(&call, ok()));
                let answer: Answer = run::<_, Error, _>(&db, &call, Route::Compensatable, BODY, NOW, move |tx| {
                    ran.fetch_add(1, Ordering::SeqCst);
                    inner(tx)
                })
                .await
                .unwrap();
                if !is_in_flight(&answer) {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let answers = set.join_all().await;
    assert_eq!(answers.iter().filter(|answer| !answer.is_replayed()).count(), 1);
    assert!(answers.iter().all(|answer| answer.body() == ok().body()));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!((ground.effects(&action("s")).await, ground.rows().await), (1, 1));
}

pub(super) async fn of_sixty_four_at_once_one_takes_effect<G: Ground>() {
    let ground = G::open().await;
    race(&ground, &[ground.db().clone()], 64).await;
}

pub(super) async fn of_three_processes_one_takes_effect<G: Ground>() {
    let ground = G::open().await;
    let dbs = [ground.db().clone(), ground.reopen().await, ground.reopen().await];
    race(&ground, &dbs, 48).await;
}

pub(super) async fn action_and_compensation_at_once_leave_both_or_neither<G: Ground>() {
    let ground = Arc::new(G::open().await);
    for round in 0..16 {
        let saga = format!("{round}");
        let mut set = JoinSet::new();
        for call in [action(&saga), compensation(&saga, Knowledge::Unknown)] {
            let ground = Arc::clone(&ground);
            set.spawn(async move { make(&*ground, &call, Route::Compensatable, ok()).await });
        }
        let statuses: Vec<_> = set.join_all().await.iter().map(Answer::status).collect();
        let (done, undone) =
            (ground.effects(&action(&saga)).await, ground.effects(&compensation(&saga, Knowledge::Unknown)).await);
        assert_eq!(done, undone, "round {round}: {statuses:?}");
        let late = make(&*ground, &action(&saga), Route::Compensatable, ok()).await;
        assert_eq!(late.status(), if done == 1 { 201 } else { 409 });
    }
}

pub(super) async fn a_second_row_for_one_effect_is_impossible<G: Ground>() {
    let ground = G::open().await;
    let (mut tx, first) = pass(&ground, &action("s")).await.unwrap();
    let Entered::Run(second) = enter(&mut tx, &action("s"), BODY, NOW).await.unwrap() else { panic!("must run") };
    first.record(&mut tx, &ok(), NOW).await.unwrap();
    let error = second.record(&mut tx, &ok(), NOW).await.unwrap_err();
    assert_eq!(error.kind(), steadfast_core::ErrorKind::Conflict);
}
