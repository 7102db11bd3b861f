//! Tables, properties, and the long outage.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use steadfast_core::{Op, SagaId, StepKey};
use tokio::time::Instant;

use super::gate::{Gate, Limits, Permit};
use super::queue::Queue;
use super::state::{Admission, Class, DOUBTFUL_MAX, FAILURES, PAUSE_MAX, PROBE_EVERY, SPREAD_MAX, Signal, State};

const fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn goes(state: &mut State, now: Duration, class: Class, call: u64) -> bool {
    !matches!(state.admit(now, class, call, 0), Admission::Away(_))
}

fn fail(state: &mut State, now: Duration, times: u32) {
    for call in 0..times {
        state.ended(now, u64::from(call) + 1_000_000, Signal::Unsent);
    }
}

#[test]
fn failures_in_a_row_close_the_way_and_an_answer_opens_it() {
    let mut state = State::new();
    fail(&mut state, at(0), FAILURES - 1);
    state.ended(at(0), 1, Signal::Answered);
    fail(&mut state, at(0), FAILURES - 1);
    assert!(!state.is_down() && goes(&mut state, at(0), Class::Action, 2));
    state.ended(at(10), 2, Signal::Doubtful);
    assert!(state.is_down());
    for (now, may) in [(10, false), (1_009, false), (1_010, true), (1_011, false), (2_009, false), (2_010, true)] {
        assert_eq!(goes(&mut state, at(now), Class::Compensation, 3), may, "{now}");
    }
    state.ended(at(2_020), 3, Signal::Answered);
    assert!(
        !state.is_down()
            && goes(&mut state, at(2_020), Class::Action, 4)
            && goes(&mut state, at(2_020), Class::Action, 5)
    );
}

#[test]
fn a_pause_holds_for_all_but_not_for_ever() {
    let mut state = State::new();
    state.ended(at(0), 1, Signal::Pause(at(5_000)));
    state.ended(at(0), 2, Signal::Pause(at(1_000)));
    assert!(
        !goes(&mut state, at(4_999), Class::Compensation, 3) && goes(&mut state, at(5_000), Class::Compensation, 3)
    );
    state.ended(at(6_000), 1, Signal::Pause(Duration::from_hours(24)));
    assert!(state.is_away(), "also between two pauses");
    state.ended(at(6_001), 4, Signal::Answered);
    assert!(!state.is_away());
    assert!(!goes(&mut state, at(5_999) + PAUSE_MAX, Class::Action, 3));
    assert!(goes(&mut state, at(6_000) + PAUSE_MAX, Class::Action, 3));
}

#[test]
fn retries_are_a_tenth_of_the_answers_and_never_none() {
    let mut state = State::new();
    let doubt = |state: &mut State, now, call| {
        state.ended(now, call, Signal::Doubtful);
        state.ended(now, 0, Signal::Answered);
    };
    let spent = (1..=100).filter(|call| {
        doubt(&mut state, at(0), *call);
        goes(&mut state, at(0), Class::Action, *call)
    });
    // The floor of 10, of which 2 are kept for compensations, and a tenth of 100 answers.
    assert_eq!(spent.count(), 18);
    doubt(&mut state, at(0), 200);
    assert!(!goes(&mut state, at(0), Class::Action, 200));
    assert!(goes(&mut state, at(0), Class::Compensation, 200));
    assert!(goes(&mut state, at(0), Class::Action, 201), "no retry: it was not sent before");
    assert!(goes(&mut state, at(10_000), Class::Action, 200), "time alone allows some");
    state.ended(at(10_000), 200, Signal::Answered);
    for _ in 0..100 {
        assert!(goes(&mut state, at(10_000), Class::Action, 200), "answered: no retry any more");
    }
}

#[test]
fn a_lone_saga_can_always_retry() {
    let mut state = State::new();
    let mut now = at(0);
    for _ in 0..200 {
        now += at(1_500);
        assert!(goes(&mut state, now, Class::Action, 1));
        state.ended(now, 1, Signal::Doubtful);
    }
}

#[test]
fn calls_in_doubt_are_remembered_within_bounds() {
    let mut state = State::new();
    for call in 0..(DOUBTFUL_MAX as u64 * 2 + 10) {
        state.ended(at(0), call, Signal::Doubtful);
        state.ended(at(0), u64::MAX, Signal::Answered);
    }
    assert!(state.doubts() <= DOUBTFUL_MAX);
}

/// Down for 20 minutes, 50,000 sagas waiting. Four million decisions: about a second.
#[test]
fn a_long_outage_costs_a_call_a_second_and_its_end_is_noticed_by_all() {
    const SAGAS: u64 = 50_000;
    let (down, mut random) = (Duration::from_mins(20), fastrand::Rng::with_seed(4));
    let mut state = State::new();
    let mut waiting: BinaryHeap<_> = (0..SAGAS).map(|saga| Reverse((at(saga / 50), saga))).collect();
    let (mut calls, mut asked, mut done_at) = (Vec::new(), 0_u64, Duration::ZERO);
    while let Some(Reverse((now, saga))) = waiting.pop() {
        asked += u64::from(now < down);
        match state.admit(now, Class::Action, saga, random.u64(..)) {
            Admission::Go | Admission::Trial if now < down => {
                calls.push(now);
                state.ended(now, saga, Signal::Unsent);
                waiting.push(Reverse((now + at(100), saga)));
            }
            Admission::Go | Admission::Trial => {
                state.ended(now, saga, Signal::Answered);
                done_at = now;
            }
            Admission::Away(pause) => {
                assert!(pause.length <= PROBE_EVERY + SPREAD_MAX && pause.length > Duration::ZERO);
                waiting.push(Reverse((now + pause.length, saga)));
            }
        }
    }
    let (first, rest) = calls.split_at(FAILURES as usize);
    assert!(first.iter().all(|call| *call < at(1_000)));
    assert!(rest.windows(2).all(|pair| pair[1] >= pair[0] + PROBE_EVERY));
    assert!(calls.len() > 1_100, "it is asked all the time: {}", calls.len());
    assert!(asked < 20 * 60 * 5_000, "the waiting itself is cheap: {asked}");
    assert!(done_at < down + PROBE_EVERY * 2 + SPREAD_MAX, "{done_at:?}");
}

/// The same without a crowd to share it: ten sagas, and a participant that takes every call and answers none well. What
/// opened the breaker costs an attempt, the 1,200 trials do not.
#[test]
fn an_outage_that_only_a_few_wait_out_costs_none_of_them_its_attempts() {
    const SAGAS: usize = 10;
    let (down, mut random) = (Duration::from_mins(20), fastrand::Rng::with_seed(5));
    let mut state = State::new();
    let mut waiting: BinaryHeap<_> = (0..SAGAS).map(|saga| Reverse((at(0), saga))).collect();
    let (mut spent, mut trials, mut done) = ([0; SAGAS], 0, 0);
    while let Some(Reverse((now, saga))) = waiting.pop() {
        let call = saga as u64;
        match state.admit(now, Class::Action, call, random.u64(..)) {
            Admission::Away(pause) => waiting.push(Reverse((now + pause.length, saga))),
            Admission::Go | Admission::Trial if now >= down => {
                state.ended(now, call, Signal::Answered);
                done += 1;
            }
            admitted => {
                let trial = admitted == Admission::Trial;
                trials += u32::from(trial);
                spent[saga] += u32::from(!trial);
                state.ended(now + at(20), call, Signal::Doubtful);
                waiting.push(Reverse((now + at(120), saga)));
            }
        }
    }
    assert_eq!(done, SAGAS);
    assert!(spent.iter().all(|attempts| *attempts <= 1), "{spent:?}");
    assert!((1_000..=1_200).contains(&trials), "{trials}");
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Ask { call: u64, compensation: bool },
    End { call: u64, signal: Signal },
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let signal = prop_oneof![
        4 => Just(Signal::Doubtful),
        4 => Just(Signal::Unsent),
        2 => Just(Signal::Answered),
        1 => (0_u64..100_000).prop_map(|millis| Signal::Pause(at(millis))),
        1 => Just(Signal::Neutral),
    ];
    prop_oneof![
        5 => (0_u64..20, any::<bool>()).prop_map(|(call, compensation)| Event::Ask { call, compensation }),
        3 => (0_u64..20, signal).prop_map(|(call, signal)| Event::End { call, signal }),
        2 => (0_u64..3_000).prop_map(Event::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_pauses_end_and_the_bounds_hold(
        events in proptest::collection::vec(event(), 1..300),
        seed in any::<u64>(),
    ) {
        let (mut state, mut random) = (State::new(), fastrand::Rng::with_seed(seed));
        let mut now = at(0);
        let mut while_down: Option<Duration> = None;
        let (mut retries, mut answers) = (0_u64, 0_u64);
        for event in events {
            match event {
                Event::Pass(millis) => now += at(millis),
                Event::End { call, signal } => {
                    answers += u64::from(signal == Signal::Answered);
                    state.ended(now, call, signal);
                }
                Event::Ask { call, compensation } => {
                    let class = if compensation { Class::Compensation } else { Class::Action };
                    let (down, retry) = (state.is_down(), state.is_doubtful(call));
                    match state.admit(now, class, call, random.u64(..)) {
                        Admission::Trial => {
                            prop_assert!(down);
                            prop_assert!(while_down.is_none_or(|last| now >= last + PROBE_EVERY));
                            while_down = Some(now);
                        }
                        Admission::Go => {
                            prop_assert!(!down);
                            retries += u64::from(retry);
                        }
                        Admission::Away(pause) => {
                            prop_assert!(pause.length > Duration::ZERO);
                            prop_assert!(pause.length <= PAUSE_MAX + SPREAD_MAX);
                        }
                    }
                }
            }
            // In thousandths of a retry: the floor, what time adds to it, and a tenth of the answers.
            let allowed = u128::from(10_000 + answers * 100) + now.as_millis() * 5;
            prop_assert!(u128::from(retries) * 1_000 <= allowed, "{retries} retries, {allowed} thousandths allowed");
        }
        // Left alone for long enough, anyone may go.
        now += PAUSE_MAX + SPREAD_MAX;
        prop_assert!(!matches!(state.admit(now, Class::Action, 1, random.u64(..)), Admission::Away(_)));
    }
}

#[test]
fn compensations_go_first_and_each_class_in_order() {
    let mut queue = Queue::new(2);
    for (class, number) in [(Class::Action, 1), (Class::Compensation, 2), (Class::Action, 3), (Class::Compensation, 4)]
    {
        queue.push(class, number).unwrap();
    }
    assert_eq!((queue.push(Class::Action, 5), queue.push(Class::Compensation, 6)), (Err(5), Err(6)));
    assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [2, 4, 1, 3]);
}

fn key(op: Op) -> StepKey {
    StepKey { saga: SagaId::derive("a", "b", "c"), step: "pay".into(), op }
}

async fn enter(gate: &std::sync::Arc<Gate>, class: Class, patience: Duration) -> Option<Permit> {
    gate.enter(class, &key(Op::Action), Instant::now(), patience).await.ok()
}

const LONG: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_slot_goes_to_the_compensation_that_waits() {
    let gate = Gate::new(Limits { concurrency: 1, queue: 8 });
    let held = enter(&gate, Class::Action, LONG).await.unwrap();
    let mut action = Box::pin(enter(&gate, Class::Action, LONG));
    let mut compensation = Box::pin(enter(&gate, Class::Compensation, LONG));
    assert!((&mut action).now_or_never().is_none() && (&mut compensation).now_or_never().is_none());
    assert_eq!(gate.load(), (1, 2, false));
    held.finish(Signal::Answered);
    assert!((&mut action).now_or_never().is_none());
    let permit = compensation.await.unwrap();
    drop(permit);
    drop(action.await.unwrap());
    assert_eq!(gate.load(), (0, 0, false));
}

#[tokio::test]
async fn who_waits_too_long_or_finds_no_place_is_turned_away() {
    let gate = Gate::new(Limits { concurrency: 1, queue: 1 });
    let held = enter(&gate, Class::Action, LONG).await.unwrap();
    let mut waiting = Box::pin(enter(&gate, Class::Action, LONG));
    assert!((&mut waiting).now_or_never().is_none());
    let full = gate.enter(Class::Action, &key(Op::Action), Instant::now(), LONG).await.unwrap_err();
    assert!(full.length >= Duration::from_secs(1), "{full:?}");
    let start = Instant::now();
    let late = gate.enter(Class::Compensation, &key(Op::Compensate), start, Duration::from_millis(20)).await;
    assert!(late.is_err() && start.elapsed() >= Duration::from_millis(20));
    drop(held);
    assert!(waiting.await.is_some());
}

#[tokio::test]
async fn all_who_wait_hear_at_once_that_the_participant_is_down() {
    let gate = Gate::new(Limits { concurrency: 5, queue: 1_000 });
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(enter(&gate, Class::Action, LONG).await.unwrap());
    }
    let start = Instant::now();
    let all = futures_util::future::join_all((0..500).map(|_| enter(&gate, Class::Action, LONG)));
    let failing = async {
        for permit in held {
            permit.finish(Signal::Unsent);
        }
    };
    let (heard, ()) = tokio::join!(all, failing);
    // The first four slots to come free were handed over before the fifth failure.
    assert!(heard.iter().flatten().count() <= 4, "{}", heard.iter().flatten().count());
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(heard);
    assert_eq!(gate.load(), (0, 0, true));
}

/// Calls that are dropped at any moment, also in that of the hand-over, lose no slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_slot_is_ever_lost() {
    let gate = Gate::new(Limits { concurrency: 3, queue: 10_000 });
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..2_000_u64 {
        let gate = std::sync::Arc::clone(&gate);
        tasks.spawn(async move {
            let class = if number % 3 == 0 { Class::Compensation } else { Class::Action };
            let patience = Duration::from_micros(number % 700);
            let work = async {
                if let Some(permit) = enter(&gate, class, LONG).await {
                    assert!(gate.load().0 <= 3);
                    tokio::task::yield_now().await;
                    permit.finish(Signal::Answered);
                }
            };
            let _ = tokio::time::timeout(patience, work).await;
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(gate.load().0, 0);
    for _ in 0..3 {
        std::mem::forget(enter(&gate, Class::Action, LONG).await.unwrap());
    }
}
