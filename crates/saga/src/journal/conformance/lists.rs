//! What reads show.

use super::{
    Append, Head, Journal, NOON, Row, Status, append, ended, id, more, new, number, running, start, start_of, take,
};
use crate::journal::{Filter, NewSaga, Put, Stored};
use steadfast_core::Timestamp;

pub(super) async fn pages_hold_every_unsettled_saga_once(journal: &dyn Journal) {
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
    let other = take(journal).await;
    if other.id != lane.id {
        append(journal, other, vec![start("of another lane")]).await;
    }
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = journal.unsettled(lane.id, after, 7).await.expect("a page");
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

pub(super) async fn lists_are_filtered_and_newest_first(journal: &dyn Journal) {
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

pub(super) async fn the_oldest_start_is_of_what_is_not_over(journal: &dyn Journal) {
    let lane = take(journal).await;
    assert_eq!(journal.oldest_start().await.expect("read"), None);
    let at = |second: i64| Timestamp::from_millis(NOON.as_millis() + second * 1_000);
    let begun = |key: &str, second, head| {
        let new = NewSaga { started_at: at(second), ..new(key) };
        Append { head, ..start_of(new) }
    };
    let completed = || ended(Status::Completed, None);
    let parked = || ended(Status::Failed, Some("exhausted"));
    // None of them in the order of their starts.
    let rows = vec![
        begun("parked", 3, parked()),
        begun("young", 4, running()),
        begun("over", 1, completed()),
        begun("old", 2, running()),
    ];
    let outcomes = append(journal, lane, rows).await;
    assert_eq!(journal.oldest_start().await.expect("read"), Some(at(2)), "one that is executing");
    append(journal, lane, vec![more("old", number(outcomes[3]), 2, completed())]).await;
    assert_eq!(journal.oldest_start().await.expect("read"), Some(at(3)), "one that waits for an operator");
    append(journal, lane, vec![more("young", number(outcomes[1]), 2, completed())]).await;
    append(journal, lane, vec![more("parked", number(outcomes[0]), 2, completed())]).await;
    assert_eq!(journal.oldest_start().await.expect("read"), None);
}

pub(super) async fn what_neither_rests_nor_wakes_is_counted(journal: &dyn Journal) {
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

pub(super) async fn a_version_of_a_definition_is_immutable(journal: &dyn Journal) {
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

pub(super) async fn standings_come_in_the_order_asked(journal: &dyn Journal) {
    let lane = take(journal).await;
    let parked = ended(Status::Failed, Some("exhausted"));
    append(journal, lane, vec![start("a"), Append { head: parked.clone(), ..start("b") }]).await;
    let asked = [id("b"), id("nobody"), id("a"), id("b")];
    let standings = journal.standings(&asked).await.expect("read");
    assert_eq!(standings, [Some(parked.clone()), None, Some(running()), Some(parked)]);
    assert_eq!(journal.standings(&[]).await.expect("read"), Vec::<Option<Head>>::new());
}
