//! What a request may read. Every attempt must be byte-equal, also those of another owner.

use serde_json::{Value, json};
use steadfast_core::Op;

use super::super::{Input, Kind, Verdict};
use super::script::{Script, act, done, place_order, step, unknown};

fn reads(script: &Script, step: usize, op: Op) -> Vec<usize> {
    let outputs = script.saga.outputs(&script.plan, step, op);
    (0..script.plan.steps().len()).filter(|&other| outputs.get(other).is_some()).collect()
}

#[test]
fn an_action_reads_what_it_comes_after() {
    let script = Script::running(place_order()).done(&["order", "payment"]);
    assert_eq!(reads(&script, 2, Op::Action), [0, 1]);
    assert_eq!(reads(&script, 1, Op::Action), [0]);
    assert_eq!(reads(&script, 0, Op::Action), [] as [usize; 0]);
}

#[test]
fn a_compensation_reads_its_own_output_where_it_knows_of_it() {
    let script = Script::running(place_order()).done(&["order"]).says("payment", unknown()).input(Input::Cancel(act()));
    assert_eq!(reads(&script.commit(), 1, Op::Compensate), [0]);
    let script = Script::running(place_order()).done(&["order", "payment"]).input(Input::Cancel(act()));
    assert_eq!(reads(&script.commit(), 1, Op::Compensate), [0, 1]);
}

#[test]
fn what_comes_in_after_the_decision_is_not_read_by_others() {
    // The payment may have been sent; the order is being asked again when the saga turns back.
    let script =
        Script::running(place_order()).done(&["order", "payment"]).crash(1).input(Input::Cancel(act())).commit();
    assert_eq!(reads(&script, 1, Op::Compensate), [] as [usize; 0]);
    let script = script.done(&["order"]);
    assert_eq!(reads(&script, 1, Op::Compensate), [] as [usize; 0], "its first attempt did not know of it");
    let script = script.commit().undone(&["stock", "payment"]);
    assert_eq!(reads(&script, 0, Op::Compensate), [0], "but the order's own compensation says that it is done");
}

#[test]
fn what_comes_in_after_a_step_was_left_out_is_not_read_either() {
    // Found by seed 747854: the payment may have been sent, and is left out while the order is asked again.
    let script = Script::running(place_order()).done(&["order"]).crash(1);
    let script = script.input(Input::Void { step: 2, act: act() }).commit();
    assert_eq!(reads(&script, 2, Op::Compensate), [] as [usize; 0]);
    let script = script.done(&["order"]);
    assert_eq!(reads(&script, 2, Op::Compensate), [] as [usize; 0]);
}

#[test]
fn an_output_that_is_asked_for_again_is_not_read_meanwhile() {
    // Found by seed 273480: parked for its output, tried again, and turned back in between.
    let steps = vec![step("a", Kind::Compensatable, &[]), step("b", Kind::Compensatable, &[0])];
    let fault = || Verdict::Done { output: Value::Null, fault: Some("body.id".to_owned()) };
    let script = Script::running(steps).says("a", fault()).commit().input(Input::Retry(act())).commit();
    assert_eq!(reads(&script, 1, Op::Action), [] as [usize; 0]);
    let script = script.says("a", done(json!(1)));
    assert_eq!(reads(&script, 1, Op::Action), [0]);
}
