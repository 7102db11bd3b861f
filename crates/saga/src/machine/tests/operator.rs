//! What people may do, and when it is too late.

use serde_json::{Value, json};

use super::super::{Answer, Conflict, Input, Phase, Status};
use super::script::{Script, act, done, place_order, refused, unknown, with_pivot};

fn phase(script: &Script, name: &str) -> Phase {
    script.saga.step(script.index(name)).expect("a step").phase
}

#[test]
fn cancel_at_each_state() {
    let cancel = |script: Script| {
        let script = script.input(Input::Cancel(act()));
        (script.answer.expect("an answer"), script.status())
    };
    assert_eq!(cancel(Script::queued(place_order()).commit()), (Answer::Accepted, Status::Compensated));
    assert_eq!(cancel(Script::running(place_order())), (Answer::Accepted, Status::Compensating));
    let held = Script::running(place_order()).done(&["order"]).input(Input::Hold(act()));
    assert_eq!(cancel(held), (Answer::Accepted, Status::Compensating));
    let compensating = Script::running(place_order()).done(&["order"]).says("payment", refused("no"));
    assert_eq!(cancel(compensating), (Answer::Unchanged, Status::Compensating));
    let past = Script::running(place_order()).done(&["order", "payment", "stock"]);
    assert_eq!(cancel(past), (Answer::Conflict(Conflict::CommitPointPassed), Status::Running));
    let completed = Script::running(with_pivot()).done(&["order"]).commit().done(&["payment", "shipping"]);
    assert_eq!(cancel(completed), (Answer::Conflict(Conflict::Settled(Status::Completed)), Status::Completed));
    let compensated = Script::running(place_order()).says("order", refused("no"));
    assert_eq!(cancel(compensated), (Answer::Unchanged, Status::Compensated));
}

#[test]
fn a_cancelled_queue_makes_no_calls() {
    let script = Script::queued(place_order()).commit().input(Input::Cancel(act())).commit();
    assert!(!script.text.contains("->"), "{}", script.text);
    let script = script.input(Input::Admit);
    assert_eq!(script.answer, Some(Answer::Conflict(Conflict::NotPending)));
}

#[test]
fn an_admitted_saga_calls_once_that_is_durable() {
    let script = Script::queued(place_order()).commit().input(Input::Admit);
    assert!(!script.text.contains("->"));
    assert!(script.urgent);
    let script = script.commit();
    assert!(script.text.contains("-> order action #1"));
}

#[test]
fn a_held_saga_sends_nothing_and_its_time_stands_still() {
    let script = Script::running(place_order()).input(Input::Hold(act())).done(&["order"]).after(120_000);
    assert_eq!((phase(&script, "payment"), script.status()), (Phase::Waiting, Status::Running));
    let script = script.input(Input::Hold(act()));
    assert_eq!(script.answer, Some(Answer::Unchanged));
    let script = script.input(Input::Release(act()));
    assert!(script.urgent);
    let script = script.commit();
    assert_eq!((phase(&script, "payment"), script.status()), (Phase::Asked, Status::Running));
}

#[test]
fn a_revoked_permission_stops_the_way_forward_but_not_the_way_back() {
    let revoke = || Input::PermissionRevoked { permission: "order.place".to_owned() };
    let script = Script::running(place_order()).done(&["order"]).says("payment", unknown()).input(revoke()).commit();
    assert_eq!(script.status(), Status::Compensating);
    assert_eq!(script.saga.cause().expect("a cause").name(), "permission");
    assert_eq!(script.undone(&["payment", "order"]).status(), Status::Compensated);
    let past = Script::running(with_pivot()).done(&["order"]).input(revoke());
    assert_eq!(past.answer, Some(Answer::Conflict(Conflict::CommitPointPassed)));
}

#[test]
fn a_voided_step_is_compensated_first_and_its_late_action_changes_nothing() {
    let void = || Input::Void { step: 1, act: act() };
    let script = Script::running(place_order()).done(&["order"]).says("payment", unknown()).input(void());
    assert_eq!(phase(&script, "payment"), Phase::Voiding);
    assert!(!script.text.contains("compensate"), "the act itself must be durable first");
    let script = script.commit();
    assert!(script.text.contains("-> payment compensate unknown #1"));
    let script = script.input(void());
    assert_eq!(script.answer, Some(Answer::Unchanged));
    let script = script.says("payment", done(Value::Null)).undone(&["payment"]).commit();
    assert_eq!((phase(&script, "payment"), phase(&script, "stock")), (Phase::Voided, Phase::Asked));
}

#[test]
fn a_step_that_may_have_been_done_and_cannot_be_taken_back_is_not_left_out() {
    let script = Script::running(with_pivot()).done(&["order"]).commit().input(Input::Void { step: 1, act: act() });
    assert_eq!(script.answer, Some(Answer::Conflict(Conflict::NoCompensation)));
    let script = script.input(Input::Void { step: 2, act: act() });
    assert_eq!(script.answer, Some(Answer::Accepted), "it was not asked yet");
    assert_eq!(script.done(&["payment"]).status(), Status::Completed);
}

#[test]
fn a_step_left_out_early_does_not_let_its_dependents_run_ahead() {
    let script = Script::running(place_order()).input(Input::Void { step: 2, act: act() }).commit();
    assert_eq!((phase(&script, "stock"), phase(&script, "commit")), (Phase::Voided, Phase::Waiting));
    assert_eq!(script.saga.commit_point(), None);
}

#[test]
fn an_assumed_step_is_taken_back_as_unknown() {
    let assume = |output| Input::AssumeDone { step: 0, output, act: act() };
    let script = Script::running(place_order()).says("order", unknown()).input(assume(json!({ "id": 7 }))).commit();
    assert_eq!((phase(&script, "order"), phase(&script, "payment")), (Phase::Done, Phase::Asked));
    let script = script.input(assume(Value::Null));
    assert_eq!(script.answer, Some(Answer::Unchanged));
    let script = script.says("payment", refused("no")).commit();
    assert!(script.text.contains("-> order compensate unknown #1"), "{}", script.text);
}

#[test]
fn what_comes_after_may_have_been_sent_with_the_real_output() {
    let script = Script::running(place_order()).done(&["order"]).crash(2);
    for input in [Input::Void { step: 0, act: act() }, Input::AssumeDone { step: 0, output: Value::Null, act: act() }] {
        assert_eq!(
            Script::running(place_order()).done(&["order"]).crash(2).input(input).answer,
            Some(Answer::Conflict(Conflict::DependentsSent))
        );
    }
    assert_eq!(script.input(Input::Cancel(act())).answer, Some(Answer::Accepted));
}

#[test]
fn by_hand_ends_what_is_parked() {
    let parked = || {
        Script::running(place_order())
            .done(&["order"])
            .says("payment", refused("no"))
            .commit()
            .undo_says("order", refused("locked"))
            .wake()
            .undo_says("order", refused("locked"))
            .commit()
    };
    assert_eq!(parked().status(), Status::Failed);
    let resolved = parked().input(Input::Resolve { step: Some(0), act: act() }).commit();
    assert_eq!(resolved.status(), Status::Compensated);
    assert_eq!(resolved.text.matches("reported").count(), 2, "the second end is reported too");
    let none = parked().input(Input::Resolve { step: Some(1), act: act() });
    assert_eq!(none.answer, Some(Answer::Conflict(Conflict::NotParked)));
    let nowhere = parked().input(Input::Resolve { step: Some(64), act: act() });
    assert_eq!(nowhere.answer, Some(Answer::Conflict(Conflict::NoSuchStep)));
}

#[test]
fn a_retry_skips_the_pauses_and_is_idle_where_nothing_waits() {
    let script = Script::running(place_order()).says("order", unknown()).input(Input::Retry(act())).commit();
    assert!(script.text.contains("-> order action #2"));
    let script = script.input(Input::Retry(act()));
    assert_eq!(script.answer, Some(Answer::Unchanged));
}

#[test]
fn acts_on_settled_sagas_conflict() {
    let settled = || Script::running(place_order()).says("order", refused("no"));
    for input in [
        Input::Hold(act()),
        Input::Retry(act()),
        Input::Void { step: 0, act: act() },
        Input::AssumeDone { step: 0, output: Value::Null, act: act() },
        Input::Resolve { step: None, act: act() },
    ] {
        let script = settled().input(input);
        assert_eq!(script.answer, Some(Answer::Conflict(Conflict::Settled(Status::Compensated))));
    }
}
