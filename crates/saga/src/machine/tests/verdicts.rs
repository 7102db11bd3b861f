//! What a verdict costs and where it leads.

use std::time::Duration;

use serde_json::Value;
use steadfast_core::{Knowledge, Op, Timestamp};

use super::super::{Cause, Input, Kind, Phase, Plan, Saga, Status, Trouble, Verdict, Why};
use super::script::{
    Script, act, done, free, misconfigured, not_sent, place_order, refused, refused_for_good, step, unknown, with_pivot,
};

fn phase(script: &Script, name: &str) -> Phase {
    script.saga.step(script.index(name)).expect("a step").phase
}

fn spent(script: &Script, name: &str) -> u32 {
    script.saga.step(script.index(name)).expect("a step").attempts
}

#[test]
fn what_each_verdict_costs() {
    for (verdict, costs) in [(unknown(), 1), (free(), 0), (not_sent(), 0), (misconfigured(), 0)] {
        let script = Script::running(place_order()).says("order", verdict.clone());
        assert_eq!(spent(&script, "order"), costs, "{verdict:?}");
        assert_eq!(script.status(), Status::Running);
    }
}

#[test]
fn what_is_free_costs_after_one_attempts_timeout() {
    let mut script = Script::running(place_order());
    for _ in 0..3 {
        script = script.says("order", free()).wake();
        assert_eq!(spent(&script, "order"), 0);
    }
    script.now = 6_000;
    let script = script.says("order", free());
    assert_eq!(spent(&script, "order"), 1);
}

#[test]
fn the_wish_of_a_participant_is_kept_within_reason() {
    let wish = |seconds| Verdict::Unknown {
        free: true,
        retry_after: Some(Duration::from_secs(seconds)),
        detail: String::new(),
    };
    let next = |verdict| Script::running(place_order()).says("order", verdict).saga.step(0).expect("a step").next_at;
    assert_eq!(next(wish(7)), Some(Timestamp::from_millis(7_010)));
    assert_eq!(next(wish(100_000)), Some(Timestamp::from_millis(300_010)));
}

#[test]
fn a_refusal_means_nothing_done_only_without_an_earlier_attempt() {
    let first = Script::running(place_order()).says("order", refused("no"));
    assert_eq!((phase(&first, "order"), first.status()), (Phase::Refused, Status::Compensated));

    let after_doubt = Script::running(place_order()).says("order", unknown()).wake().says("order", refused("no"));
    assert_eq!((phase(&after_doubt, "order"), after_doubt.status()), (Phase::RefusedInDoubt, Status::Compensating));

    let stored = Script::running(place_order()).says("order", unknown()).wake().says("order", refused_for_good("no"));
    assert_eq!((phase(&stored, "order"), stored.status()), (Phase::Refused, Status::Compensated));

    let not_sent = Script::running(place_order()).says("order", not_sent()).wake().says("order", refused("no"));
    assert_eq!((phase(&not_sent, "order"), not_sent.status()), (Phase::Refused, Status::Compensated));
}

#[test]
fn a_stored_refusal_without_a_barrier_is_not_believed() {
    let mut steps = place_order();
    steps[0].barrier = false;
    let script = Script::running(steps).says("order", unknown()).wake().says("order", refused_for_good("no"));
    assert_eq!(phase(&script, "order"), Phase::RefusedInDoubt);
}

#[test]
fn a_refusal_after_a_crash_is_in_doubt() {
    let script = Script::running(place_order()).crash(1).says("order", refused("no"));
    assert_eq!(phase(&script, "order"), Phase::RefusedInDoubt);
}

#[test]
fn misconfigured_waits_for_the_sagas_timeout_then_compensates() {
    let script = Script::running(place_order()).says("order", misconfigured());
    assert_eq!(script.saga.step(0).expect("a step").trouble, Some(Trouble::Misconfigured));
    let script = script.after(59_000);
    assert_eq!(script.status(), Status::Running);
    let script = script.after(1_000);
    assert_eq!(script.saga.cause(), Some(&Cause::Misconfigured { step: 0 }));
}

#[test]
fn misconfigured_past_the_commit_point_parks() {
    let script = Script::running(with_pivot())
        .done(&["order"])
        .commit()
        .says("payment", misconfigured())
        .wake()
        .says("payment", misconfigured());
    assert_eq!(script.status(), Status::Failed);
    let view = script.saga.step(1).expect("a step");
    assert_eq!(view.parked, Some((Op::Action, &Why::Misconfigured)));
    assert_eq!(script.saga.effects_left(&script.plan).iter().map(|left| left.step).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn an_output_that_does_not_map_parks_and_a_retry_asks_again() {
    let fault = Verdict::Done { output: Value::Null, fault: Some("body.id".to_owned()) };
    let script = Script::running(place_order()).says("order", fault).commit();
    assert_eq!(script.status(), Status::Failed);
    let left = script.saga.effects_left(&script.plan);
    assert!(left[0].certain && left[0].step == 0 && left.len() == 1);
    let script = script.input(Input::Retry(act())).commit().done(&["order"]);
    assert_eq!((phase(&script, "order"), phase(&script, "payment")), (Phase::Done, Phase::Asked));
}

#[test]
fn a_pivot_refused_after_doubt_is_for_the_probe_or_an_operator() {
    let doubted = |probe, barrier| {
        let mut steps = with_pivot();
        steps[1].probe = probe;
        steps[1].barrier = barrier;
        let script = Script::running(steps).done(&["order"]).commit().says("payment", unknown()).wake();
        let script = if probe { script.says("payment", Verdict::Absent) } else { script };
        script.says("payment", refused_for_good("no"))
    };
    let guarded = doubted(false, true);
    assert_eq!((phase(&guarded, "payment"), guarded.status()), (Phase::Refused, Status::Compensating));

    let asked = doubted(true, false);
    assert_eq!((phase(&asked, "payment"), asked.status()), (Phase::Asked, Status::Running));
    let asked = asked.says("payment", Verdict::Absent);
    assert_eq!((phase(&asked, "payment"), asked.status()), (Phase::Refused, Status::Compensating));

    let found = doubted(true, false).says("payment", done(Value::Null));
    assert_eq!(phase(&found, "payment"), Phase::Done);

    let nobody = doubted(false, false);
    assert_eq!(nobody.status(), Status::Failed);
    let resolved = nobody.input(Input::Resolve { step: None, act: act() });
    assert_eq!((phase(&resolved, "payment"), resolved.status()), (Phase::Refused, Status::Compensating));
}

#[test]
fn retriable_steps_and_the_commit_point_are_asked_for_ever() {
    let mut script = Script::running(with_pivot()).done(&["order"]).commit();
    for _ in 0..50 {
        script = script.says("payment", unknown()).wake();
    }
    assert!(script.saga.is_deciding());
    script = script.done(&["payment"]).commit();
    for _ in 0..50 {
        script = script.says("shipping", unknown()).wake();
    }
    assert_eq!(script.status(), Status::Running);
}

#[test]
fn a_compensation_that_was_not_sent_is_sent_for_ever_and_one_without_its_action_parks_at_once() {
    let mut script = Script::running(place_order()).done(&["order"]).says("payment", refused("no")).commit();
    for _ in 0..50 {
        script = script.undo_says("order", not_sent()).wake();
    }
    assert_eq!(script.status(), Status::Compensating);
    let script = script.undo_says("order", refused("action-not-found"));
    assert_eq!(script.saga.step(0).expect("a step").parked, Some((Op::Compensate, &Why::ActionNotFound)));
    assert_eq!(script.status(), Status::Failed);
}

#[test]
fn a_request_that_cannot_be_rendered_turns_back_or_parks() {
    let fault = || Verdict::Unrenderable { detail: "no x".to_owned() };
    let before = Script::running(place_order()).done(&["order"]).says("payment", fault());
    assert_eq!(before.saga.cause(), Some(&Cause::Fault { step: 1, detail: "no x".to_owned() }));
    let after = Script::running(place_order()).done(&["order", "payment", "stock"]).commit().says("commit", fault());
    assert!(matches!(after.saga.step(3).expect("a step").parked, Some((Op::Action, Why::Request { .. }))));
}

#[test]
fn siblings_in_flight_end_before_they_are_compensated() {
    let steps = vec![
        step("a", Kind::Compensatable, &[]),
        step("b", Kind::Compensatable, &[]),
        step("c", Kind::Compensatable, &[0, 1]),
    ];
    let script = Script::running(steps).says("a", refused("no")).commit();
    assert_eq!(script.status(), Status::Compensating);
    assert_eq!(phase(&script, "b"), Phase::Asked);
    // It ends well: its compensation may say so once that is durable.
    let script = script.done(&["b"]);
    assert_eq!(phase(&script, "b"), Phase::Done);
    let script = script.commit();
    assert_eq!(script.saga.state.steps[1].knowledge, Some(Knowledge::Done));
    assert_eq!(script.undone(&["b"]).status(), Status::Compensated);
}

#[test]
fn a_sibling_that_does_not_answer_is_given_up_at_its_attempts_deadline() {
    let steps = vec![step("a", Kind::Compensatable, &[]), step("b", Kind::Compensatable, &[])];
    let script = Script::running(steps).says("a", refused("no")).commit().after(5_000);
    assert_eq!(script.saga.state.steps[1].knowledge, None);
    let script = script.after(1_000);
    assert_eq!(script.saga.state.steps[1].knowledge, Some(Knowledge::Unknown));
}

#[test]
fn a_call_that_waits_for_its_turn_is_not_given_up() {
    let until = Timestamp::from_millis(60_000);
    let script = Script::running(place_order());
    let deferred = script.input(Input::Deferred { step: 0, op: Op::Action, attempt: 1, until }).after(50_000);
    assert_eq!((phase(&deferred, "order"), spent(&deferred, "order")), (Phase::Asked, 0));
}

#[test]
fn the_timeout_turns_back_before_the_commit_point_and_only_tells_after_it() {
    let before = Script::running(place_order()).done(&["order"]).after(60_000);
    assert_eq!(before.saga.cause(), Some(&Cause::Timeout));
    let after = Script::running(place_order()).done(&["order", "payment", "stock"]).commit().after(60_000);
    assert!(after.saga.is_overdue());
    assert_eq!(after.status(), Status::Running);
}

#[test]
fn a_steps_deadline_turns_back() {
    let mut steps = place_order();
    steps[0].deadline = Some(Duration::from_secs(3));
    let script = Script::running(steps).says("order", not_sent()).after(3_000);
    assert_eq!(script.saga.cause(), Some(&Cause::Deadline { step: 0 }));
    assert_eq!(script.status(), Status::Compensated, "it was surely not sent, so nothing is owed");
}

#[test]
fn conditions_skip_are_kept_and_fail_as_faults() {
    let mut steps = place_order();
    steps[1].conditional = true;
    let mut script = Script::running(steps.clone());
    script.when.0 = Ok(false);
    let mut script = script.done(&["order"]);
    assert_eq!((phase(&script, "payment"), phase(&script, "stock")), (Phase::Skipped, Phase::Asked));
    let durable = script.journal.len();
    script.when.0 = Ok(true);
    let script = script.crash(durable);
    assert_eq!(phase(&script, "payment"), Phase::Skipped, "evaluated once");

    let mut script = Script::running(steps);
    script.when.0 = Err("no field".to_owned());
    let script = script.done(&["order"]);
    assert_eq!(script.saga.cause(), Some(&Cause::Fault { step: 1, detail: "no field".to_owned() }));
}

#[test]
fn pauses_grow_and_differ() {
    let plan = Plan::new(place_order(), None, true).expect("a sound plan");
    let when = super::script::When(Ok(true));
    let mut pauses = Vec::new();
    for random in [0, 50_000] {
        let (mut saga, _) = Saga::start(&plan, &when, Timestamp::from_millis(0), random);
        saga.handle(&plan, &when, Input::Committed { entries: 1 }, Timestamp::from_millis(0), random);
        for attempt in 1..=4 {
            let verdict = Verdict::NotSent { retry_after: None, detail: String::new() };
            let now = Timestamp::from_millis(0);
            let input = Input::Verdict { step: 0, op: Op::Action, attempt, verdict };
            saga.handle(&plan, &when, input, now, random);
            let next = saga.step(0).expect("a step").next_at.expect("a pause");
            pauses.push(next.as_millis());
            saga.handle(&plan, &when, Input::Tick, next, random);
        }
    }
    assert_eq!(pauses, [50, 100, 200, 400, 75, 125, 225, 425]);
}
