//! What a new owner takes for sent, and what a damaged journal is.

use expect_test::expect;

use super::super::{Corrupt, Entry, Kind, Phase, Saga, Status, StepSet};
use super::script::{Script, place_order, step, with_pivot};
use steadfast_core::Timestamp;

fn doubtful(script: &Script) -> Vec<usize> {
    let recovered = script.journal.iter().rev().find_map(|entry| match entry {
        Entry::Recovered { doubtful, .. } => Some(*doubtful),
        _ => None,
    });
    recovered.unwrap_or_default().iter().collect()
}

#[test]
fn everything_before_the_commit_point_that_no_wait_holds_back_counts_as_sent() {
    assert_eq!(doubtful(&Script::running(place_order()).crash(1)), [0, 1, 2]);
    let mut strict = place_order();
    strict[1].strict = true;
    assert_eq!(doubtful(&Script::running(strict.clone()).crash(1)), [0], "payment waits for the order's result");
    let order_done = Script::running(strict).done(&["order"]).commit();
    let durable = order_done.journal.len();
    assert_eq!(doubtful(&order_done.crash(durable)), [1], "and stock for the payment's");
    let mut bare = place_order();
    bare[0].barrier = false;
    assert_eq!(doubtful(&Script::running(bare).crash(1)), [0]);
    let mut reads = place_order();
    reads[2].reads = vec![0];
    assert_eq!(doubtful(&Script::running(reads).crash(1)), [0, 1]);
}

#[test]
fn the_commit_point_counts_as_sent_once_its_intent_is_durable() {
    let script = Script::running(with_pivot()).done(&["order"]);
    let intent = script.journal.len();
    assert_eq!(doubtful(&script.crash(intent)), [1, 2], "what comes after it may be pipelined");
    let script = Script::running(with_pivot()).done(&["order"]);
    let script = script.crash(intent - 1);
    assert!(doubtful(&script).is_empty());
    assert_eq!(script.saga.commit_point(), Some(1), "reached anew");
}

#[test]
fn a_step_behind_a_condition_counts_whether_it_held_or_not() {
    let mut steps = place_order();
    steps[1].conditional = true;
    assert_eq!(doubtful(&Script::running(steps).crash(1)), [0, 1, 2]);
}

#[test]
fn nothing_was_sent_for_a_saga_in_the_queue_or_one_that_ended() {
    assert!(doubtful(&Script::queued(place_order()).commit().crash(1)).is_empty());
    let script = Script::running(with_pivot()).done(&["order"]).commit().done(&["payment", "shipping"]).commit();
    let all = script.journal.len();
    let script = script.crash(all);
    assert_eq!(script.status(), Status::Completed);
    assert!(script.text.ends_with("reported completed\n"), "told again: the former owner may not have");
}

#[test]
fn a_journal_that_no_saga_wrote_is_corrupt() {
    let plan = super::super::Plan::new(place_order(), None, true).expect("a sound plan");
    let at = Timestamp::from_millis(0);
    let start = Entry::Started { at, admitted: true };
    let read = |entries: &[Entry]| Saga::read(&plan, entries).map(|_| ());
    assert_eq!(read(&[]), Err(Corrupt::Start(0)));
    assert_eq!(read(&[Entry::Admitted { at }]), Err(Corrupt::Start(1)));
    assert_eq!(read(&[start.clone(), start.clone()]), Err(Corrupt::Start(2)));
    let far = Entry::Undone { step: 9, at, attempts: 0 };
    assert_eq!(read(&[start.clone(), far]), Err(Corrupt::Step { entry: 2, step: 9 }));
    let doubtful = StepSet::from_iter([5]);
    assert_eq!(read(&[start, Entry::Recovered { at, doubtful }]), Err(Corrupt::Step { entry: 2, step: 5 }));
}

#[test]
fn entries_as_they_stand_in_the_journal() {
    let script = Script::running(vec![step("order", Kind::Compensatable, &[])])
        .says("order", super::script::unknown())
        .wake()
        .done(&["order"]);
    let text: Vec<String> =
        script.journal.iter().map(|entry| serde_json::to_string(entry).expect("an entry is JSON")).collect();
    expect![[r#"
        {"e":"started","at":0,"admitted":true}
        {"e":"asked","step":0,"op":"action","at":0}
        {"e":"troubled","step":0,"op":"action","at":10,"trouble":"unknown","attempts":1,"detail":"503"}
        {"e":"done","step":0,"at":70,"attempts":1,"output":{"id":"order"}}
        {"e":"completed","at":70}"#]]
    .assert_eq(&text.join("\n"));
}

#[test]
fn every_entry_reads_back_as_it_was_written() {
    let runs = [
        Script::running(place_order()).done(&["order"]).says("payment", super::script::refused("no")).commit(),
        Script::running(place_order()).crash(1).input(super::super::Input::Cancel(super::script::act())),
        Script::running(place_order()).input(super::super::Input::Hold(super::script::act())),
        Script::running(with_pivot())
            .done(&["order"])
            .commit()
            .says("payment", super::script::misconfigured())
            .wake()
            .says("payment", super::script::misconfigured()),
    ];
    for script in runs {
        for entry in &script.journal {
            let text = serde_json::to_string(entry).expect("an entry is JSON");
            let read: Entry = serde_json::from_str(&text).expect("an entry reads back");
            assert_eq!(read, *entry, "{text}");
        }
        assert_ne!(script.saga.step(0).expect("a step").phase, Phase::Voided);
    }
}
