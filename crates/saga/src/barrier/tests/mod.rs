//! The barrier against real databases: each case of the protocol, races, crashes, pruning and random histories, the same
//! on every backend. A PostgreSQL test makes a database of its own, which takes most of its time.

mod cases;
mod endings;
mod histories;
mod horizon;
#[cfg(feature = "postgres")]
mod measure;
#[cfg(feature = "postgres")]
mod postgres;
mod races;
mod sqlite;

use std::time::Duration;

use serde_json::json;
use steadfast_core::{Op, SagaId, problem};

use super::*;
use crate::Error;

pub(super) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_001_000);
pub(super) const BODY: &[u8] = br#"{"amount":1299}"#;

/// A participant's database with a table of effects.
pub(super) trait Ground: Send + Sync + 'static {
    type Sql: Backend;
    type Handle: steadfast_db::Backend<Sql = Self::Sql>;

    fn open() -> impl Future<Output = Self> + Send
    where
        Self: Sized;
    fn db(&self) -> &Self::Handle;
    /// Another process on the same database.
    fn reopen(&self) -> impl Future<Output = Self::Handle> + Send;
    fn write<'t>(tx: &'t mut Transaction<'static, Self::Sql>, what: &str) -> BoxFuture<'t, Result<(), Error>>;
    fn effects(&self, call: &Call) -> impl Future<Output = i64> + Send;
    fn rows(&self) -> impl Future<Output = i64> + Send;
}

pub(super) fn call(saga: &str, op: Op) -> Call {
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

pub(super) fn action(saga: &str) -> Call {
    call(saga, Op::Action)
}

pub(super) fn compensation(saga: &str, knowledge: Knowledge) -> Call {
    Call { knowledge: Some(knowledge), ..call(saga, Op::Compensate) }
}

/// Work that writes one effect and answers `answer`.
pub(super) fn work<G: Ground>(
    call: &Call,
    answer: Answer,
) -> impl for<'t> FnMut(&'t mut Transaction<'static, G::Sql>) -> BoxFuture<'t, Result<Answer, Error>> + Send + use<G> {
    let what = call.key.to_string();
    move |tx| {
        let (written, answer) = (G::write(tx, &what), answer.clone());
        Box::pin(async move {
            written.await?;
            Ok(answer)
        })
    }
}

/// Makes a call as the orchestrator does, which asks again while another call of the step is in flight.
pub(super) async fn make_on<G: Ground>(db: &G::Handle, call: &Call, route: Route, answer: Answer) -> Answer {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answer = run(db, call, route, BODY, NOW, work::<G>(call, answer.clone())).await.unwrap();
        if !is_in_flight(&answer) {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "the step never became free: {call:?}");
        tokio::task::yield_now().await;
    }
}

pub(super) fn is_in_flight(answer: &Answer) -> bool {
    answer.problem_code().as_deref() == Some(problem::IN_FLIGHT.code)
}

pub(super) async fn make<G: Ground>(ground: &G, call: &Call, route: Route, answer: Answer) -> Answer {
    make_on::<G>(ground.db(), call, route, answer).await
}

/// Enters, as often as it takes for the step to be free.
pub(super) async fn pass<'t, G: Ground>(ground: &G, call: &Call) -> Option<(Transaction<'t, G::Sql>, Pass)> {
    for _ in 0..10_000 {
        let mut tx = steadfast_db::Backend::begin(ground.db()).await.unwrap();
        match enter(&mut tx, call, BODY, NOW).await.unwrap() {
            Entered::Run(pass) => return Some((tx, pass)),
            Entered::Answered { answer, .. } if is_in_flight(&answer) => {
                tokio::task::yield_now().await;
            }
            Entered::Answered { .. } => return None,
        }
    }
    panic!("the step never became free");
}

pub(super) fn ok() -> Answer {
    Answer::json(201, &json!({"payment": "p-1"}))
}

pub(super) fn refusal() -> Answer {
    Answer::problem(&problem::BUSINESS_REFUSAL.with("the card is not covered"))
}

macro_rules! suite {
    ($($module:ident::$case:ident;)+) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$module::$case::<super::sqlite::OnSqlite>().await;
                }
            )+
        }

        #[cfg(feature = "postgres")]
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$module::$case::<super::postgres::OnPostgres>().await;
                }
            )+
        }
    };
}

suite! {
    cases::a_repeat_gets_the_stored_answer_and_no_second_effect;
    cases::a_body_and_a_content_type_of_any_kind_are_kept;
    cases::another_body_for_the_same_step_is_an_alarm_and_never_a_refusal;
    cases::steps_sagas_and_ops_do_not_meet_each_other;
    cases::an_early_compensation_voids_the_action;
    cases::a_compensation_of_a_done_action_that_is_not_here_is_refused_and_leaves_no_trace;
    cases::a_done_action_is_compensated_once;
    endings::a_refusal_takes_its_writes_back_is_stored_and_needs_no_compensation;
    endings::a_refusal_in_the_callers_own_transaction_takes_back_only_the_work;
    endings::several_calls_share_a_transaction;
    endings::retriable_steps_and_compensations_are_never_refused_for_good;
    endings::passing_troubles_are_answered_but_not_remembered;
    endings::a_conflict_runs_the_work_again_and_a_bug_does_not;
    endings::a_crash_before_the_commit_leaves_nothing_and_the_call_runs_again;
    endings::work_that_fails_does_not_leave_its_step_in_flight;
    endings::work_that_panics_leaves_nothing_and_the_next_call_runs;
    races::of_sixty_four_at_once_one_takes_effect;
    races::of_three_processes_one_takes_effect;
    races::action_and_compensation_at_once_leave_both_or_neither;
    races::a_second_row_for_one_effect_is_impossible;
    horizon::behind_the_horizon_a_missing_row_is_too_late_and_a_stored_one_still_answers;
    horizon::pruning_removes_only_what_lies_behind_the_horizon_in_batches;
    histories::random_histories_keep_the_promises;
}
