//! Writing: numbers without a gap, nothing after a rollback, errors that say what to do.

use serde_json::{Value, json};
use sqlx::Row as _;
use steadfast_core::{NewEvent, SagaId, Timestamp};
use steadfast_db::EventSink;
use steadfast_outbox::{Error, Fault, Sink, append, status, verify};

use crate::support::{Shop, commit, event, on_both, outbox};

on_both!(
    a_rollback_leaves_nothing,
    a_version_that_is_not_the_next_is_refused_and_changes_nothing,
    an_aggregate_type_is_numbered_in_one_way,
    an_event_that_could_not_be_published_is_refused,
    many_events_cost_as_many_statements_as_one,
    the_checker_catches_what_is_wrong,
);

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn drawn(id: &str) -> NewEvent {
    NewEvent::new("stock", id, "stock.moved.v1", json!({}))
}

#[tokio::test]
async fn an_event_is_stored_as_the_users_columns_say() {
    let db = outbox().await;
    let saga = SagaId::derive("till-7", "place_order", "receipt-1");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let event = event("o-1", 1).with_saga(saga).with_traceparent(Some(trace.to_owned()));
    let mut tx = db.begin().await.expect("it succeeds");
    let id = append(&mut tx, &event, NOW).await.expect("it succeeds");
    tx.commit().await.expect("it succeeds");
    let row = sqlx::query(
        "select aggregate_id, aggregate_type, event_type, payload, created_at, published_at, event_id, sequence, day, headers
         from outbox",
    )
    .fetch_one(db.readers())
    .await
    .expect("it succeeds");
    let text: [&str; 4] = std::array::from_fn(|n| row.get(n));
    assert_eq!(text, ["o-1", "order", "order.changed.v1", r#"{"n":1}"#]);
    assert_eq!(row.get::<i64, _>(4), NOW.as_millis());
    assert_eq!(row.get::<Option<i64>, _>(5), None);
    assert_eq!(row.get::<&[u8], _>(6), id.as_bytes());
    assert_eq!((row.get::<i64, _>(7), row.get::<i64, _>(8)), (1, NOW.day()));
    let headers: Value = serde_json::from_str(row.get(9)).expect("it succeeds");
    assert_eq!(headers, json!({"saga-id": saga.to_string(), "traceparent": trace}));
}

async fn a_rollback_leaves_nothing(shop: Shop) {
    let mut tx = shop.begin().await;
    tx.append_at(&[event("o-1", 1), drawn("s-1")], NOW).await.expect("it succeeds");
    tx.rollback().await;
    for table in
        ["select count(*) from outbox", "select count(*) from outbox_sequence", "select count(*) from outbox_type"]
    {
        assert_eq!(shop.number(table).await, 0, "{table}");
    }
    shop.commit(&[event("o-1", 1), drawn("s-1")]).await;
    shop.assert_sound().await;
}

#[tokio::test]
async fn drawn_numbers_go_on_from_commit_to_commit() {
    let db = outbox().await;
    commit(&db, &[drawn("a"), drawn("b"), drawn("a")]).await;
    commit(&db, &[drawn("b"), drawn("c"), drawn("b"), drawn("a")]).await;
    let rows: Vec<(String, i64)> = sqlx::query_as("select aggregate_id, sequence from outbox order by id")
        .fetch_all(db.readers())
        .await
        .expect("it succeeds");
    let expected = [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 1), ("b", 3), ("a", 3)];
    assert_eq!(rows, expected.map(|(id, n)| (id.to_owned(), n)));
    assert_eq!(verify(&db).await.expect("it succeeds"), []);
}

async fn a_version_that_is_not_the_next_is_refused_and_changes_nothing(shop: Shop) {
    shop.commit(&[event("o-1", 1), event("o-1", 2)]).await;
    for (given, last) in [(4, 2), (2, 2), (1, 2)] {
        let mut tx = shop.begin().await;
        // The sound event of the same call must not be numbered either, even if somebody commits after the error.
        let error = tx.append_at(&[event("o-2", 1), event("o-1", given)], NOW).await.expect_err("it is refused");
        assert!(matches!(&error, Error::Sequence { given: g, last: l, .. } if (*g, *l) == (given, last)), "{error}");
        tx.commit().await;
    }
    let mut tx = shop.begin().await;
    let error = tx.append_at(&[event("o-3", 7)], NOW).await.expect_err("it is refused");
    assert!(matches!(error, Error::Sequence { given: 7, last: 0, .. }), "{error}");
    drop(tx);
    assert_eq!(shop.number("select count(*) from outbox").await, 2);
    shop.assert_sound().await;
    shop.commit(&[event("o-2", 1), event("o-1", 3)]).await;
    shop.assert_sound().await;
}

async fn an_aggregate_type_is_numbered_in_one_way(shop: Shop) {
    shop.commit(&[event("o-1", 1), drawn("s-1")]).await;
    for (wrong, way) in
        [(NewEvent { sequence: None, ..event("o-2", 1) }, "given"), (drawn("s-1").with_sequence(2), "drawn")]
    {
        let mut tx = shop.begin().await;
        let error = tx.append_at(std::slice::from_ref(&wrong), NOW).await.expect_err("it is refused");
        assert!(matches!(&error, Error::MixedNumbering { way: w, .. } if *w == way), "{error}");
        tx.commit().await;
    }
    assert_eq!(shop.number("select count(*) from outbox").await, 2);
    shop.assert_sound().await;
}

async fn an_event_that_could_not_be_published_is_refused(shop: Shop) {
    let mut tx = shop.begin().await;
    let large = NewEvent { payload: json!("x".repeat(1024 * 1024)), ..event("o-1", 1) };
    let error = tx.append_at(std::slice::from_ref(&large), NOW).await.expect_err("it is refused");
    assert!(matches!(error, Error::PayloadTooLarge { size, .. } if size == 1024 * 1024 + 2), "{error}");
    let wrong = NewEvent { event_type: "order changed".to_owned(), ..event("o-1", 1) };
    assert!(matches!(
        tx.append_at(std::slice::from_ref(&wrong), NOW).await,
        Err(Error::Name { field: "event_type", .. })
    ));
    tx.append_at(&[event("o-1", 1)], NOW).await.expect("it succeeds");
    tx.commit().await;
    shop.assert_sound().await;
}

#[tokio::test]
async fn a_sink_appends_in_the_callers_transaction_and_text_survives() {
    let db = outbox().await;
    let odd = "a \"quoted\" \\ 'id' ☃";
    let payload = json!({"text": "\u{0}\u{1f}\"\\\u{2028}☃", "n": 1.5, "deep": [{"a": null}]});
    let mut tx = db.begin().await.expect("it succeeds");
    let events = [NewEvent::new("stock", odd, "stock.moved.v1", payload.clone())];
    EventSink::append_many(&Sink::new(), &mut tx, &events, NOW).await.expect("it succeeds");
    EventSink::append_many(&Sink::new(), &mut tx, &[], NOW).await.expect("it succeeds");
    tx.commit().await.expect("it succeeds");
    let (id, stored): (String, String) =
        sqlx::query_as("select aggregate_id, payload from outbox").fetch_one(db.readers()).await.expect("it succeeds");
    assert_eq!(id, odd);
    assert_eq!(serde_json::from_str::<Value>(&stored).expect("it succeeds"), payload);
}

async fn many_events_cost_as_many_statements_as_one(shop: Shop) {
    let events: Vec<_> = (0..1_000).map(|n| event(&format!("o-{}", n / 2), 1 + n % 2)).collect();
    let mut tx = shop.begin().await;
    let ids = tx.append(&events).await.expect("it succeeds");
    tx.commit().await;
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 1_000);
    assert_eq!(shop.number("select count(distinct event_id) from outbox").await, 1_000);
    shop.assert_sound().await;
}

#[tokio::test]
async fn an_outbox_says_how_it_stands() {
    let db = outbox().await;
    let empty = status(&db).await.expect("it succeeds");
    assert_eq!((empty.oldest_waiting, empty.rows, empty.parked), (None, 0, 0));
    for n in 1..=3 {
        let mut tx = db.begin().await.expect("it succeeds");
        append(&mut tx, &event("o-1", n), Timestamp::from_millis(n)).await.expect("it succeeds");
        tx.commit().await.expect("it succeeds");
    }
    let mut tx = db.begin().await.expect("it succeeds");
    sqlx::query("update outbox set published_at = 9 where sequence = 1").execute(&mut *tx).await.expect("it succeeds");
    tx.commit().await.expect("it succeeds");
    let now = status(&db).await.expect("it succeeds");
    assert_eq!((now.oldest_waiting, now.rows, now.parked), (Some(Timestamp::from_millis(2)), 3, 0));
}

async fn the_checker_catches_what_is_wrong(shop: Shop) {
    let events: Vec<_> =
        ["gap", "tail", "twice", "moved", "lost", "fine"].iter().flat_map(|id| (1..=3).map(|n| event(id, n))).collect();
    shop.commit(&events).await;
    shop.assert_sound().await;
    let mut tx = shop.begin().await;
    for damage in [
        "delete from outbox where aggregate_id = 'gap' and sequence = 2",
        "delete from outbox where aggregate_id = 'tail' and sequence = 3",
        "update outbox set sequence = 2 where aggregate_id = 'twice' and sequence = 3",
        "update outbox set sequence = 4 - sequence where aggregate_id = 'moved'",
        "delete from outbox where aggregate_id = 'lost'",
    ] {
        tx.execute(damage).await;
    }
    tx.execute(match shop {
        Shop::Sqlite(_) => {
            "insert into outbox (aggregate_id, aggregate_type, event_type, payload, created_at, event_id, sequence, bucket)
             values ('new', 'order', 'e', '{}', 0, zeroblob(16), 1, 0)"
        }
        // With an id of its own it passes the trigger: only the table's owner can.
        Shop::Postgres(_) => {
            "insert into outbox (id, previous_id, aggregate_id, aggregate_type, event_type, payload, event_id, sequence, bucket)
             values (nextval('outbox_id'), 0, 'new', 'order', 'e', '{}', gen_random_uuid(), 1, 0)"
        }
    })
    .await;
    tx.commit().await;
    let found: Vec<_> =
        shop.outbox().verify().await.expect("it succeeds").into_iter().map(|v| (v.aggregate_id, v.fault)).collect();
    let expected = [
        ("gap", Fault::Missing(vec![2])),
        ("lost", Fault::Missing(vec![1, 2, 3])),
        ("moved", Fault::Disorder),
        ("new", Fault::Stray(vec![1])),
        ("tail", Fault::Missing(vec![3])),
        ("twice", Fault::Missing(vec![3])),
        ("twice", Fault::Repeated(vec![2])),
    ];
    assert_eq!(found, expected.map(|(id, fault)| (id.to_owned(), fault)));
}

#[tokio::test]
async fn the_relays_read_is_a_range_of_a_small_index() {
    let db = outbox().await;
    let plan: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(concat!("explain query plan ", include_str!("../src/store/sqlite/read_batch.sql")))
            .bind(0)
            .bind(10)
            .fetch_all(db.readers())
            .await
            .expect("it succeeds");
    let plan: Vec<_> = plan.into_iter().map(|(.., line)| line).collect();
    assert_eq!(plan[0], "SEARCH outbox USING INDEX outbox_unpublished (published_at=? AND rowid>?)", "{plan:?}");
    assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{plan:?}");
}
