//! Who may write which saga: lanes, leases, the queue, commands.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::{
    Appended, Head, Journal, LONG, Lane, NOON, Row, Status, append, began, ended, found, hold, id, more, number,
    numbers, pending, queued, rows, running, succeed, take,
};
use crate::journal::{Attend, Attendance, QUEUE, Stored};

async fn tick(journal: &dyn Journal, node: &str, lanes: &[Lane], renew: bool) -> Attendance {
    let attend = Attend { hold: hold(node, LONG), lanes, renew, stand: false, count: 100 };
    journal.attend(attend).await.expect("it answers")
}

async fn acquire(journal: &dyn Journal, node: &str, lease: Duration) -> Lane {
    journal.take_lane(hold(node, lease)).await.expect("taken")
}

pub(super) async fn epochs_grow(journal: &dyn Journal) {
    let first = take(journal).await;
    assert_ne!(first.id, QUEUE, "the queue is nobody's");
    assert!(first.epoch >= NOON.as_millis(), "an epoch is never below the clock, also over lost commits");
    let second = succeed(journal, first).await;
    assert_eq!(second.id, first.id);
    assert!(second.epoch > first.epoch, "also where the clock stands still");
}

pub(super) async fn a_lane_is_ones_own_where_the_journal_is_shared(journal: &dyn Journal) {
    let [first, second] = [take(journal).await, take(journal).await];
    assert_eq!(first.id != second.id, journal.is_shared());
}

/// However many take lanes at the same moment, and take them over from one another.
pub(super) async fn no_two_lanes_share_an_epoch(journal: &dyn Journal) {
    let taken = join_all((0..16).map(|_| journal.take_lane(hold("n-1", LONG)))).await;
    let mut lanes: Vec<_> = taken.into_iter().map(|lane| lane.expect("taken")).collect();
    let mut epochs = BTreeSet::new();
    for round in 1..=3 {
        epochs.extend(lanes.iter().map(|lane| lane.epoch));
        assert_eq!(epochs.len(), 16 * round, "{lanes:?}");
        journal.release(&lanes).await.expect("given up");
        let over = join_all(lanes.iter().map(|lane| journal.take_over(*lane, hold("n-2", LONG)))).await;
        lanes = over.into_iter().map(|lane| lane.expect("compared").expect("it was given up")).collect();
    }
}

pub(super) async fn the_queue_is_counted_as_far_as_is_asked(journal: &dyn Journal) {
    let lane = take(journal).await;
    append(journal, lane, (0..5).map(|index| queued(&index.to_string())).collect()).await;
    for (count, seen) in [(0, 0), (3, 3), (5, 5), (1_000_000, 5)] {
        let attend = Attend { hold: hold("n-1", LONG), lanes: &[lane], renew: false, stand: false, count };
        assert_eq!(journal.attend(attend).await.expect("it answers").queued, seen, "up to {count}");
    }
}

pub(super) async fn the_queue_is_claimed_oldest_first_and_once(journal: &dyn Journal) {
    let lane = take(journal).await;
    let own = began(journal, lane, "own").await;
    let outcomes = append(journal, lane, vec![queued("a"), queued("b"), queued("c")]).await;
    let [a, b, c] = [outcomes[0], outcomes[1], outcomes[2]].map(number);
    assert!(own < a && a < b && b < c);
    assert_eq!(tick(journal, "n-1", &[lane], true).await.queued, 3);
    // What lies in the queue is nobody's to write.
    assert_eq!(append(journal, lane, vec![more("a", a, 2, running())]).await, [Appended::Elsewhere]);
    assert_eq!(numbers(&journal.unsettled(lane.id, 0, 10).await.expect("a page")), [own]);
    assert_eq!(numbers(&journal.unsettled(QUEUE, 0, 10).await.expect("a page")), [a, b, c]);
    let claimed = journal.claim(lane, 2).await.expect("claimed");
    assert_eq!(numbers(&claimed), [a, b]);
    assert_eq!((&claimed[0], claimed[0].head.status), (&found(journal, "a").await, Status::Pending));
    assert_eq!(append(journal, lane, vec![more("a", a, 2, running())]).await, [Appended::Written]);
    assert_eq!(numbers(&journal.claim(lane, 10).await.expect("claimed")), [c]);
    assert_eq!(journal.claim(lane, 10).await.expect("nothing is left"), []);
    assert_eq!(tick(journal, "n-1", &[lane], true).await.queued, 0);
    // Who has lost the lane claims nothing.
    append(journal, lane, vec![queued("d")]).await;
    let owner = succeed(journal, lane).await;
    assert_eq!(journal.claim(lane, 10).await.expect("refused"), []);
    assert_eq!(journal.adopt(lane, id("d")).await.expect("refused"), None);
    assert_eq!(journal.adopt(owner, id("d")).await.expect("an operator cannot wait"), Some(found(journal, "d").await));
    assert_eq!(journal.claim(owner, 10).await.expect("nothing is left"), []);
    assert_eq!(
        append(journal, owner, vec![more("b", b, 2, ended(Status::Completed, None))]).await,
        [Appended::Written]
    );
}

pub(super) async fn a_parked_saga_is_adopted_by_whoever_acts_last(journal: &dyn Journal) {
    let first = take(journal).await;
    let no = began(journal, first, "a").await;
    assert_eq!(journal.adopt(first, id("nobody")).await.expect("looked for"), None);
    assert_eq!(journal.adopt(first, id("a")).await.expect("looked for"), None, "it runs");
    let parked = ended(Status::Failed, Some("exhausted"));
    append(journal, first, vec![more("a", no, 2, parked.clone())]).await;
    let second = take(journal).await;
    for lane in [second, second] {
        // Until somebody has acted it is still parked.
        let row = journal.adopt(lane, id("a")).await.expect("adopted").expect("it is parked");
        assert_eq!((row.no, row.head), (no, parked.clone()));
        assert_eq!(journal.count_parked().await.expect("counted"), 1);
        assert_eq!(journal.unsettled(lane.id, 0, 10).await.expect("a page"), [], "it may rest on");
    }
    if first.id != second.id {
        let third = take(journal).await;
        journal.adopt(third, id("a")).await.expect("adopted").expect("it is parked");
        let stale = append(journal, second, vec![more("a", no, 3, running())]).await;
        assert_eq!(stale, [Appended::Elsewhere], "another has adopted it since");
        journal.adopt(second, id("a")).await.expect("adopted").expect("it is parked");
    }
    assert_eq!(append(journal, second, vec![more("a", no, 3, running())]).await, [Appended::Written]);
    assert_eq!(journal.adopt(second, id("a")).await.expect("looked for"), None, "it runs");
    assert_eq!(numbers(&journal.unsettled(second.id, 0, 10).await.expect("a page")), [no]);
    append(journal, second, vec![more("a", no, 4, ended(Status::Compensated, None))]).await;
    assert_eq!(journal.adopt(second, id("a")).await.expect("looked for"), None, "it is settled");
    assert_eq!(rows(journal, "a").await.len(), 4);
}

pub(super) async fn a_command_stays_until_it_is_forgotten(journal: &dyn Journal) {
    let lane = take(journal).await;
    began(journal, lane, "a").await;
    let first = journal.send_command(id("a"), r#"{"cancel":"\u0000"}"#, NOON).await.expect("sent");
    let second = journal.send_command(id("a"), "{}", NOON).await.expect("sent");
    let heard = async || tick(journal, "n-1", &[lane], false).await.commands;
    let both = heard().await;
    assert_eq!(both, heard().await, "they stay");
    assert_eq!(both.iter().map(|command| command.no).collect::<Vec<_>>(), [first, second]);
    assert_eq!((both[0].saga, both[0].text.as_str()), (id("a"), r#"{"cancel":"\u0000"}"#));
    assert_eq!(journal.command_answer(first).await.expect("asked"), None);
    journal.answer_command(first, r#"{"ok":"\u0000"}"#).await.expect("answered");
    journal.answer_command(first, "too late").await.expect("the first stands");
    assert_eq!(journal.command_answer(first).await.expect("asked").as_deref(), Some(r#"{"ok":"\u0000"}"#));
    assert_eq!(heard().await.iter().map(|command| command.no).collect::<Vec<_>>(), [second]);
    for no in [first, second, second] {
        journal.forget_command(no).await.expect("forgotten");
    }
    assert_eq!((heard().await, journal.command_answer(first).await.expect("asked")), (Vec::new(), None));
    journal.answer_command(first, "nobody listens").await.expect("nothing happens");
    // Whom nobody comes back for.
    let old = journal.send_command(id("a"), "{}", NOON).await.expect("sent");
    journal.tend(NOON).await.expect("tended");
    assert_eq!(heard().await.len(), 1);
    journal.tend(NOON + Duration::from_hours(2)).await.expect("tended");
    journal.answer_command(old, "nobody listens").await.expect("nothing happens");
    assert_eq!(journal.command_answer(old).await.expect("asked"), None);
}

pub(super) async fn a_tick_hears_of_definitions_and_of_the_election(journal: &dyn Journal) {
    let lane = take(journal).await;
    let before = tick(journal, "n-1", &[lane], true).await;
    assert_eq!((before.held.as_slice(), before.leader), ([lane.id].as_slice(), false), "it does not stand");
    let stored = Stored {
        name: "place_order".to_owned(),
        version: 1,
        hash: [1; 32],
        source: "saga: place_order".to_owned(),
        schema: None,
        uploaded_at: NOON,
        uploaded_by: "ops".to_owned(),
    };
    journal.put_definition(&stored).await.expect("added");
    let after = tick(journal, "n-1", &[lane], false).await.definitions;
    assert!(after > before.definitions);
    journal.put_definition(&stored).await.expect("it stands");
    let stand = |node, lease, renew| {
        journal.attend(Attend { hold: hold(node, lease), lanes: &[], renew, stand: true, count: 0 })
    };
    let first = stand("n-1", LONG, true).await.expect("it answers");
    assert_eq!((first.definitions, first.leader), (after, true));
    assert!(stand("n-1", LONG, false).await.expect("it answers").leader, "it stays");
    if !journal.is_shared() {
        return;
    }
    assert!(!stand("n-2", LONG, true).await.expect("it answers").leader, "one at a time");
    // Its lease ends at once.
    assert!(stand("n-1", Duration::ZERO, true).await.expect("it answers").leader);
    assert!(stand("n-2", LONG, true).await.expect("it answers").leader);
    assert!(!stand("n-1", LONG, true).await.expect("it answers").leader);
}

pub(super) async fn a_lapsed_lane_is_taken_by_one(journal: &dyn Journal) {
    let mine = acquire(journal, "n-1", LONG).await;
    let theirs = acquire(journal, "n-2", Duration::ZERO).await;
    let no = began(journal, theirs, "a").await;
    let heard = tick(journal, "n-1", &[mine], true).await.lapsed;
    assert_eq!(heard.iter().map(|lapsed| (lapsed.lane, lapsed.released)).collect::<Vec<_>>(), [(theirs, false)]);
    let older = Lane { epoch: theirs.epoch - 1, ..theirs };
    assert_eq!(journal.take_over(older, hold("n-1", LONG)).await.expect("compared"), None);
    let nobodys = Lane { id: theirs.id + 100, epoch: 1 };
    assert_eq!(journal.take_over(nobodys, hold("n-1", LONG)).await.expect("compared"), None);
    let (left, right) =
        tokio::join!(journal.take_over(theirs, hold("n-1", LONG)), journal.take_over(theirs, hold("n-3", LONG)));
    let taken: Vec<_> = [left, right].into_iter().filter_map(|taken| taken.expect("compared")).collect();
    assert_eq!(taken.len(), 1, "one of two");
    assert_eq!((taken[0].id, taken[0].epoch > theirs.epoch), (theirs.id, true));
    assert_eq!(numbers(&journal.unsettled(theirs.id, 0, 10).await.expect("a page")), [no]);
    assert_eq!(append(journal, taken[0], vec![more("a", no, 2, running())]).await, [Appended::Written]);
    assert_eq!(tick(journal, "n-2", &[theirs], true).await.held, Vec::<i64>::new(), "the woken one hears it");
    assert_eq!(tick(journal, "n-1", &[mine, taken[0]], true).await.held, [mine.id, taken[0].id]);
}

pub(super) async fn a_renewed_lane_is_nobody_elses(journal: &dyn Journal) {
    let theirs = acquire(journal, "n-2", Duration::ZERO).await;
    began(journal, theirs, "a").await;
    // Nobody was faster: it goes on.
    assert_eq!(tick(journal, "n-2", &[theirs], true).await.held, [theirs.id]);
    assert_eq!(tick(journal, "n-1", &[], false).await.lapsed, []);
    assert_eq!(journal.take_over(theirs, hold("n-1", LONG)).await.expect("compared"), None);
    journal.release(&[Lane { epoch: theirs.epoch - 1, ..theirs }]).await.expect("not theirs to give");
    assert_eq!(journal.take_over(theirs, hold("n-1", LONG)).await.expect("compared"), None);
    journal.release(&[theirs]).await.expect("given up");
    assert_eq!(
        tick(journal, "n-2", &[theirs], true).await.held,
        Vec::<i64>::new(),
        "what was given up is not taken back by a renewal"
    );
    let heard = tick(journal, "n-1", &[], false).await.lapsed;
    assert_eq!(heard.iter().map(|lapsed| (lapsed.lane, lapsed.released)).collect::<Vec<_>>(), [(theirs, true)]);
    assert!(journal.take_over(theirs, hold("n-1", LONG)).await.expect("compared").is_some());
    assert_eq!(tick(journal, "n-2", &[], false).await.lapsed, []);
}

pub(super) async fn an_empty_lane_is_taken_again(journal: &dyn Journal) {
    let [first, second] = [acquire(journal, "n-1", LONG).await, acquire(journal, "n-2", LONG).await];
    assert_ne!(first.id, second.id);
    let settled = began(journal, first, "a").await;
    append(journal, first, vec![more("a", settled, 2, ended(Status::Completed, None))]).await;
    let open = began(journal, second, "b").await;
    journal.release(&[first, second]).await.expect("given up");
    let heard = tick(journal, "n-3", &[], false).await.lapsed;
    assert_eq!(heard.iter().map(|lapsed| lapsed.lane).collect::<Vec<_>>(), [second], "the empty one is not worth it");
    let again = acquire(journal, "n-3", LONG).await;
    assert_eq!((again.id, again.epoch > first.epoch), (first.id, true));
    let third = acquire(journal, "n-4", LONG).await;
    assert!(![first.id, second.id].contains(&third.id), "the other one holds a saga");
    let owner = succeed(journal, second).await;
    assert_eq!(numbers(&journal.unsettled(owner.id, 0, 10).await.expect("a page")), [open]);
}

pub(super) async fn a_command_finds_the_owner(journal: &dyn Journal) {
    let [first, second] = [acquire(journal, "n-1", LONG).await, acquire(journal, "n-2", LONG).await];
    let no = began(journal, first, "a").await;
    append(journal, first, vec![queued("q")]).await;
    let sent = journal.send_command(id("a"), "{}", NOON).await.expect("sent");
    let heard = async |lane: Lane| {
        let commands = tick(journal, "n", &[lane], false).await.commands;
        commands.iter().map(|command| command.no).collect::<Vec<_>>()
    };
    assert_eq!((heard(first).await, heard(second).await), (vec![sent], vec![]));
    // It is settled before it is heard: its last owner answers.
    append(journal, first, vec![more("a", no, 2, ended(Status::Failed, None))]).await;
    assert_eq!((heard(first).await, heard(second).await), (vec![sent], vec![]));
    journal.adopt(second, id("a")).await.expect("adopted").expect("it is parked");
    assert_eq!((heard(first).await, heard(second).await), (vec![], vec![sent]));
    journal.answer_command(sent, "{}").await.expect("answered");
    // Whose saga waits in the queue, anybody may hear.
    let waiting = journal.send_command(id("q"), "{}", NOON).await.expect("sent");
    assert_eq!((heard(first).await, heard(second).await), (vec![waiting], vec![waiting]));
    journal.claim(second, 1).await.expect("claimed");
    assert_eq!((heard(first).await, heard(second).await), (vec![], vec![waiting]));
    assert_eq!(tick(journal, "n", &[], false).await.commands, []);
}

/// Each act wakes who waits. A hint may be lost, so the act is repeated until it is heard.
pub(super) async fn others_are_hinted(journal: &dyn Journal) {
    let lane = take(journal).await;
    began(journal, lane, "a").await;
    let no = journal.send_command(id("a"), "{}", NOON).await.expect("sent");
    for act in 0..4 {
        let acting = async {
            for round in 0_u32.. {
                match act {
                    0 => journal.release(&[lane]).await.expect("given up"),
                    1 => drop(journal.send_command(id("a"), "{}", NOON).await.expect("sent")),
                    2 => journal.answer_command(no, "{}").await.expect("answered"),
                    _ => drop(append(journal, lane, vec![queued(&format!("{act}-{round}"))]).await),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let hinted = async {
            tokio::select! {
                () = journal.hinted() => {}
                () = acting => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(10), hinted).await.expect("a hint");
    }
}

pub(super) async fn claims_at_once_share_the_queue(journal: &dyn Journal) {
    let [first, second] = [acquire(journal, "n-1", LONG).await, acquire(journal, "n-2", LONG).await];
    append(journal, first, (0..40).map(|index| queued(&index.to_string())).collect()).await;
    let claiming = async |lane: Lane| {
        let mut claimed: Vec<Row> = Vec::new();
        loop {
            let some = journal.claim(lane, 3).await.expect("claimed");
            if some.is_empty() {
                return claimed;
            }
            claimed.extend(some);
        }
    };
    let (left, right) = tokio::join!(claiming(first), claiming(second));
    let mut all = numbers(&[left, right].concat());
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 40, "each once");
    let heads = journal.standings(&[id("0"), id("39")]).await.expect("read");
    assert_eq!(heads, [Some(pending()), Some::<Head>(pending())]);
}
