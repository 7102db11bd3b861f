//! What an append promises.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::{
    Append, Appended, Head, Journal, Lane, NOON, NewSaga, Row, Status, append, batch, began, ended, found, id, more,
    new, number, queued, rows, running, start, start_of, succeed, take,
};
use crate::Error;
use crate::journal::{Erased, Filter};

pub(super) async fn a_former_owner_writes_nothing(journal: &dyn Journal) {
    let never = Lane { id: 1, epoch: 1 };
    assert!(matches!(journal.append(&batch(never, vec![start("a")])).await, Err(Error::Fenced { .. })));
    let former = take(journal).await;
    let no = began(journal, former, "a").await;
    let owner = succeed(journal, former).await;
    for again in [false, true] {
        let mut stale = batch(former, vec![start("b"), more("a", no, 2, running())]);
        stale.again = again;
        match journal.append(&stale).await {
            Err(Error::Fenced { lane, held, found }) => {
                assert_eq!((lane, held, found), (former.id, former.epoch, owner.epoch));
            }
            other => assert!(matches!(other, Err(Error::Fenced { .. })), "not fenced: {other:?}"),
        }
    }
    assert_eq!(rows(journal, "a").await.len(), 1);
    assert_eq!(journal.find(id("b")).await.expect("looked for"), None);
    assert_eq!(append(journal, owner, vec![more("a", no, 2, running())]).await, [Appended::Written]);
}

pub(super) async fn a_saga_is_kept_whole_and_in_order(journal: &dyn Journal) {
    let first = take(journal).await;
    assert_eq!(append(journal, first, Vec::new()).await, []);
    let no = began(journal, first, "a").await;
    let held = Head { held: true, overdue: true, ..running() };
    append(journal, first, vec![more("a", no, 2, held.clone())]).await;
    assert_eq!(found(journal, "a").await.head, held);
    let second = succeed(journal, first).await;
    let end = ended(Status::Compensated, Some("refused"));
    append(journal, second, vec![more("a", no, 3, end.clone())]).await;
    let expected = Row {
        no,
        id: id("a"),
        definition: "place_order".to_owned(),
        version: 3,
        business_key: Some("order-a".to_owned()),
        principal: "till-7".to_owned(),
        started_at: NOON,
        head: end,
    };
    let row = found(journal, "a").await;
    assert_eq!(row, expected);
    let unknown = Row { no: no + 1_000, ..row.clone() };
    let histories = journal.histories(&[unknown, row]).await.expect("read");
    assert!(histories[0].is_none());
    let history = histories[1].as_ref().expect("it has one");
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!((json(&history.input), json(&history.context)), (json(&new("a").input), json(&new("a").context)));
    assert_eq!(history.key, new("a").key);
    let commits: Vec<_> = history.commits.iter().map(|commit| (commit.seq, commit.epoch, commit.at)).collect();
    assert_eq!(commits, [(1, first.epoch, NOON), (2, first.epoch, NOON), (3, second.epoch, NOON)]);
    assert_eq!(json(&history.commits[1].entries), json(r#"[{"e":"row","seq":2}]"#));
    // What comes late is still written, by whoever knows the next row.
    let late = Head { cause: Some("late".to_owned()), ..expected.head };
    append(journal, second, vec![more("a", no, 4, late.clone())]).await;
    assert_eq!(found(journal, "a").await.head, late);
}

pub(super) async fn a_key_is_kept_with_the_start_and_erased_only_at_rest(journal: &dyn Journal) {
    let key = async |of: &str| {
        let histories = journal.histories(&[found(journal, of).await]).await.expect("read");
        histories.into_iter().next().flatten().expect("it has a history").key
    };
    let erase = async |of: &str| journal.erase_key(id(of)).await.expect("erased, or not");
    let lane = take(journal).await;
    let plain = start_of(NewSaga { key: None, ..new("plain") });
    let other = start_of(NewSaga { key: Some("another".to_owned()), ..new("a") });
    let outcomes = append(journal, lane, vec![start("a"), plain, start("b")]).await;
    assert_eq!(append(journal, lane, vec![other]).await, [Appended::Known]);
    assert_eq!(key("a").await, new("a").key, "a repeat does not change it");
    assert_eq!((key("plain").await, key("b").await), (None, new("b").key));
    assert_eq!(erase("a").await, Erased::Unsettled);
    assert_eq!(key("a").await, new("a").key, "a saga that is executing keeps it");
    for (index, status) in [(0, Status::Completed), (1, Status::Compensated), (2, Status::Failed)] {
        let of = ["a", "plain", "b"][index];
        append(journal, lane, vec![more(of, number(outcomes[index]), 2, ended(status, None))]).await;
    }
    assert_eq!(erase("a").await, Erased::Erased);
    assert_eq!((key("a").await, key("b").await), (None, new("b").key), "nobody else's is touched");
    assert_eq!(
        (erase("a").await, erase("plain").await, erase("nobody").await),
        (Erased::Absent, Erased::Absent, Erased::Absent)
    );
    assert_eq!(erase("b").await, Erased::Erased, "also where it is parked");
    assert_eq!(rows(journal, "a").await.len(), 2, "the journal stays");
}

pub(super) async fn a_known_start_costs_its_own_row_only(journal: &dyn Journal) {
    let lane = take(journal).await;
    let a = began(journal, lane, "a").await;
    let mut repeated = start("a");
    repeated.head = ended(Status::Failed, None);
    let outcomes = append(journal, lane, vec![start("b"), repeated, start("c"), more("a", a, 2, running())]).await;
    let (b, c) = (number(outcomes[0]), number(outcomes[2]));
    assert_eq!(outcomes, [Appended::Started(b), Appended::Known, Appended::Started(c), Appended::Written]);
    assert!(a < b && b < c, "numbers are in the order of the starts");
    assert_eq!(found(journal, "a").await.head, running());
    assert_eq!(rows(journal, "a").await.len(), 2);
    // Known is known, whoever asks and however it ended.
    append(journal, lane, vec![more("b", b, 2, ended(Status::Completed, None))]).await;
    let owner = succeed(journal, lane).await;
    assert_eq!(append(journal, owner, vec![start("b")]).await, [Appended::Known]);
    assert_eq!(found(journal, "b").await.head.status, Status::Completed);
}

pub(super) async fn a_repeated_batch_writes_each_row_once(journal: &dyn Journal) {
    let lane = take(journal).await;
    let a = began(journal, lane, "a").await;
    began(journal, lane, "known").await;
    let end = ended(Status::Completed, None);
    let mut other = start("known");
    r#"[{"e":"started","by":"somebody else"}]"#.clone_into(&mut other.entries);
    let mut lost = batch(lane, vec![start("b"), other, more("a", a, 2, end.clone())]);
    lost.again = true;
    // Nothing stands: all is written.
    let first = journal.append(&lost).await.expect("written");
    assert_eq!(first, [Appended::Started(number(first[0])), Appended::Known, Appended::Written]);
    // All stands: nothing is written, the answers are the same, as often as it is asked.
    for _ in 0..2 {
        assert_eq!(journal.append(&lost).await.expect("they stand"), first);
    }
    // A part of it stands, as after a group that was divided.
    lost.rows.push(start("c"));
    let more_of_it = journal.append(&lost).await.expect("written");
    assert_eq!(more_of_it[..3], first[..]);
    assert!(number(more_of_it[3]) > 0);
    for (key, count) in [("a", 2), ("b", 1), ("c", 1), ("known", 1)] {
        assert_eq!(rows(journal, key).await.len(), count, "{key}");
    }
    assert_eq!(found(journal, "a").await.head, end);
}

pub(super) async fn a_row_out_of_turn_spoils_the_whole_batch(journal: &dyn Journal) {
    let lane = take(journal).await;
    let a = began(journal, lane, "a").await;
    append(journal, lane, vec![more("a", a, 2, running())]).await;
    let mut changed = more("a", a, 2, running());
    r#"[{"e":"something else"}]"#.clone_into(&mut changed.entries);
    for again in [false, true] {
        let mut batch = batch(lane, vec![start("b"), changed.clone()]);
        batch.again = again;
        let error = journal.append(&batch).await.expect_err("row 2 stands and is another");
        assert!(!matches!(error, Error::Fenced { .. }), "{error}");
    }
    let gap = batch(lane, vec![start("b"), more("a", a, 4, running())]);
    let error = journal.append(&gap).await.expect_err("row 3 is missing");
    assert!(!matches!(error, Error::Fenced { .. }), "{error}");
    assert_eq!(journal.find(id("b")).await.expect("looked for"), None, "nothing of the batch is written");
    assert_eq!(rows(journal, "a").await.len(), 2);
    // As after a failover that lost its start.
    let outcomes =
        append(journal, lane, vec![more("nobody", a + 1_000, 2, running()), more("a", a, 3, running())]).await;
    assert_eq!(outcomes, [Appended::Elsewhere, Appended::Written]);
}

/// As a crash at each point at which the append waits for something.
pub(super) async fn an_append_that_was_cut_stands_whole_or_not_at_all(journal: &dyn Journal) {
    let mut lane = take(journal).await;
    let old = began(journal, lane, "old").await;
    for seq in 2_usize.. {
        let polls = seq - 2;
        let (first, second) = (format!("first-{polls}"), format!("second-{polls}"));
        let next = i64::try_from(seq).expect("small");
        let batched = vec![start(&first), more("old", old, next, running()), start(&second)];
        let mut batch = batch(lane, batched);
        let whole = polled(journal.append(&batch), polls).await;
        // The next owner's turn comes behind whatever the cut has left.
        lane = succeed(journal, lane).await;
        batch.lane = lane;
        let stands = [
            !rows(journal, &first).await.is_empty(),
            rows(journal, "old").await.len() == seq,
            !rows(journal, &second).await.is_empty(),
        ];
        assert!(stands == [true; 3] || stands == [false; 3], "cut after {polls} polls: {stands:?}");
        if let Some(result) = whole {
            assert_eq!(result.expect("it was not cut").len(), 3);
            assert_eq!(stands, [true; 3]);
            return;
        }
        if !stands[0] {
            batch.again = true;
            assert_eq!(journal.append(&batch).await.expect("the next owner writes it").len(), 3);
        }
    }
}

/// Polls so many times, then drops.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// What waits in the queue, or rests and was written by another since, costs itself only.
pub(super) async fn a_foreign_saga_costs_its_own_row_only(journal: &dyn Journal) {
    let lane = take(journal).await;
    let outcomes = append(journal, lane, vec![start("ends"), start("runs"), queued("waits")]).await;
    let [ends, runs, waits] = [outcomes[0], outcomes[1], outcomes[2]].map(number);
    append(journal, lane, vec![more("ends", ends, 2, ended(Status::Completed, None))]).await;
    let stale = more("ends", ends, 2, ended(Status::Compensated, None));
    let mut mixed = batch(lane, vec![stale, more("runs", runs, 2, running()), more("waits", waits, 2, running())]);
    r#"[{"e":"stale"}]"#.clone_into(&mut mixed.rows[0].entries);
    for again in [false, true] {
        mixed.again = again;
        let outcomes = journal.append(&mixed).await.expect("the others cost themselves only");
        assert_eq!(outcomes, [Appended::Elsewhere, Appended::Written, Appended::Elsewhere], "again: {again}");
    }
    assert_eq!(found(journal, "ends").await.head.status, Status::Completed);
    let result = vec![more("ends", ends, 3, ended(Status::Completed, None))];
    assert_eq!(append(journal, lane, result).await, [Appended::Written], "a late result is kept");
    for (key, count) in [("ends", 3), ("runs", 2), ("waits", 1)] {
        assert_eq!(rows(journal, key).await.len(), count, "{key}");
    }
    // Another has adopted it and written the row that ours would have been.
    append(journal, lane, vec![more("runs", runs, 3, ended(Status::Failed, None))]).await;
    let other = take(journal).await;
    if other.id != lane.id {
        journal.adopt(other, id("runs")).await.expect("adopted").expect("it is parked");
        append(journal, other, vec![more("runs", runs, 4, running())]).await;
        let mut lost = batch(lane, vec![more("runs", runs, 4, ended(Status::Completed, None))]);
        r#"[{"e":"ours"}]"#.clone_into(&mut lost.rows[0].entries);
        lost.again = true;
        assert_eq!(journal.append(&lost).await.expect("answered"), [Appended::Elsewhere]);
    }
}

/// Names and causes come from people and from participants.
pub(super) async fn any_text_is_kept(journal: &dyn Journal) {
    let lane = take(journal).await;
    let odd = "a\u{1}\u{7f}\"\\'{},NULL\u{1f600}\r\n\t";
    let named = NewSaga { business_key: Some(odd.to_owned()), principal: odd.to_owned(), ..new("a") };
    let entries = "[]".to_owned();
    let named = Append { entries: entries.clone(), ..start_of(named) };
    let no = number(append(journal, lane, vec![named]).await[0]);
    append(journal, lane, vec![more("a", no, 2, ended(Status::Failed, Some(odd)))]).await;
    let row = found(journal, "a").await;
    assert_eq!((row.business_key.as_deref(), row.principal.as_str()), (Some(odd), odd));
    assert_eq!(row.head.cause.as_deref(), Some(odd));
    // What a database cannot keep costs no saga.
    let nul = NewSaga { business_key: Some("a\0b".to_owned()), principal: "p\0".to_owned(), ..new("b") };
    let no = number(append(journal, lane, vec![Append { entries, ..start_of(nul) }]).await[0]);
    append(journal, lane, vec![more("b", no, 2, ended(Status::Failed, Some("c\0")))]).await;
    let filter = Filter { business_key: Some("a\0b".to_owned()), limit: 10, ..Filter::default() };
    assert_eq!(journal.list(&filter).await.expect("a list").len(), 1, "and it is found");
}
