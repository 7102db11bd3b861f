//! A consumer's side: each event once, remembered with its effect.

use steadfast_core::{EventId, Timestamp};
use steadfast_db::migrate;
use steadfast_outbox::inbox;
use steadfast_testkit::{database, postgres};

fn id(n: u8) -> EventId {
    EventId::from_parts(Timestamp::from_millis(1), [n; 10])
}

#[tokio::test]
async fn an_event_is_met_once_by_each_consumer() {
    let (small, large) = (database().await, postgres().await);
    migrate(&*small, &inbox::LINE).await.unwrap();
    migrate(&*large, &inbox::LINE).await.unwrap();
    for (consumer, event, first) in [("a", 1, true), ("a", 1, false), ("b", 1, true), ("a", 2, true), ("a", 2, false)] {
        let mut tx = small.begin().await.unwrap();
        assert_eq!(inbox::once(&mut tx, consumer, id(event)).await.unwrap(), first);
        tx.commit().await.unwrap();
        let mut tx = large.begin().await.unwrap();
        assert_eq!(inbox::once(&mut tx, consumer, id(event)).await.unwrap(), first);
        tx.commit().await.unwrap();
    }
    // What was rolled back was not applied, so it is met again.
    let mut tx = small.begin().await.unwrap();
    assert!(inbox::once(&mut tx, "a", id(3)).await.unwrap());
    tx.rollback().await.unwrap();
    let mut tx = small.begin().await.unwrap();
    assert!(inbox::once(&mut tx, "a", id(3)).await.unwrap());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn two_consumers_of_one_event_take_turns() {
    let db = postgres().await;
    migrate(&*db, &inbox::LINE).await.unwrap();
    for (commits, second) in [(true, false), (false, true)] {
        let event = id(if commits { 1 } else { 2 });
        let mut first = db.begin().await.unwrap();
        assert!(inbox::once(&mut first, "a", event).await.unwrap());
        let mut other = db.begin().await.unwrap();
        let waits = inbox::once(&mut other, "a", event);
        let ends = async {
            if commits { first.commit().await } else { first.rollback().await }.unwrap();
        };
        let (answer, ()) = tokio::join!(waits, ends);
        assert_eq!(answer.unwrap(), second);
        other.commit().await.unwrap();
    }
}
