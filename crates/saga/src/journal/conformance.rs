//! What every journal keeps to: run it against a backend of your own.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use steadfast_core::{SagaId, Timestamp};

use super::{Append, Appended, Batch, Erased, Filter, Head, Journal, Lane, NewSaga, Put, Row, Stored, Target};
use crate::Error;
use crate::machine::Status;

const LANE: i64 = 7;
const NOON: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Runs every case, each on a journal of its own.
///
/// # Panics
/// When a case does not hold.
pub async fn run<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Journal>>,
{
    epochs_grow(&*open().await).await;
    a_former_owner_writes_nothing(&*open().await).await;
    a_saga_is_kept_whole_and_in_order(&*open().await).await;
    a_key_is_kept_with_the_start_and_erased_only_at_rest(&*open().await).await;
    a_known_start_costs_its_own_row_only(&*open().await).await;
    a_repeated_batch_writes_each_row_once(&*open().await).await;
    a_row_out_of_turn_spoils_the_whole_batch(&*open().await).await;
    an_append_that_was_cut_stands_whole_or_not_at_all(&*open().await).await;
    pages_hold_every_unsettled_saga_once(&*open().await).await;
    lists_are_filtered_and_newest_first(&*open().await).await;
    what_neither_rests_nor_wakes_is_counted(&*open().await).await;
    a_version_of_a_definition_is_immutable(&*open().await).await;
}

fn id(key: &str) -> SagaId {
    SagaId::derive("till-7", "place_order", key)
}

fn running() -> Head {
    Head { status: Status::Running, held: false, overdue: false, wake_at: Some(NOON), ended_at: None, cause: None }
}

fn ended(status: Status, cause: Option<&str>) -> Head {
    Head { status, wake_at: None, ended_at: Some(NOON), cause: cause.map(str::to_owned), ..running() }
}

fn new(key: &str) -> NewSaga {
    NewSaga {
        id: id(key),
        definition: "place_order".to_owned(),
        version: 3,
        business_key: Some(format!("order-{key}")),
        principal: "till-7".to_owned(),
        started_at: NOON,
        input: format!(r#"{{"key":"{key}","text":"ünï \"quoted\" \\ \u0000"}}"#),
        context: r#"{"user":"till-7"}"#.to_owned(),
        key: Some(format!("key of \"{key}\"")),
    }
}

fn start_of(new: NewSaga) -> Append {
    let entries = format!(r#"[{{"e":"started","by":"{}"}}]"#, new.business_key.as_deref().unwrap_or_default());
    Append { target: Target::New(Box::new(new)), seq: 1, entries, head: running(), event: None }
}

fn start(key: &str) -> Append {
    start_of(new(key))
}

fn more(key: &str, no: i64, seq: i64, head: Head) -> Append {
    let target = Target::Known { no, id: id(key), started_at: NOON };
    Append { target, seq, entries: format!(r#"[{{"e":"row","seq":{seq}}}]"#), head, event: None }
}

fn batch(lane: Lane, rows: Vec<Append>) -> Batch {
    Batch { lane, at: NOON, rows, again: false }
}

async fn take(journal: &dyn Journal) -> Lane {
    journal.take_lane(LANE, NOON).await.expect("the lane is taken")
}

async fn append(journal: &dyn Journal, lane: Lane, rows: Vec<Append>) -> Vec<Appended> {
    journal.append(&batch(lane, rows)).await.expect("the rows are written")
}

fn number(outcome: Appended) -> i64 {
    let Appended::Started(no) = outcome else { return -1 };
    no
}

async fn began(journal: &dyn Journal, lane: Lane, key: &str) -> i64 {
    number(append(journal, lane, vec![start(key)]).await[0])
}

async fn found(journal: &dyn Journal, key: &str) -> Row {
    journal.find(id(key)).await.expect("it is looked for").expect("it is there")
}

/// The rows of a saga: numbers and texts.
async fn rows(journal: &dyn Journal, key: &str) -> Vec<(i64, String)> {
    let Some(row) = journal.find(id(key)).await.expect("it is looked for") else { return Vec::new() };
    let histories = journal.histories(&[row]).await.expect("its history is read");
    let history = histories.into_iter().next().flatten().expect("it has a history");
    history.commits.into_iter().map(|commit| (commit.seq, commit.entries)).collect()
}

async fn epochs_grow(journal: &dyn Journal) {
    let first = journal.take_lane(LANE, NOON).await.expect("taken");
    assert!(first.epoch >= NOON.as_millis(), "an epoch is never below the clock, also over lost commits");
    let second = journal.take_lane(LANE, Timestamp::from_millis(5)).await.expect("taken");
    assert!(second.epoch > first.epoch, "also where the clock has stepped back");
    let other = journal.take_lane(LANE + 1, Timestamp::from_millis(5)).await.expect("taken");
    assert_eq!(other, Lane { id: LANE + 1, epoch: 5 }, "lanes have epochs of their own");
}

async fn a_former_owner_writes_nothing(journal: &dyn Journal) {
    let never = Lane { id: LANE, epoch: 1 };
    assert!(matches!(journal.append(&batch(never, vec![start("a")])).await, Err(Error::Fenced { .. })));
    let former = take(journal).await;
    let no = began(journal, former, "a").await;
    let owner = take(journal).await;
    for again in [false, true] {
        let mut stale = batch(former, vec![start("b"), more("a", no, 2, running())]);
        stale.again = again;
        match journal.append(&stale).await {
            Err(Error::Fenced { lane, held, found }) => {
                assert_eq!((lane, held, found), (LANE, former.epoch, owner.epoch));
            }
            other => assert!(matches!(other, Err(Error::Fenced { .. })), "not fenced: {other:?}"),
        }
    }
    assert_eq!(rows(journal, "a").await.len(), 1);
    assert_eq!(journal.find(id("b")).await.expect("looked for"), None);
    assert_eq!(append(journal, owner, vec![more("a", no, 2, running())]).await, [Appended::Written]);
}

async fn a_saga_is_kept_whole_and_in_order(journal: &dyn Journal) {
    let first = take(journal).await;
    assert_eq!(append(journal, first, Vec::new()).await, []);
    let no = began(journal, first, "a").await;
    let held = Head { held: true, overdue: true, ..running() };
    append(journal, first, vec![more("a", no, 2, held.clone())]).await;
    assert_eq!(found(journal, "a").await.head, held);
    let second = take(journal).await;
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
    // An operator took it up again.
    append(journal, second, vec![more("a", no, 4, running())]).await;
    assert_eq!(found(journal, "a").await.head, running());
}

async fn a_key_is_kept_with_the_start_and_erased_only_at_rest(journal: &dyn Journal) {
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

async fn a_known_start_costs_its_own_row_only(journal: &dyn Journal) {
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
    let owner = take(journal).await;
    assert_eq!(append(journal, owner, vec![start("b")]).await, [Appended::Known]);
    assert_eq!(found(journal, "b").await.head.status, Status::Completed);
}

async fn a_repeated_batch_writes_each_row_once(journal: &dyn Journal) {
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

async fn a_row_out_of_turn_spoils_the_whole_batch(journal: &dyn Journal) {
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
    let mut nobody = more("nobody", a + 1_000, 2, running());
    nobody.target = Target::Known { no: a + 1_000, id: id("nobody"), started_at: NOON };
    journal.append(&batch(lane, vec![start("b"), nobody])).await.expect_err("there is no such saga");
    assert_eq!(journal.find(id("b")).await.expect("looked for"), None, "nothing of the batch is written");
    assert_eq!(rows(journal, "a").await.len(), 2);
}

/// As a crash at each point at which the append waits for something.
async fn an_append_that_was_cut_stands_whole_or_not_at_all(journal: &dyn Journal) {
    let old = began(journal, take(journal).await, "old").await;
    for seq in 2_usize.. {
        let polls = seq - 2;
        let (first, second) = (format!("first-{polls}"), format!("second-{polls}"));
        let next = i64::try_from(seq).expect("small");
        let batched = vec![start(&first), more("old", old, next, running()), start(&second)];
        let mut batch = batch(take(journal).await, batched);
        let whole = polled(journal.append(&batch), polls).await;
        // The next owner's turn comes behind whatever the cut has left.
        batch.lane = take(journal).await;
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

async fn pages_hold_every_unsettled_saga_once(journal: &dyn Journal) {
    let lane = take(journal).await;
    let heads = [
        Head { status: Status::Pending, ..running() },
        running(),
        ended(Status::Completed, None),
        Head { status: Status::Compensating, cause: Some("timeout".to_owned()), ..running() },
        ended(Status::Compensated, Some("timeout")),
        ended(Status::Failed, Some("exhausted")),
    ];
    let starts = (0..60).map(|index| Append { head: heads[index % heads.len()].clone(), ..start(&index.to_string()) });
    append(journal, lane, starts.collect()).await;
    let other = journal.take_lane(LANE + 1, NOON).await.expect("taken");
    append(journal, other, vec![start("of another lane")]).await;
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = journal.unsettled(LANE, after, 7).await.expect("a page");
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after = last.no;
        let histories = journal.histories(&page).await.expect("their histories");
        assert!(histories.iter().all(Option::is_some));
        seen.extend(page);
    }
    assert!(seen.is_sorted_by_key(|row| row.no));
    let mut keys: Vec<_> = seen.iter().map(|row| row.business_key.clone().unwrap_or_default()).collect();
    let mut expected: Vec<_> =
        (0..60).filter(|index| [0, 1, 3].contains(&(index % 6))).map(|index| format!("order-{index}")).collect();
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
    assert_eq!(journal.count_parked().await.expect("counted"), 10);
}

async fn lists_are_filtered_and_newest_first(journal: &dyn Journal) {
    let lane = take(journal).await;
    let mut rows = Vec::new();
    for index in 0..12_u32 {
        let key = index.to_string();
        let mut new = new(&key);
        new.started_at = Timestamp::from_millis(NOON.as_millis() + i64::from(index) * 1_000);
        if index % 2 == 0 { "even" } else { "odd" }.clone_into(&mut new.definition);
        new.business_key = (index % 3 == 0).then(|| "third".to_owned());
        let head = [running(), ended(Status::Completed, None), ended(Status::Failed, Some("exhausted"))];
        rows.push(Append { head: head[index as usize % 3].clone(), ..start_of(new) });
    }
    append(journal, lane, rows).await;
    let all = Filter { limit: 100, ..Filter::default() };
    let shown = |rows: Vec<Row>| rows.iter().map(|row| row.started_at.since(NOON).as_secs()).collect::<Vec<_>>();
    let since = Some(Timestamp::from_millis(NOON.as_millis() + 6_000));
    let cases: [(&str, Filter, &[u64]); 8] = [
        ("all", all.clone(), &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("limit", Filter { limit: 3, ..all.clone() }, &[11, 10, 9]),
        ("definition", Filter { definition: Some("odd".to_owned()), ..all.clone() }, &[11, 9, 7, 5, 3, 1]),
        ("running", Filter { status: Some(Status::Running), ..all.clone() }, &[9, 6, 3, 0]),
        ("parked", Filter { status: Some(Status::Failed), ..all.clone() }, &[11, 8, 5, 2]),
        ("completed", Filter { status: Some(Status::Completed), since, ..all.clone() }, &[10, 7]),
        ("key", Filter { business_key: Some("third".to_owned()), since, ..all.clone() }, &[9, 6]),
        (
            "all at once",
            Filter {
                status: Some(Status::Running),
                definition: Some("even".to_owned()),
                business_key: Some("third".to_owned()),
                since,
                ..all.clone()
            },
            &[6],
        ),
    ];
    for (name, filter, expected) in cases {
        assert_eq!(shown(journal.list(&filter).await.expect("a list")), expected, "{name}");
        let mut paged = Vec::new();
        let mut page = Filter { limit: 2, ..filter.clone() };
        while paged.len() < filter.limit as usize {
            let rows = journal.list(&page).await.expect("a page");
            let Some(last) = rows.last() else { break };
            page.before = Some(last.no);
            paged.extend(rows);
        }
        paged.truncate(filter.limit as usize);
        assert_eq!(shown(paged), expected, "{name}, in pages");
    }
}

async fn what_neither_rests_nor_wakes_is_counted(journal: &dyn Journal) {
    let lane = take(journal).await;
    let never = Head { wake_at: None, ..running() };
    let held = Head { held: true, ..never.clone() };
    let mut rows = vec![start("armed"), start("held"), start("ended"), start("parked")];
    rows[1].head = held;
    rows[2].head = ended(Status::Completed, None);
    rows[3].head = ended(Status::Failed, None);
    let outcomes = append(journal, lane, rows).await;
    assert_eq!(journal.count_unarmed().await.expect("counted"), 0);
    append(journal, lane, vec![more("armed", number(outcomes[0]), 2, never)]).await;
    assert_eq!(journal.count_unarmed().await.expect("counted"), 1);
}

async fn a_version_of_a_definition_is_immutable(journal: &dyn Journal) {
    let stored = |version: u32, hash: u8| Stored {
        name: "place_order".to_owned(),
        version,
        hash: [hash; 32],
        source: format!("saga: place_order # {hash}"),
        schema: Some("{}".to_owned()),
        uploaded_at: NOON,
        uploaded_by: "ops".to_owned(),
    };
    let put = async |it: Stored| journal.put_definition(&it).await.expect("kept or refused");
    assert_eq!(put(stored(2, 1)).await, Put::Added);
    assert_eq!(put(stored(2, 1)).await, Put::Same);
    assert_eq!(put(stored(2, 9)).await, Put::Differs);
    assert_eq!(put(Stored { schema: None, ..stored(1, 1) }).await, Put::Added);
    let expected = [Stored { schema: None, ..stored(1, 1) }, stored(2, 1)];
    assert_eq!(journal.definitions().await.expect("all"), expected);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use steadfast_core::NewEvent;
    use steadfast_db::{BoxError, Db, EventSink};
    use steadfast_testkit::{TestDb, database};

    use super::super::{Memory, Sqlite};
    use super::*;

    #[tokio::test]
    async fn memory_conforms() {
        run(async || Arc::new(Memory::new()) as Arc<dyn Journal>).await;
    }

    #[tokio::test]
    async fn sqlite_conforms() {
        let folders = Mutex::new(Vec::<TestDb>::new());
        run(async || {
            let db = database().await;
            let journal = Sqlite::open(Db::clone(&db), None).await.unwrap();
            folders.lock().unwrap().push(db);
            Arc::new(journal) as Arc<dyn Journal>
        })
        .await;
    }

    /// Writes events to a table, or fails.
    #[derive(Debug, Default)]
    struct Table {
        fails: AtomicBool,
    }

    #[async_trait::async_trait]
    impl EventSink<sqlx::Sqlite> for Table {
        async fn append_many(
            &self,
            tx: &mut sqlx::Transaction<'_, sqlx::Sqlite>,
            events: &[NewEvent],
            _now: Timestamp,
        ) -> Result<(), BoxError> {
            for event in events {
                sqlx::query("insert into told (id) values (?1)").bind(&event.aggregate_id).execute(&mut **tx).await?;
            }
            if self.fails.load(Ordering::SeqCst) { Err("the sink is full".into()) } else { Ok(()) }
        }
    }

    fn telling(mut row: Append) -> Append {
        let id = row.target.id().to_string();
        row.event = Some(NewEvent::new("saga", id, "saga.completed.v1", serde_json::json!({})));
        row
    }

    #[tokio::test]
    async fn an_event_stands_exactly_if_its_entries_do() {
        let db = database().await;
        let mut tx = db.begin().await.unwrap();
        sqlx::query("create table told (id text not null)").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let told = async || {
            sqlx::query_scalar::<_, String>("select id from told order by rowid").fetch_all(db.readers()).await.unwrap()
        };
        let sink = Arc::new(Table::default());
        let journal = Sqlite::open(Db::clone(&db), Some(Arc::clone(&sink) as _)).await.unwrap();
        let lane = take(&journal).await;
        began(&journal, lane, "known").await;
        let rows = vec![telling(start("a")), telling(start("known")), start("silent"), telling(start("b"))];
        let mut batch = batch(lane, rows);
        sink.fails.store(true, Ordering::SeqCst);
        assert!(matches!(journal.append(&batch).await, Err(Error::Sink(_))));
        assert_eq!(journal.find(id("a")).await.unwrap(), None, "without its event the saga does not stand");
        sink.fails.store(false, Ordering::SeqCst);
        batch.again = true;
        for _ in 0..3 {
            journal.append(&batch).await.unwrap();
        }
        assert_eq!(told().await, [id("a").to_string(), id("b").to_string()]);
    }

    #[tokio::test]
    async fn the_journal_refuses_changes() {
        let db = database().await;
        let journal = Sqlite::open(Db::clone(&db), None).await.unwrap();
        let lane = take(&journal).await;
        began(&journal, lane, "a").await;
        for sql in ["update saga_journal set entries = '[]'", "delete from saga_journal"] {
            let mut tx = db.begin().await.unwrap();
            let error = sqlx::query(sql).execute(&mut *tx).await.unwrap_err();
            assert!(error.to_string().contains("append-only"), "{error}");
        }
    }
}
