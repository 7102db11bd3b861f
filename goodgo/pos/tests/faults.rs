//! The faults over loopback, in a real server: what a client sees of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use goodgo_pos::client::{Answer, Client, Error, Request};
use goodgo_pos::faults::{Fault, Faults, Settings, decide};
use http::StatusCode;
use steadfast::core::{Op, SagaId, StepKey, problem};

use crate::support::{Server, serve};

struct Rig {
    faults: Faults,
    server: Server,
    client: Client,
    works: Arc<AtomicUsize>,
}

async fn rig(settings: Settings) -> Rig {
    let works = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&works);
    let faults = Faults::new(settings);
    let work = move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        (StatusCode::CREATED, "done")
    };
    let router = Router::new().route("/saga/x", post(work)).layer(faults.layer());
    Rig { faults, server: serve(router).await, client: Client::default(), works }
}

impl Rig {
    async fn call(&self, key: &StepKey, attempt: u32) -> Result<Answer, Error> {
        let request = Request::post(&self.server.base, "/saga/x", &1)
            .key(&key.to_string())
            .header("saga-attempt", attempt.to_string());
        self.client.send(&request).await
    }

    fn works(&self) -> usize {
        self.works.load(Ordering::Relaxed)
    }
}

fn key(n: u32, op: Op) -> StepKey {
    StepKey { saga: SagaId::derive("till", "place_order", &n.to_string()), step: "pay".into(), op }
}

const ALWAYS: Settings = Settings { seed: 7, rate: 1.0, refusal_rate: 0.0 };

/// A call whose first attempt meets a fault of this kind and whose second meets none.
fn which(kind: impl Fn(Fault) -> bool) -> StepKey {
    let keys = (0..).map(|n| key(n, Op::Action));
    let meets = |key: &StepKey| kind(decide(7, 1.0, key, 1)) && decide(7, 1.0, key, 2) == Fault::None;
    keys.into_iter().find(meets).unwrap()
}

#[tokio::test]
async fn a_lost_reply_is_a_cut_connection_after_the_work() {
    let rig = rig(ALWAYS).await;
    let key = which(|fault| fault == Fault::LostReply);
    let error = rig.call(&key, 1).await.unwrap_err();
    assert!(matches!(error, Error::Cut { .. }), "{error}");
    assert_eq!(rig.works(), 1, "the work was done");
    assert_eq!(rig.call(&key, 2).await.unwrap().body, "done");
    assert_eq!(rig.faults.counts().lost_replies, 1);
}

#[tokio::test]
async fn the_second_visit_counts_even_where_the_orchestrator_counts_from_one_again() {
    let rig = rig(ALWAYS).await;
    let key = which(|fault| fault == Fault::Unavailable);
    let answer = rig.call(&key, 1).await.unwrap();
    assert_eq!((answer.status, rig.works()), (StatusCode::SERVICE_UNAVAILABLE, 0), "turned away before the work");
    assert!(answer.is_problem(&problem::UNAVAILABLE));
    assert_eq!(rig.call(&key, 1).await.unwrap().status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_late_answer_is_whole() {
    let rig = rig(ALWAYS).await;
    let key = which(|fault| matches!(fault, Fault::Late(late) if late.as_millis() < 60));
    let began = tokio::time::Instant::now();
    let answer = rig.call(&key, 1).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::CREATED, &b"done"[..]));
    assert!(began.elapsed().as_millis() >= 20);
}

#[tokio::test]
async fn what_is_refused_for_good_stays_so_and_is_listed() {
    let rig = rig(Settings { seed: 7, rate: 1.0, refusal_rate: 1.0 }).await;
    rig.faults.stop();
    let refused = key(1, Op::Compensate);
    for attempt in 1..=5 {
        let answer = rig.call(&refused, attempt).await.unwrap();
        assert!(answer.is_problem(&problem::BUSINESS_REFUSAL), "{answer:?}");
    }
    assert_eq!(rig.works(), 0);
    assert_eq!(rig.faults.refused(), [refused]);
    // Actions pass, and after the stop without any fault.
    for n in 0..20 {
        assert_eq!(rig.call(&key(n, Op::Action), 1).await.unwrap().status, StatusCode::CREATED);
    }
    assert_eq!(rig.faults.counts().refused, 5);
}

#[tokio::test]
async fn without_a_step_key_nothing_is_met() {
    let rig = rig(ALWAYS).await;
    for _ in 0..20 {
        let request = Request::post(&rig.server.base, "/saga/x", &1).key("no step");
        assert_eq!(rig.client.send(&request).await.unwrap().status, StatusCode::CREATED);
    }
}
