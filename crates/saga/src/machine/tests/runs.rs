//! Canonical runs as golden timelines.
#![expect(clippy::needless_raw_string_hashes, reason = "written so by expect-test")]

use expect_test::{Expect, expect};
use serde_json::Value;

use super::super::{Input, Verdict};
use super::script::{Script, act, done, place_order, refused, refused_for_good, unknown, with_pivot};

fn check(script: &Script, expected: &Expect) {
    expected.assert_eq(&script.text);
}

#[test]
fn an_order_is_placed_with_three_commits() {
    let script = Script::start(place_order())
        .commit()
        .done(&["order", "payment", "stock"])
        .commit()
        .done(&["confirm", "commit"])
        .commit();
    check(
        &script,
        &expect![[r#"
        0     started
        ----- durable
        0     order: asked
        0       -> order action #1
        10    order: done
        10    payment: asked
        10      -> payment action #1
        20    payment: done
        20    stock: asked
        20      -> stock action #1
        30    stock: done
        30    commit: commit point
        ----- durable
        30    commit: asked
        30    confirm: asked
        30      -> commit action #1
        30      -> confirm action #1
        40    confirm: done
        50    commit: done
        50    completed
        ----- durable
        50      reported completed
    "#]],
    );
}

#[test]
fn a_refused_payment_takes_the_order_back() {
    let script = Script::running(place_order())
        .done(&["order"])
        .says("payment", refused("declined"))
        .commit()
        .undone(&["order"])
        .commit();
    check(
        &script,
        &expect![[r#"
        0     started
        ----- durable
        0     order: asked
        0       -> order action #1
        10    order: done
        10    payment: asked
        10      -> payment action #1
        20    payment: refused (declined)
        20    compensating: payment refused
        ----- durable
        20    order: compensation asked (action done)
        20      -> order compensate done #1
        30    order: undone
        30    compensated
        ----- durable
        30      reported compensated
    "#]],
    );
}

#[test]
fn a_step_without_an_answer_is_compensated_as_unknown_and_in_reverse() {
    let script = Script::running(place_order())
        .done(&["order"])
        .says("payment", unknown())
        .wake()
        .says("payment", unknown())
        .commit()
        .undone(&["payment", "order"])
        .commit();
    check(
        &script,
        &expect![[r#"
        0     started
        ----- durable
        0     order: asked
        0       -> order action #1
        10    order: done
        10    payment: asked
        10      -> payment action #1
        20    payment: action Unknown, 1 spent (503)
        70      -> payment action #2
        80    compensating: payment exhausted
        ----- durable
        80    payment: compensation asked (action unknown)
        80      -> payment compensate unknown #1
        90    payment: undone
        90    order: compensation asked (action done)
        90      -> order compensate done #1
        100   order: undone
        100   compensated
        ----- durable
        100     reported compensated
    "#]],
    );
}

#[test]
fn a_pivot_is_asked_until_it_answers_and_is_never_compensated() {
    let mut steps = with_pivot();
    steps[1].probe = true;
    let script = Script::running(steps)
        .done(&["order"])
        .commit()
        .says("payment", unknown())
        .wake()
        .says("payment", Verdict::Absent)
        .says("payment", unknown())
        .input(Input::Cancel(act()))
        .wake()
        .done(&["payment", "shipping"])
        .commit();
    check(
        &script,
        &expect![[r#"
        0     started
        ----- durable
        0     order: asked
        0       -> order action #1
        10    order: done
        10    payment: commit point
        ----- durable
        10    payment: asked
        10      -> payment action #1
        20    payment: action Unknown, 1 spent (503)
        70      -> payment probe #2
        80      -> payment action #3
        290     -> payment probe #4
        300   payment: done
        300   shipping: asked
        300     -> shipping action #1
        310   shipping: done
        310   completed
        ----- durable
        310     reported completed
    "#]],
    );
}

#[test]
fn what_was_sent_ahead_of_a_crash_is_compensated() {
    let script = Script::running(place_order())
        .done(&["order", "payment"])
        .crash(1)
        .input(Input::Cancel(act()))
        .commit()
        .after(6_000)
        .undone(&["stock", "payment", "order"])
        .commit();
    check(
        &script,
        &expect![[r#"
        0     started
        ----- durable
        0     order: asked
        0       -> order action #1
        10    order: done
        10    payment: asked
        10      -> payment action #1
        20    payment: done
        20    stock: asked
        20      -> stock action #1
        ----- crash
        20    recovered; possibly sent: order payment stock
        20    order: asked
        20      -> order action #1
        20    compensating: cancelled by anna
        ----- durable
        20    stock: compensation asked (action unknown)
        20      -> stock compensate unknown #1
        6020  order: action Unknown, 1 spent (no answer in time)
        6020  stock: compensate Unknown, 1 spent (no answer in time)
        6030  stock: undone
        6030  payment: compensation asked (action unknown)
        6030    -> payment compensate unknown #1
        6040  payment: undone
        6040  order: compensation asked (action unknown)
        6040    -> order compensate unknown #1
        6050  order: undone
        6050  compensated
        ----- durable
        6050    reported compensated
    "#]],
    );
}

#[test]
fn a_compensation_out_of_budget_parks_and_an_operator_ends_it() {
    let script = Script::running(place_order())
        .done(&["order", "payment"])
        .says("stock", refused_for_good("sold-out"))
        .commit()
        .undo_says("payment", refused("locked"))
        .wake()
        .undo_says("payment", refused("locked"))
        .commit()
        .input(Input::Retry(act()))
        .commit()
        .undone(&["payment", "order"])
        .commit();
    check(
        &script,
        &expect![[r#"
        0     started
        ----- durable
        0     order: asked
        0       -> order action #1
        10    order: done
        10    payment: asked
        10      -> payment action #1
        20    payment: done
        20    stock: asked
        20      -> stock action #1
        30    stock: refused (sold-out)
        30    compensating: stock refused
        ----- durable
        30    payment: compensation asked (action done)
        30      -> payment compensate done #1
        40    payment: compensate Refused, 1 spent ()
        90      -> payment compensate done #2
        100   payment: compensate parked (refused: locked)
        100   failed
        ----- durable
        100     reported failed
        100   retried by anna
        ----- durable
        100     -> payment compensate done #3
        110   payment: undone
        110   order: compensation asked (action done)
        110     -> order compensate done #1
        120   order: undone
        120   compensated
        ----- durable
        120     reported compensated
    "#]],
    );
}

#[test]
fn a_retriable_step_that_is_refused_parks_while_its_sibling_goes_on() {
    let script = Script::running(place_order())
        .done(&["order", "payment", "stock"])
        .commit()
        .says("commit", refused("gone"))
        .done(&["confirm"])
        .wake()
        .says("commit", refused("gone"))
        .commit()
        .input(Input::AssumeDone { step: 3, output: Value::Null, act: act() })
        .commit();
    check(
        &script,
        &expect![[r#"
        0     started
        ----- durable
        0     order: asked
        0       -> order action #1
        10    order: done
        10    payment: asked
        10      -> payment action #1
        20    payment: done
        20    stock: asked
        20      -> stock action #1
        30    stock: done
        30    commit: commit point
        ----- durable
        30    commit: asked
        30    confirm: asked
        30      -> commit action #1
        30      -> confirm action #1
        40    commit: action Refused, 1 spent ()
        50    confirm: done
        90      -> commit action #2
        100   commit: action parked (refused: gone)
        100   failed
        ----- durable
        100     reported failed
        100   commit: assumed done by anna
        100   completed
        ----- durable
        100     reported completed
    "#]],
    );
}

#[test]
fn a_late_answer_changes_nothing() {
    let script = Script::running(place_order())
        .says("order", unknown())
        .input(Input::Cancel(act()))
        .commit()
        .verdict("order", steadfast_core::Op::Action, 1, done(Value::Null))
        .undone(&["order"])
        .commit()
        .verdict("order", steadfast_core::Op::Compensate, 1, done(Value::Null));
    check(
        &script,
        &expect![[r#"
        0     started
        ----- durable
        0     order: asked
        0       -> order action #1
        10    order: action Unknown, 1 spent (503)
        10    compensating: cancelled by anna
        ----- durable
        10    order: compensation asked (action unknown)
        10      -> order compensate unknown #1
        10    order: late answer to action 1 (done)
        20    order: undone
        20    compensated
        ----- durable
        20      reported compensated
        20    order: late answer to compensate 1 (done)
    "#]],
    );
}
